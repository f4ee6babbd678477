"""XC-3 hostile discovery documents: providers that lie about where their keys are, at a real gateway.

Every hostile provider is one path of one server; beside them stands an honest one, whose tokens must count.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec
import pytest

from tests.system.deployment import Deployment, until
from tests.system.listener import Listener
from tests.system.provider import Provider
from tests.system.recorder import Recorder

MEBIBYTE = 1024 * 1024
METADATA = "http://169.254.169.254/latest/meta-data"

LIES = {
    "file": "ssrf_guard",
    "shell": "ssrf_guard",
    "metadata": "ssrf_guard",
    "inside": "ssrf_guard",
    "redirect": "ssrf_guard",
    "redirect-metadata": "ssrf_guard",
    "mismatch": "issuer_mismatch",
    "huge": "provider_protocol_error",
    "endless": "provider_protocol_error",
    "drip": "provider_timeout",
    "silent": "provider_timeout",
}
"""A hostile provider, and the reason for which it is not used."""


class Liar:
    """A provider per path. `inside` is a place that no document of theirs may lead to."""

    def __init__(self, inside: Listener) -> None:
        self.sent: dict[str, int] = {}
        """Bytes that the last answer of a provider got rid of before the other side hung up."""
        self.lasted: dict[str, float] = {}
        """Seconds until the other side hung up."""
        self._inside = inside
        self._over = threading.Event()
        liar = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.split("/")[1]
                begun = time.monotonic()
                with contextlib.suppress(OSError):  # the other side hung up
                    liar._answer(self, name)
                liar.lasted[name] = time.monotonic() - begun

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def _answer(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        if name == "silent":
            handler.connection.settimeout(30)
            handler.connection.recv(1)
            return
        redirects = {"redirect": self._inside.url, "redirect-metadata": METADATA}
        handler.send_response(302 if name in redirects else 200)
        handler.send_header("Location", redirects.get(name, ""))
        handler.send_header("Content-Type", "application/json")
        if name == "huge":
            handler.send_header("Content-Length", str(50 * MEBIBYTE))
        handler.end_headers()
        if name in ("huge", "endless", "drip"):
            self._pour(handler, name)
        elif name not in redirects:
            handler.wfile.write(json.dumps(self._document(name)).encode())

    def _pour(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        self.sent[name] = 0
        piece = b" " if name == "drip" else b" " * 65536
        while self.sent[name] < 50 * MEBIBYTE and not self._over.wait(0.1 if name == "drip" else 0):
            handler.wfile.write(piece)
            self.sent[name] += len(piece)

    def _document(self, name: str) -> dict[str, str]:
        issuer = f"{self.url}/{name}"
        lies = {
            "file": {"authorization_endpoint": "file:///etc/passwd"},
            "shell": {"authorization_endpoint": "a:$(calc)"},
            "metadata": {"jwks_uri": METADATA},
            "inside": {"jwks_uri": self._inside.url},
            "mismatch": {"issuer": f"{self.url}/other"},
        }
        return {"issuer": issuer, "jwks_uri": f"{issuer}/jwks", **lies[name]}


class Site(msgspec.Struct, frozen=True):
    """A gateway that was told to trust them all."""

    gateway: Deployment
    provider: Provider
    liar: Liar
    inside: Listener
    private: Listener


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with (
        Recorder() as upstream,
        Provider() as provider,
        Listener() as inside,
        Listener() as private,
        Liar(inside) as liar,
    ):
        low = {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}
        issuers = [
            {"issuer": provider.url, "allow_private": True},
            {"issuer": f"https://127.0.0.1:{private.port}"},
            *({"issuer": f"{liar.url}/{name}", "allow_private": True} for name in LIES),
        ]
        auth = {"local_issuer": False, "issuers": issuers}
        with Deployment(
            tmp_path_factory.mktemp("discovery"), [{**low, "read_only": True}], auth=auth
        ) as gateway:
            yield Site(gateway, provider, liar, inside, private)


def recorded(site: Site, issuer: str, reason: str) -> set[tuple[str, str]]:
    """Decision and severity of the rows that refuse this provider for this reason, once there are any."""
    sql = (
        "SELECT decision, severity FROM audit_events "
        "WHERE action='discovery' AND reason=? AND json_extract(metadata, '$.issuer')=?"
    )
    return set(until(lambda: site.gateway.rows(sql, reason, issuer), within=60, what=f"{issuer}: {reason}"))


def lie(site: Site, name: str) -> set[tuple[str, str]]:
    return recorded(site, f"{site.liar.url}/{name}", LIES[name])


@pytest.mark.parametrize("name", sorted(LIES))
def test_xc3_a_hostile_document_is_refused_and_recorded(site: Site, name: str) -> None:
    hostile = LIES[name] in ("ssrf_guard", "issuer_mismatch")
    assert lie(site, name) == {("deny", "HIGH") if hostile else ("error", "MEDIUM")}


def test_xc3_nothing_inside_was_connected_to(site: Site) -> None:
    for name in LIES:
        lie(site, name)
    assert site.inside.accepted == 0


def test_xc3_a_private_provider_is_not_connected_to_unless_it_is_allowed(site: Site) -> None:
    issuer = f"https://127.0.0.1:{site.private.port}"
    assert recorded(site, issuer, "ssrf_guard") == {("deny", "HIGH")}
    assert site.private.accepted == 0


@pytest.mark.parametrize("name", ["huge", "endless"])
def test_xc3_a_body_without_end_is_cut_off_early(site: Site, name: str) -> None:
    lie(site, name)
    assert site.liar.sent[name] < 16 * MEBIBYTE


@pytest.mark.parametrize("name", ["drip", "silent"])
def test_xc3_a_provider_without_end_is_given_seconds(site: Site, name: str) -> None:
    lie(site, name)
    until(lambda: name in site.liar.lasted, within=30)
    assert site.liar.lasted[name] < 15


def test_xc3_the_tokens_of_an_honest_provider_count_meanwhile(site: Site) -> None:
    token = site.provider.token("alice", f"{site.gateway.url}/mcp")

    def served() -> bool:
        calls = (site.gateway.call("low__echo", {"text": "x"}, token) for _ in range(12))
        return all(call.status == 200 for call in calls)

    until(served, within=30)
    auth = site.gateway.get("/ready").json["components"]["auth"]
    assert auth["state"] == "degraded"
    assert auth["reason"].startswith("no keys of 12 of 13 identity providers: ")
