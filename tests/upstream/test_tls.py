"""HTTPS to a server: whom it must be vouched for by, what it is shown, and files that change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airlock.core import certificates
from airlock.core.config import EdgeTls, UpstreamTls
from airlock.core.errors import ConfigError, Effect, UpstreamFault
from tests.certificates import Authority
from tests.upstream.http_parts import McpServer, RawServer, call, run, upstream


class Place:
    """An authority and a server it vouches for, which demands a certificate of it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.cert_file, self.key_file = self.authority.vouch("client")
        cert_file, key_file = self.authority.vouch("server")
        self.server = RawServer(
            McpServer(era="modern"),
            tls=certificates.edge(
                EdgeTls(
                    cert_file=str(cert_file),
                    key_file=str(key_file),
                    client_ca_file=str(self.authority.file),
                )
            ),
        )

    def shown(self, **more: str) -> UpstreamTls:
        own = {"cert_file": str(self.cert_file), "key_file": str(self.key_file)}
        return UpstreamTls(**{"ca_file": str(self.authority.file), **own, **more})


def test_the_server_is_shown_our_certificate(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        async with place.server as server:
            client = upstream(server.url, tls=place.shown())
            assert (await client.request(call())).result is not None
            await client.close()

    run(story())


def test_without_our_certificate_the_server_hears_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        async with place.server as server:
            client = upstream(server.url, tls=UpstreamTls(ca_file=str(place.authority.file)))
            with pytest.raises(UpstreamFault):
                await client.request(call())
            assert server.seen == []
            await client.close()

    run(story())


def test_a_server_of_another_authority_hears_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        (tmp_path / "other").mkdir()
        other = Authority(tmp_path / "other")
        async with place.server as server:
            client = upstream(server.url, tls=place.shown(ca_file=str(other.file)))
            with pytest.raises(UpstreamFault, match="CERTIFICATE_VERIFY_FAILED") as caught:
                await client.request(call())
            assert (caught.value.code, caught.value.effect) == (50301, Effect.NONE)
            assert server.seen == []
            await client.close()

    run(story())


def test_a_renewed_certificate_is_shown_from_the_next_connection_on(tmp_path: Path) -> None:
    async def story() -> None:
        place = Place(tmp_path)
        (tmp_path / "other").mkdir()
        stranger = Authority(tmp_path / "other").vouch("client")
        async with place.server as server:
            client = upstream(
                server.url, tls=place.shown(cert_file=str(stranger[0]), key_file=str(stranger[1]))
            )
            with pytest.raises(UpstreamFault):
                await client.request(call())
            stranger[1].write_bytes(place.key_file.read_bytes())  # half of the pair: nothing changes
            with pytest.raises(UpstreamFault):
                await client.request(call())
            stranger[0].write_bytes(place.cert_file.read_bytes())
            assert (await client.request(call())).result is not None
            await client.close()

    run(story())


def test_files_that_are_not_fit_are_a_fault_of_the_configuration(tmp_path: Path) -> None:
    async def story() -> None:
        await asyncio.sleep(0)
        with pytest.raises(ConfigError, match=r"servers\.fake\.tls: .*No such file"):
            upstream("https://127.0.0.1:1/mcp", tls=UpstreamTls(ca_file=str(tmp_path / "nowhere")))

    run(story())
