"""The gateway as a client of its provider, which here is a table of answers."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
from joserfc.jwk import OKPKey

from airlock.core.errors import Effect, Fault, Rejected, UpstreamFault
from airlock.identity import jws
from airlock.identity.claims import Claims
from airlock.identity.flow import Trip
from airlock.identity.relying import FRESH, RelyingParty
from tests.gateway.parts import NOW, HandClock
from tests.identity.login_parts import ISSUER, KEYS, PROVIDER, id_token, request

DISCOVERY = f"{PROVIDER}/.well-known/openid-configuration"
TOKEN = f"{PROVIDER}/token"
CODE = {"code": "c", "iss": PROVIDER}


class Fetched(msgspec.Struct, frozen=True):
    status: int
    body: bytes


class World:
    """What the provider answers, and what it was sent."""

    def __init__(self, secret: str | None = None, **metadata: Any) -> None:
        document = {
            "issuer": PROVIDER,
            "jwks_uri": f"{PROVIDER}/jwks",
            "authorization_endpoint": f"{PROVIDER}/auth",
            "token_endpoint": TOKEN,
            **metadata,
        }
        self.answers: dict[str, Fetched | Fault] = {
            DISCOVERY: Fetched(200, json.dumps(document).encode()),
            TOKEN: Fetched(200, json.dumps({"id_token": id_token()}).encode()),
        }
        self.keys: Mapping[str, tuple[str, jws.Key]] = KEYS
        self.fresh: Mapping[str, tuple[str, jws.Key]] | None = None
        """Keys that a second look finds."""
        self.asked: list[str] = []
        self.form: dict[str, str] = {}
        self.headers: dict[str, str] = {}
        self.clock = HandClock()
        self.party = RelyingParty(
            issuer=ISSUER,
            client_id="airlock",
            secret="shh" if secret is None else secret,
            scopes=("openid", "profile"),
            callback="https://gate.example/oauth/callback",
            get=self.get,
            post=self.post,
            keys=lambda: self.keys,
            unknown_key=self.look_again,
            clock=self.clock,
        )

    async def get(self, url: str) -> Fetched:
        self.asked.append(url)
        answer = self.answers.get(url, Fetched(404, b""))
        if isinstance(answer, Fault):
            raise answer
        return answer

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Fetched:
        self.form, self.headers = dict(form), dict(headers)
        return await self.get(url)

    async def look_again(self) -> None:
        if self.fresh is not None:
            self.keys = self.fresh

    def leave(self, trip: Trip) -> str:
        return asyncio.run(self.party.leave(trip, "state"))

    def who(self, given: dict[str, str], trip: Trip | None = None) -> Claims:
        return asyncio.run(self.party.who(trip or a_trip(), given))

    def refusal(self, given: dict[str, str]) -> Rejected:
        with pytest.raises(Rejected) as refused:
            self.who(given)
        return refused.value

    def fault(self) -> Fault:
        with pytest.raises(Fault) as failed:
            self.who(CODE)
        assert failed.value.reason == "login_provider_unavailable"
        return failed.value


def a_trip(**asked: Any) -> Trip:
    return Trip(request=request(**asked), nonce="n", verifier="v" * 43, until=int(NOW) + 600)


def test_a_person_is_sent_to_the_provider_with_state_nonce_and_pkce() -> None:
    there = urlsplit(World().leave(a_trip()))
    asked = dict(parse_qsl(there.query))
    assert f"{there.scheme}://{there.netloc}{there.path}" == f"{PROVIDER}/auth"
    assert {name: asked[name] for name in ("client_id", "state", "nonce", "scope", "response_type")} == {
        "client_id": "airlock",
        "state": "state",
        "nonce": "n",
        "scope": "openid profile",
        "response_type": "code",
    }
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == "https://gate.example/oauth/callback"
    assert not {"acr_values", "max_age"} & asked.keys()


def test_the_strength_that_a_client_asks_for_is_passed_on() -> None:
    asked = dict(parse_qsl(urlsplit(World().leave(a_trip(acr_values="gold", max_age=0))).query))
    assert (asked["acr_values"], asked["max_age"]) == ("gold", "0")


def test_a_code_becomes_somebody() -> None:
    world = World()
    assert world.who(CODE).sub == "alice"
    assert world.form["code"] == "c"
    assert world.form["code_verifier"] == "v" * 43


def test_the_secret_goes_in_the_header() -> None:
    world = World(secret="s/h")
    world.who(CODE)
    assert base64.b64decode(world.headers["Authorization"].removeprefix("Basic ")) == b"airlock:s%2Fh"
    assert "client_secret" not in world.form


def test_the_secret_goes_in_the_form_where_the_provider_wants_it_there() -> None:
    world = World(token_endpoint_auth_methods_supported=["client_secret_post"])
    world.who(CODE)
    assert (world.form["client_id"], world.form["client_secret"]) == ("airlock", "shh")
    assert not world.headers


def test_without_a_secret_only_the_id_is_sent() -> None:
    world = World(secret="")
    world.who(CODE)
    assert world.form["client_id"] == "airlock"
    assert "client_secret" not in world.form
    assert not world.headers


def test_the_document_is_asked_for_again_when_it_is_old() -> None:
    world = World()
    world.who(CODE)
    world.who(CODE)
    assert world.asked.count(DISCOVERY) == 1
    world.clock.seconds += FRESH
    world.who(CODE)
    assert world.asked.count(DISCOVERY) == 2


def test_the_answer_of_another_provider_is_refused_before_its_code_is_sent() -> None:
    world = World()
    assert world.refusal({"code": "c", "iss": "https://evil.example"}).reason == "login_issuer_mismatch"
    assert TOKEN not in world.asked


def test_an_answer_without_issuer_is_refused_where_the_provider_promised_one() -> None:
    promised = World(authorization_response_iss_parameter_supported=True)
    assert promised.refusal({"code": "c"}).reason == "login_issuer_mismatch"
    assert World().who({"code": "c"}).sub == "alice"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"error": "access_denied"}, "access_denied"),
        ({"error": "login_required"}, "access_denied"),
        ({"error": "server_error<script>"}, "server_error"),
        ({"error": "access_denied", "code": "c"}, "access_denied"),
        ({}, "server_error"),
    ],
)
def test_the_no_of_the_provider_is_told_in_our_words(given: dict[str, str], word: str) -> None:
    refused = World().refusal(given)
    assert (refused.reason, (refused.data or {})["error"]) == ("login_provider_refused", word)


def test_a_code_that_the_provider_refuses_is_no_login() -> None:
    world = World()
    world.answers[TOKEN] = Fetched(400, b'{"error":"invalid_grant"}')
    assert world.refusal(CODE).reason == "login_provider_refused"


def test_a_key_that_is_new_is_looked_for_once() -> None:
    world = World()
    world.keys, world.fresh = {}, KEYS
    assert world.who(CODE).sub == "alice"


@pytest.mark.parametrize(
    ("token", "because"),
    [
        (id_token(header={"kid": "nobody knows"}), "token_key_unknown"),
        (id_token(nonce="other"), "token_nonce"),
        (id_token(key=OKPKey.generate_key("Ed25519", private=True)), "token_signature"),
    ],
)
def test_an_identity_token_that_is_not_valid_is_no_login(token: str, because: str) -> None:
    world = World()
    world.answers[TOKEN] = Fetched(200, json.dumps({"id_token": token}).encode())
    refused = world.refusal(CODE)
    assert refused.reason == "login_identity_invalid"
    assert getattr(refused.__cause__, "reason", "") == because


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": "http://idp.example/auth"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": ""},
        {"authorization_endpoint": 1},
    ],
    ids=lambda metadata: str(next(iter(metadata.items()))),
)
def test_a_document_that_lies_ends_the_login(metadata: dict[str, Any]) -> None:
    world = World(**metadata)
    world.fault()
    assert TOKEN not in world.asked


@pytest.mark.parametrize("where", [DISCOVERY, TOKEN])
@pytest.mark.parametrize(
    "answer",
    [
        Fetched(500, b""),
        Fetched(200, b"<html>"),
        Fetched(200, b"\xff"),
        UpstreamFault.unavailable("away", effect=Effect.NONE),
    ],
    ids=["500", "html", "binary", "away"],
)
def test_a_provider_that_fails_ends_the_login(where: str, answer: Fetched | Fault) -> None:
    world = World()
    world.answers[where] = answer
    world.fault()


def test_a_provider_without_a_document_ends_the_login() -> None:
    world = World()
    del world.answers[DISCOVERY]
    assert "no discovery document" in world.fault().detail


def test_a_provider_that_names_no_endpoints_ends_the_login() -> None:
    world = World()
    document = {"issuer": PROVIDER, "jwks_uri": f"{PROVIDER}/jwks"}
    world.answers[DISCOVERY] = Fetched(200, json.dumps(document).encode())
    assert "no endpoints" in world.fault().detail
