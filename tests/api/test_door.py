"""Who may come in, what a body may be, and how a refusal is answered."""

from __future__ import annotations

import msgspec
import pytest

from airlock.api.entries import document, invalid
from airlock.core.errors import AuditFault, Fault, Refused, Rejected, Stage, Unauthenticated
from airlock.model.call import Authenticated
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.principal import Principal
from tests.api.doors import Turned, ask, door, request, told
from tests.gateway.parts import PUBLIC, principal

WHERE = f'resource_metadata="{PUBLIC}/.well-known/oauth-protected-resource/mcp"'


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: list[str]
    most: int = 3


async def read(asked: HttpRequest, caller: Principal) -> HttpResponse:
    found = document(asked, Names)
    return json_response(200, {"by": caller.subject, "names": found.names, "most": found.most})


def raising(failure: Exception) -> HttpResponse:
    async def handle(asked: HttpRequest, caller: Principal) -> HttpResponse:
        raise failure

    return ask(handle, request())


def stranger(error: str | None = None) -> Unauthenticated:
    return Unauthenticated(401, "token_missing", "No.", error=error)


@pytest.mark.parametrize("error", [None, "invalid_token"])
def test_who_is_not_known_is_challenged(error: str | None) -> None:
    response = ask(read, request(), door(stranger(error)))
    header = dict(response.headers)["www-authenticate"]
    assert told(response) == (401, "token_missing")
    assert header.startswith(f"Bearer {WHERE}")
    assert ('error="invalid_token"' in header) is (error is not None)


@pytest.mark.parametrize("roles", [(), ("developer",), ("Admin",), ("administrator",)])
def test_who_is_no_administrator_does_not_come_in(roles: tuple[str, ...]) -> None:
    response = ask(read, request(body={"names": []}), door(principal(roles=roles)))
    assert told(response) == (403, "admin_role_required")


@pytest.mark.parametrize(("auth", "status"), [("local", 200), ("oidc", 200), ("login", 403)])
def test_a_client_of_an_administrator_does_not_come_in(auth: str, status: int) -> None:
    """Its consent page named tools, and nothing else."""
    response = ask(read, request(body={"names": []}), door(principal(roles=("admin",), auth=auth)))
    assert response.status == status


def test_who_is_contained_does_not_come_in() -> None:
    def permit(_: Authenticated) -> None:
        raise Refused(Stage.ADMIT, 40302, "contained", "You are suspended.", retry_after=60)

    response = ask(read, request(body={"names": []}), door(permit=permit))
    assert told(response) == (403, "contained")
    assert dict(response.headers)["retry-after"] == "60"


def test_a_refusal_says_what_is_wrong_as_problem_details() -> None:
    response = raising(invalid("would_lock_out", "127.0.0.1 is loopback.", address="127.0.0.1"))
    assert dict(response.headers) == {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
    }
    assert msgspec.json.decode(response.body) == {
        "type": "about:blank",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "127.0.0.1 is loopback.",
        "code": "would_lock_out",
        "address": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Rejected(404, -32600, "not_found", "No."), 404, "not_found"),
        (Refused(Stage.ADMIT, 42901, "rate_limited", "Too many.", retry_after=7), 429, "rate_limited"),
        (Refused(Stage.ADMIT, 40304, "approval_denied", "No."), 400, "approval_denied"),
        (AuditFault("the disk is full"), 503, "audit_unavailable"),
        (
            Fault(Stage.ADMIT, 50302, "control_unavailable", "No.", detail="sark.db is gone"),
            503,
            "control_unavailable",
        ),
    ],
)
def test_what_a_handler_raises_is_told_by_its_word(failure: Exception, status: int, code: str) -> None:
    response = raising(failure)
    assert told(response) == (status, code)
    assert b"sark" not in response.body
    assert b"disk" not in response.body


@pytest.mark.parametrize(
    ("who", "subject", "reason"),
    [(stranger(), "", "token_missing"), (principal(), "alice", "admin_role_required")],
)
def test_whoever_is_turned_away_is_recorded(
    who: Principal | Unauthenticated, subject: str, reason: str
) -> None:
    turned = Turned()
    ask(read, request(), door(who, turned=turned))
    assert turned.seen == [(subject, reason)]


def test_what_cannot_be_recorded_is_said() -> None:
    turned = Turned(AuditFault("full"))
    assert told(ask(read, request(), door(principal(), turned=turned))) == (
        503,
        "audit_unavailable",
    )


def test_who_comes_in_is_not_turned_away() -> None:
    turned = Turned()
    response = ask(read, request(body={"names": ["a"]}), door(turned=turned))
    assert told(response) == (200, {"by": "alice", "names": ["a"], "most": 3})
    assert turned.seen == []


def test_whether_somebody_is_contained_is_asked_of_the_caller_and_its_address() -> None:
    seen: list[tuple[str, str]] = []

    def permit(caller: Authenticated) -> None:
        seen.append((caller.principal.subject, caller.inbound.source_ip))

    ask(read, request(body={"names": []}), door(permit=permit))
    assert seen == [("alice", "192.0.2.7")]


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", "", "image/png"]
)
def test_a_body_counts_by_what_it_is(kind: str) -> None:
    asked = request(body={"names": ["a"]}, headers=(("content-type", kind), ("cookie", "session=1")))
    assert ask(read, asked).status == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "parse_error"),
        (b"names=a", 400, "parse_error"),
        (b"[]", 400, "not_an_object"),
        (b'"x"', 400, "not_an_object"),
        (b'{"names":["a"],"names":["b"]}', 400, "duplicate_key"),
        (b'{"names":["a"],"Names":["b"]}', 400, "case_collision"),
        (b'{"names":["\xff"]}', 400, "parse_error"),
        (b"{}", 422, "invalid_params"),
        (b'{"names":"a"}', 422, "invalid_params"),
        (b'{"names":[1]}', 422, "invalid_params"),
        (b'{"names":[],"most":"3"}', 422, "invalid_params"),
        (b'{"names":[],"other":1}', 422, "invalid_params"),
    ],
)
def test_a_body_that_is_not_asked_for(body: bytes, status: int, code: str) -> None:
    assert told(ask(read, request(body=body))) == (status, code)


def test_a_wrong_member_is_named() -> None:
    response = ask(read, request(body={"names": ["a", 7]}))
    assert msgspec.json.decode(response.body)["detail"] == "Expected `str`, got `int` - at `$.names[1]`."
