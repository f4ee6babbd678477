"""The doors of logins at servers: whose login it is, and at which servers somebody can have one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from joserfc.jwk import OKPKey

from airlock.api.connect import SignedIn
from airlock.app.connecting import Announced, connections, person
from airlock.gateway.tickets import Tickets
from airlock.identity.login import Login, LoginIssuer
from airlock.model.link import Link, Who
from airlock.model.principal import Principal
from airlock.model.snapshot import Current
from tests.gateway.parts import PUBLIC, HandClock, principal, registered, sealer, snapshot

LOGIN = Login(
    client="airlock",
    redirect_uri="",
    challenge="",
    resource=f"{PUBLIC}/mcp",
    scopes=("mcp.call",),
    issuer="https://idp.example",
    subject="alice",
    tenant="acme",
)


def test_who_signs_in_is_the_owner_that_tokens_of_this_login_name() -> None:
    clock = HandClock()
    signed_in = SignedIn(sealer=sealer(), clock=clock)
    owner = signed_in.read(person(signed_in, PUBLIC)(LOGIN, "b"), "b")
    issuer = LoginIssuer(key=OKPKey.generate_key("Ed25519", private=True), public_url=PUBLIC, access=600)
    minted = issuer.mint(LOGIN, "g", scopes=LOGIN.scopes, ends=clock.wall() + 60, now=clock.wall())
    payload = minted.token.split(".")[1]
    claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    caller = Principal(
        issuer=claims["iss"], subject=claims["sub"], tenant=claims["tenant"], token_id="t", expires_at=0
    )
    assert owner == caller.key


class Links:
    """Logins that say what was asked of them."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def serves(self, server: str) -> bool:
        return server != "plain"

    async def begin(self, *, server: str, who: Who, browser: str) -> str:
        return ""

    async def status(self, who: Who) -> tuple[Link, ...]:
        return ()

    async def finish(self, given: Mapping[str, str], *, browser: str) -> Link:
        self.done.append("finish")
        return Link(server="a", issuer="i", scopes=(), connected=True, updated_at=0.0)

    async def forget(self, *, who: Who, server: str = "") -> int:
        self.done.append("forget")
        return 1

    async def forget_subject(self, subject: str) -> int:
        self.done.append("forget_subject")
        return 2


def test_every_other_worker_looks_at_once_at_what_changed() -> None:
    links: Any = Links()
    changed = asyncio.Event()
    announced = Announced(links, changed)
    for act in (
        lambda: announced.finish({}, browser="b"),
        lambda: announced.forget(who=Who.of(principal())),
        lambda: announced.forget_subject("alice"),
    ):
        changed.clear()
        asyncio.run(_done(act()))
        assert changed.is_set()
    assert links.done == ["finish", "forget", "forget_subject"]


async def _done(work: Any) -> None:
    await work


def test_a_caller_is_shown_the_servers_of_its_tenant_at_which_people_log_in() -> None:
    current = Current(snapshot(*(registered(name) for name in ("plain", "b", "a"))))
    links: Any = Links()
    tickets = Tickets(sealer=sealer(), public_url=PUBLIC, clock=HandClock())
    api = connections(Announced(links, asyncio.Event()), tickets, current)
    asked: Any = None
    answer = asyncio.run(api.read(asked, principal()))
    assert [each["server"] for each in msgspec.json.decode(answer.body)["connections"]] == ["a", "b"]
