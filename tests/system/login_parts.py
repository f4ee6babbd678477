"""A gateway through which people log in at the real provider, and an application that asks them to."""

from __future__ import annotations

import json
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from airlock.identity.oauth import challenge_of
from tests.system.browser import Browser, Page
from tests.system.deployment import Answer, Deployment
from tests.system.provider import NATIVE, PASSWORD, Provider

SECRET = "a secret between the gateway and its provider"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CALLBACK = "http://127.0.0.1:1/callback"
"""Where the application listens: on nothing, since the browser stops there."""


@contextmanager
def site(
    folder: Path, servers: list[dict[str, Any]], *, login: Mapping[str, Any] | None = None, **sections: Any
) -> Generator[tuple[Deployment, Provider]]:
    """The gateway and the provider, knowing each other."""
    (folder / "secret").write_text(SECRET + "\n")
    provider = Provider(clients=[])
    section = {
        "issuer": provider.url,
        "client_id": "airlock",
        "client_secret_file": "secret",
        **(login or {}),
    }
    auth = {"issuers": [{"issuer": provider.url, "allow_private": True}], "login": section}
    gateway = Deployment(folder, servers, auth=auth, **sections)
    own = {
        "client_id": "airlock",
        "client_secret": SECRET,
        "redirect_uris": [f"{gateway.url}/oauth/callback"],
    }
    provider.change(clients=[own, NATIVE], resources=[f"{gateway.url}/mcp"])
    with provider, gateway:
        yield gateway, provider


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A login that was asked for: where to send the browser, and what only the application knows."""

    url: str
    verifier: str
    state: str


class App:
    """An application of a person, which registers at the gateway."""

    def __init__(self, gateway: Deployment, callback: str = CALLBACK) -> None:
        self.gateway = gateway
        self.callback = callback
        self.resource = f"{gateway.url}/mcp"
        answer = self.register(gateway, redirect_uris=[callback], client_name="An App")
        assert answer.status == 201, answer.body
        self.id: str = answer.json["client_id"]

    @staticmethod
    def register(gateway: Deployment, **metadata: object) -> Answer:
        body = json.dumps(metadata).encode()
        return gateway.send("POST", "/oauth/register", body, {"Content-Type": "application/json"})

    def ask(self, **changed: str | None) -> Waiting:
        """The address that begins a login; a parameter that is None is left out."""
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(8)
        asked: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.id,
            "redirect_uri": self.callback,
            "state": state,
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "resource": self.resource,
            "scope": "mcp.list mcp.call",
            **changed,
        }
        query = urlencode({name: value for name, value in asked.items() if value is not None})
        return Waiting(url=f"{self.gateway.url}/oauth/authorize?{query}", verifier=verifier, state=state)

    def send(self, **fields: str | None) -> Answer:
        """One request to the token endpoint."""
        body = urlencode({name: value for name, value in fields.items() if value is not None}).encode()
        return self.gateway.send("POST", "/oauth/token", body, FORM)

    def exchange(self, page: Page, waiting: Waiting, **changed: str | None) -> Answer:
        """The code on the address of the last page, for tokens."""
        fields: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "client_id": self.id,
            "code": page.query["code"],
            "redirect_uri": self.callback,
            "code_verifier": waiting.verifier,
            "resource": self.resource,
        }
        return self.send(**{**fields, **changed})

    def refresh(self, token: str, **changed: str | None) -> Answer:
        fields = {"grant_type": "refresh_token", "client_id": self.id, "refresh_token": token}
        return self.send(**{**fields, **changed})

    def tokens(self, subject: str = "alice", **changed: str | None) -> dict[str, Any]:
        """Somebody logs in with a browser of their own."""
        waiting = self.ask(**changed)
        answer = self.exchange(through(Browser(), waiting.url, subject), waiting, **_kept(changed))
        assert answer.status == 200, answer.body
        return answer.json


def _kept(changed: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: value for name, value in changed.items() if name == "resource"}


def through(browser: Browser, url: str, subject: str = "alice", **fields: str) -> Page:
    """Allow the application to act, and log in: the address at which the browser ends up."""
    return sign_in(browser, allow(browser, url), subject, **fields)


def allow(browser: Browser, url: str) -> Page:
    """Up to the provider's form."""
    page = browser.get(url)
    assert page.status == 200, page.text
    return browser.submit(page, decision="allow")


def sign_in(browser: Browser, page: Page, subject: str = "alice", **fields: str) -> Page:
    """Fill in the provider's form."""
    return browser.submit(page, login=subject, password=PASSWORD, **fields)
