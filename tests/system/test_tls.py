"""HTTPS on the edge with two workers, and a server behind it that is trusted, and trusts, by our files."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from airlock.core import certificates
from airlock.core.config import EdgeTls
from tests.certificates import Authority, replace
from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}


class Site:
    """A gateway, a server that demands a certificate, and the authority that both trust."""

    def __init__(self, authority: Authority, gateway: Deployment, upstream: Recorder) -> None:
        self.authority = authority
        self.gateway = gateway
        self.upstream = upstream

    def shown(self) -> set[int]:
        """Serial numbers that twelve new connections are shown: both workers take some."""
        return {self._serial() for _ in range(12)}

    def _serial(self) -> int:
        with closing(self.gateway.connection()) as connection:
            connection.connect()
            assert isinstance(connection.sock, ssl.SSLSocket)
            seen = connection.sock.getpeercert() or {}
            return int(str(seen["serialNumber"]), 16)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder)
    cert_file, key_file = authority.vouch("gate")
    server_cert, server_key = authority.vouch("upstream")
    client_cert, client_key = authority.vouch("client")
    behind = certificates.edge(
        EdgeTls(cert_file=str(server_cert), key_file=str(server_key), client_ca_file=str(authority.file))
    )
    own = {"ca_file": authority.file.name, "cert_file": client_cert.name, "key_file": client_key.name}
    with Recorder(tls=behind) as upstream:
        low = {
            "name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low",
            "read_only": True, "tls": own,
        }  # fmt: skip
        trusting = ssl.create_default_context(cafile=str(authority.file))
        with Deployment(
            folder,
            [low],
            tls=trusting,
            server={"tls": {"cert_file": cert_file.name, "key_file": key_file.name}},
        ) as gateway:
            yield Site(authority, gateway, upstream)


def test_a_call_goes_through_both_tls_connections(site: Site) -> None:
    for modern in (False, True):
        answer = site.gateway.call(
            "low__echo", {"text": f"tls {modern}"}, site.gateway.token(), modern=modern
        )
        assert f"tls {modern}" in answer.text
    resource = site.gateway.get("/.well-known/oauth-protected-resource/mcp").json["resource"]
    assert resource == f"https://localhost:{site.gateway.port}/mcp"


def test_plain_http_is_not_served(site: Site) -> None:
    with closing(socket.create_connection(("127.0.0.1", site.gateway.port), timeout=20)) as peer:
        peer.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            answer = peer.recv(4096)
        except ConnectionResetError:
            answer = b""
    assert b"200" not in answer
    assert site.gateway.get("/live").status == 200


def test_who_does_not_trust_the_authority_says_nothing(site: Site) -> None:
    peer = socket.create_connection(("127.0.0.1", site.gateway.port), timeout=20)
    with closing(peer), pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(peer, server_hostname="localhost")


@pytest.mark.parametrize("told", [False, True])
def test_a_renewed_certificate_is_shown_and_no_connection_is_cut(site: Site, told: bool) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {site.gateway.token()}"}
    before = site.shown()
    with closing(site.gateway.connection()) as kept:
        kept.request("POST", "/mcp", json.dumps(LIST), headers)
        kept.getresponse().read()
        sock = kept.sock
        site.authority.vouch("gate")
        if told:
            assert site.gateway.process is not None
            os.kill(site.gateway.process.pid, signal.SIGHUP)
        until(lambda: len(now := site.shown()) == 1 and not now & before, within=60)
        kept.request("POST", "/mcp", json.dumps(LIST), headers)
        assert b"low__echo" in kept.getresponse().read()
        assert kept.sock is sock
    assert any(line["result"] == "accepted" for line in site.gateway.lines("tls_reload"))


def test_files_that_do_not_fit_change_nothing(site: Site) -> None:
    before = site.shown()
    assert len(before) == 1
    cert_file, _ = site.authority.vouch("spare")
    good = Path(site.authority.folder / "gate.pem")
    kept = good.read_bytes()
    refused = len([line for line in site.gateway.lines("tls_reload") if line["result"] == "refused"])
    replace(good, cert_file.read_bytes())
    try:
        until(
            lambda: (
                len([line for line in site.gateway.lines("tls_reload") if line["result"] == "refused"])
                >= refused + 2
            ),
            within=60,
        )
        assert site.shown() == before
    finally:
        replace(good, kept)
    until(lambda: site.gateway.get("/live").status == 200, within=30)


def test_the_command_line_speaks_to_a_gateway_with_tls(site: Site) -> None:
    token = site.gateway.token("operator", roles=["admin"])
    config = str(site.gateway.config)
    answer = site.gateway.airlock("policy", "status", "--config", config, "--json", AIRLOCK_TOKEN=token)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)
