"""People log in through two workers at a real provider: with the SDK's own OAuth client, and by hand."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl

from airlock.core.clock import SYSTEM
from tests.certificates import Authority
from tests.system.browser import Browser, Page
from tests.system.deployment import Deployment, until
from tests.system.login_parts import CALLBACK, App, sign_in, site, through
from tests.system.provider import Provider
from tests.system.recorder import Recorder

DOCUMENT = {"client_name": "A described application", "redirect_uris": [CALLBACK]}


@contextmanager
def described(authority: Authority) -> Generator[str]:
    """A server for one client metadata document; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"client_id": url, "token_endpoint_auth_method": "none", **DOCUMENT}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.vouch("documents", "localhost"))
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        url = f"https://localhost:{server.server_port}/client.json"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def document(authority: Authority) -> Iterator[str]:
    with described(authority) as url:
        yield url


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, upstream: Recorder, authority: Authority, document: str
) -> Iterator[tuple[Deployment, Provider]]:
    low = {"transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
    servers = [{"name": "low", **low}, {"name": "mail", **low}]
    login = {"unsafe_document_origins": [document.removesuffix("/client.json")]}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(authority.file))
        with site(tmp_path_factory.mktemp("login"), servers, login=login) as both:
            yield both


@pytest.fixture
def gateway(place: tuple[Deployment, Provider]) -> Deployment:
    return place[0]


@pytest.fixture
def provider(place: tuple[Deployment, Provider]) -> Provider:
    return place[1]


class Memory:
    """Where an SDK client keeps what it got."""

    def __init__(self, client: OAuthClientInformationFull | None = None) -> None:
        self.client = client
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Chooser(OAuthClientProvider):
    """The SDK's client, which takes that one of the authorization servers which the test wants."""

    wanted = ""

    def _select_authorization_server(self, advertised: list[str]) -> str:
        return next((found for found in advertised if found == self.wanted), advertised[0])


class Person:
    """What the SDK asks its host for: a browser, and the address at which the login ended."""

    def __init__(self, subject: str) -> None:
        self.subject = subject
        self.browser = Browser()
        self.arrived: dict[str, str] = {}

    async def go(self, url: str) -> None:
        def walk() -> dict[str, str]:
            page = self.browser.get(url)
            if "/oauth/authorize" in page.url:
                page = self.browser.submit(page, decision="allow")
            return sign_in(self.browser, page, self.subject).query

        self.arrived = await asyncio.to_thread(walk)

    async def arrive(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(self.arrived)


async def session(
    gateway: Deployment,
    person: Person,
    memory: Memory,
    *,
    server: str = "",
    document: str | None = None,
    path: str = "/mcp",
) -> tuple[list[str], str]:
    """Log in with nothing but the address of the gateway; the tools, and the answer of one call."""
    described = OAuthClientMetadata(redirect_uris=[AnyUrl(CALLBACK)], client_name="SDK")
    auth = Chooser(
        f"{gateway.url}{path}", described, memory, person.go, person.arrive, client_metadata_url=document
    )
    auth.wanted = server
    async with (
        httpx2.AsyncClient(auth=auth) as http,
        Client(streamable_http_client(f"{gateway.url}{path}", http_client=http)) as client,
    ):
        tools = [tool.name for tool in (await client.list_tools()).tools]
        name = next(tool for tool in tools if tool.endswith("echo"))
        answer = await client.call_tool(name, {"text": person.subject})
        return tools, str(answer.content)


def test_the_sdk_registers_and_logs_in_with_the_address_alone(
    gateway: Deployment, provider: Provider
) -> None:
    provider.change(accounts={**provider.accounts, "ruth": provider.accounts["alice"]})
    memory = Memory()
    tools, answer = asyncio.run(session(gateway, Person("ruth"), memory))
    assert "low__echo" in tools
    assert "ruth" in answer
    assert memory.tokens is not None
    assert memory.tokens.refresh_token
    row = gateway.recorded("action='tool_call' AND subject='ruth' AND decision='allow'")[0]
    assert row["tenant"] == "acme"


def test_the_sdk_logs_in_under_the_url_of_its_document(
    gateway: Deployment, provider: Provider, document: str
) -> None:
    provider.change(accounts={**provider.accounts, "dora": provider.accounts["alice"]})
    memory = Memory()
    tools, _ = asyncio.run(session(gateway, Person("dora"), memory, document=document))
    assert "low__echo" in tools
    assert memory.client is not None
    assert memory.client.client_id == document
    assert gateway.recorded("action='login' AND subject='dora' AND decision='allow'")


def test_the_sdk_logs_in_at_the_provider_itself_where_it_is_known_there(
    gateway: Deployment, provider: Provider
) -> None:
    provider.change(accounts={**provider.accounts, "pete": provider.accounts["alice"]})
    known = OAuthClientInformationFull(
        client_id="native",
        redirect_uris=[AnyUrl(CALLBACK)],
        token_endpoint_auth_method="none",
        issuer=provider.url,
    )
    tools, answer = asyncio.run(session(gateway, Person("pete"), Memory(known), server=provider.url))
    assert "low__echo" in tools
    assert "pete" in answer
    assert gateway.recorded("action='tool_call' AND subject='pete' AND decision='allow'")


def test_the_sdk_logs_in_for_one_server(gateway: Deployment, provider: Provider) -> None:
    provider.change(accounts={**provider.accounts, "sven": provider.accounts["alice"]})
    memory = Memory()
    tools, _ = asyncio.run(session(gateway, Person("sven"), memory, path="/mcp/low"))
    assert "echo" in tools
    assert memory.tokens is not None
    token = memory.tokens.access_token
    elsewhere = gateway.call("echo", {"text": "x"}, token, path="/mcp/mail")
    assert elsewhere.status == 401


def test_no_token_of_the_provider_reaches_a_client(gateway: Deployment) -> None:
    given = App(gateway).tokens()
    claims = jwt(given["access_token"])
    assert claims["iss"] == gateway.url
    assert set(given) == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}


def test_a_login_says_who_where_and_for_how_long(gateway: Deployment) -> None:
    claims = jwt(App(gateway).tokens("alice")["access_token"])
    found = {name: claims[name] for name in ("sub", "tenant", "roles", "groups", "aud", "scope")}
    assert found == {
        "sub": "alice",
        "tenant": "acme",
        "roles": ["developer"],
        "groups": ["staff"],
        "aud": f"{gateway.url}/mcp",
        "scope": "mcp.list mcp.call",
    }
    assert claims["exp"] - claims["iat"] == 600


def test_a_token_has_no_more_scopes_than_were_asked_for(gateway: Deployment) -> None:
    token = App(gateway).tokens(scope="mcp.list")["access_token"]
    assert "low__echo" in gateway.tools(token)
    refused = gateway.call("low__echo", {"text": "x"}, token)
    assert refused.status == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]


def test_a_refresh_token_is_good_for_the_next_ones(gateway: Deployment) -> None:
    app = App(gateway)
    first = app.tokens()
    second = app.refresh(first["refresh_token"])
    assert second.status == 200
    assert second.json["refresh_token"] != first["refresh_token"]
    assert "low__echo" in gateway.tools(second.json["access_token"])
    assert app.refresh(second.json["refresh_token"]).status == 200


def test_a_refresh_may_ask_for_fewer_scopes_and_not_for_more(gateway: Deployment) -> None:
    app = App(gateway)
    first = app.tokens(scope="mcp.list mcp.call.low")
    fewer = app.refresh(first["refresh_token"], scope="mcp.list")
    assert fewer.json["scope"] == "mcp.list"
    more = app.refresh(fewer.json["refresh_token"], scope="mcp.call")
    assert (more.status, more.json["error"]) == (400, "invalid_grant")


def test_logging_out_ends_every_token_of_the_login_everywhere(
    gateway: Deployment, provider: Provider
) -> None:
    provider.change(accounts={**provider.accounts, "lena": provider.accounts["alice"]})
    app = App(gateway)
    first = app.tokens("lena")
    second = app.refresh(first["refresh_token"]).json
    answer = gateway.send("POST", "/oauth/logout", b"", {"Authorization": f"Bearer {second['access_token']}"})
    assert answer.status == 204
    for token in (first["access_token"], second["access_token"]):
        until(lambda token=token: refused_everywhere(gateway, token), within=30, what="401 everywhere")
    assert app.refresh(second["refresh_token"]).status == 400
    assert gateway.recorded("action='logout' AND subject='lena' AND decision='allow'")


def test_the_strength_of_a_login_is_asked_for_and_told(gateway: Deployment) -> None:
    app = App(gateway)
    waiting = app.ask(acr_values="gold", max_age="300")
    page = through(Browser(), waiting.url, acr="gold")
    claims = jwt(app.exchange(page, waiting).json["access_token"])
    assert claims["acr"] == "gold"
    assert abs(claims["auth_time"] - SYSTEM.wall()) < 300


def test_a_login_finds_a_key_that_the_provider_has_exchanged(gateway: Deployment, provider: Provider) -> None:
    provider.rotate(keep=False)
    app = App(gateway)

    def logs_in() -> bool:
        waiting = app.ask()
        page = through(Browser(), waiting.url)
        return "code" in page.query and app.exchange(page, waiting).status == 200

    until(logs_in, within=30, what="a login under the new key")
    until(lambda: taken_everywhere(gateway, provider.token("alice", f"{gateway.url}/mcp")), within=30)


def test_a_login_waits_for_no_provider_that_is_away(gateway: Deployment, provider: Provider) -> None:
    app = App(gateway)
    browser = Browser()
    page = browser.get(app.ask().url)
    provider.lie("/token", status=500)
    try:
        page = sign_in(browser, browser.submit(page, decision="allow"))
        assert page.status == 503
        assert "login_provider_unavailable" in page.text
    finally:
        provider.honest()
    assert App(gateway).tokens()["access_token"]


def test_no_secret_of_a_login_is_in_any_log(gateway: Deployment) -> None:
    app = App(gateway)
    waiting = app.ask()
    browser = Browser()
    page = through(browser, waiting.url)
    given = app.exchange(page, waiting).json
    assert app.exchange(page, waiting).status == 400
    visited = [Page(url=url, status=0, headers={}, text="").query for url in browser.visited]
    secrets = {found["code"] for found in visited if "code" in found} | {
        found["state"] for found in visited if "state" in found
    }
    secrets |= {
        page.query["code"],
        waiting.verifier,
        given["refresh_token"],
        given["access_token"].split(".")[2],
    }
    gateway.recorded("action='login' AND reason='login_code_reused'")
    files = [gateway.log, *(path for path in gateway.data.rglob("*") if path.is_file())]
    written = b"".join(path.read_bytes() for path in files)
    assert {secret for secret in secrets if secret.encode() in written} == set()


def taken_everywhere(gateway: Deployment, token: str) -> bool:
    """Whether every worker takes the token: enough requests for both of them."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    return all(gateway.post(ping, token).status == 200 for _ in range(8))


def refused_everywhere(gateway: Deployment, token: str) -> bool:
    """Whether no worker takes the token: enough requests for both of them."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    return all(gateway.post(ping, token).status == 401 for _ in range(8))


def jwt(token: str) -> dict[str, Any]:
    """The claims of a token, unverified."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
