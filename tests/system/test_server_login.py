"""People log in at a server through two workers: with the official SDK as the server, and a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest

from tests.system.browser import Browser, Page
from tests.system.deployment import MODERN, Answer, Deployment, envelope, until
from tests.system.guarded_server import SECRETS, Authority, GuardedServer

CAN: dict[str, Any] = {"elicitation": {"url": {}}}
PATH = "/mcp/tickets"


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    with Authority() as running:
        yield running


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[GuardedServer]:
    with GuardedServer(authority) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority, server: GuardedServer
) -> Iterator[Deployment]:
    credential = {"mode": "user_oauth", "register": ["*"], "allow_private": True}
    entry = {"name": "tickets", "transport": "http", "url": server.url, "credential": credential}
    made = Deployment(tmp_path_factory.mktemp("server-login"), [entry])
    made.expected = "degraded"
    with made:
        yield made


class Person:
    """Somebody with a token of the gateway, a browser, and an account at the authorization server."""

    def __init__(self, gateway: Deployment, authority: Authority, name: str) -> None:
        self.gateway = gateway
        self.authority = authority
        self.name = name
        self.token = gateway.token(name)
        self.browser = Browser()

    def ask(self, method: str, path: str) -> Answer:
        return self.gateway.send(method, path, None, {"Authorization": f"Bearer {self.token}"})

    def connections(self) -> dict[str, Any]:
        (found,) = self.ask("GET", "/api/v1/connections").json["connections"]
        return found

    def onward(self, link: str, token: str = "") -> Page:
        """Open a link and agree."""
        return self.browser.submit(self.browser.get(link), token=token or self.token)

    def connect(self, link: str = "") -> Page:
        """Open a link, agree, and log in."""
        page = self.onward(link or self.connections()["connect_url"])
        self.authority.person = self.name
        return self.browser.get(there(page))

    def call(self, capabilities: dict[str, Any] | None = None, **params: Any) -> Answer:
        """A modern call."""
        told = {"name": "whoami", "arguments": {}, "_meta": envelope(capabilities), **params}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": told}
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "whoami"}
        return self.gateway.post(message, self.token, path=PATH, headers=headers)


def there(page: Page) -> str:
    """Where the page sends a person."""
    found = re.search(r'<a href="([^"]*)" rel="noreferrer">', page.text)
    assert found is not None, page.text
    return unescape(found[1])


def said(page: Page) -> tuple[int, str]:
    """Status and reason of a page."""
    return page.status, page.text.partition("Reason: ")[2].partition("<")[0]


@pytest.fixture
def alice(gateway: Deployment, authority: Authority) -> Person:
    """Logged in, at every worker."""
    person = Person(gateway, authority, "alice")
    if person.connections()["state"] != "connected":
        page = person.connect()
        assert "You can close this tab" in page.text, page.text
        until(lambda: all(gateway.tools(person.token, path=PATH) for _ in range(8)))
    return person


def test_the_first_login_shows_what_the_server_offers(alice: Person, server: GuardedServer) -> None:
    assert alice.gateway.tools(alice.token, path=PATH) == ["whoami"]
    for _ in range(4):
        assert alice.call().text == "alice"
    shown = alice.connections()
    assert (shown["state"], shown["issuer"]) == ("connected", alice.authority.issuer)
    asked = alice.authority.asked[0]
    assert (asked["resource"], asked["code_challenge_method"]) == (server.url, "S256")


def test_each_caller_has_a_login_of_its_own(alice: Person) -> None:
    bob = Person(alice.gateway, alice.authority, "bob")
    first = bob.call(CAN).json["result"]
    assert first["resultType"] == "input_required"
    ((key, question),) = first["inputRequests"].items()
    retry = {"requestState": first["requestState"], "inputResponses": {key: {"action": "accept"}}}
    assert bob.call(CAN, **retry).json["result"]["resultType"] == "input_required"  # not logged in yet
    assert bob.connect(question["params"]["url"]).status == 200
    until(lambda: bob.call(CAN, **retry).text == "bob")
    assert alice.call().text == "alice"
    assert bob.ask("DELETE", "/api/v1/connections/tickets").status == 200
    until(lambda: all(bob.call().json["result"]["isError"] for _ in range(4)))
    assert bob.call().refusal["reason"] == "link_required"
    assert alice.call().text == "alice"


def test_a_link_of_somebody_else_connects_nobody(alice: Person) -> None:
    mallory = Person(alice.gateway, alice.authority, "mallory")
    link = mallory.connections()["connect_url"]
    assert said(alice.onward(link)) == (400, "link_person_mismatch")
    away = there(mallory.onward(link))
    alice.authority.person = "alice"
    assert said(alice.browser.get(away)) == (400, "link_browser_mismatch")
    assert said(mallory.browser.get(away)) == (400, "link_state_unknown")
    assert mallory.connections()["state"] == "login_needed"


def test_a_callback_counts_once_and_from_the_issuer_that_was_asked(alice: Person) -> None:
    carol = Person(alice.gateway, alice.authority, "carol")
    assert carol.connect().status == 200
    callback = next(url for url in carol.browser.visited if "/oauth/callback" in url)
    assert said(carol.browser.get(callback)) == (400, "link_state_unknown")
    for answer, reason in (
        ({"iss": "https://evil.example"}, "link_issuer_mismatch"),
        ({"error": "access_denied", "error_description": "<script>evil"}, "link_denied"),
        ({"state": "made up"}, "link_state_unknown"),
        ({"code": "of somebody else"}, "link_token_refused"),
    ):
        carol.authority.answer = answer
        try:
            page = carol.connect()
        finally:
            carol.authority.answer = {}
        assert said(page) == (400, reason)
        assert "evil" not in page.text


def test_an_operator_ends_the_logins_of_a_person(alice: Person) -> None:
    dora = Person(alice.gateway, alice.authority, "dora")
    assert dora.connect().status == 200
    until(lambda: all(dora.call().text == "dora" for _ in range(4)))
    admin = alice.gateway.token("operator", roles=["admin"])
    revoked = alice.gateway.post({"subject": "dora"}, admin, path="/api/v1/connections/-/revoke")
    assert revoked.json == {"ended": 1}
    until(lambda: all(dora.call().json["result"]["isError"] for _ in range(4)))
    assert alice.call().text == "alice"


def test_no_token_is_where_it_does_not_belong(alice: Person, server: GuardedServer) -> None:
    gateway = alice.gateway
    assert alice.call().text == "alice"
    written = gateway.log.read_bytes()
    for file in gateway.data.glob("*.db*"):
        written += file.read_bytes()
    for secret in (*alice.authority.tokens, *SECRETS, alice.token):
        assert secret.encode() not in written
    shown = " ".join((*server.credentials, *alice.authority.bodies))
    assert all(credential.startswith("Bearer access-") for credential in server.credentials)
    for part in alice.token.split("."):
        assert part not in shown
