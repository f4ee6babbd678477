"""A real identity provider under a real gateway with two workers: who its tokens make a caller, how its keys
change while calls run, and what happens when it goes away."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from airlock.core.clock import SYSTEM
from airlock.identity.refusals import Reason
from airlock.identity.scopes import SUPPORTED
from tests.system.deployment import Answer, Deployment, until
from tests.system.provider import Provider
from tests.system.recorder import Recorder

OUTAGE = float(os.environ.get("AIRLOCK_OUTAGE", "0"))
"""Further seconds for which the provider stays away while calls go on: 300 shows five minutes."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, provider: Provider, upstream: Recorder
) -> Iterator[Deployment]:
    low = {"transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
    servers = [
        {"name": "low", **low},
        {"name": "guarded", **low, "step_up": {"max_age": "5m", "acr": ["mfa"]}},
    ]
    issuer = {
        "issuer": provider.url,
        "allow_private": True,
        "role_map": {"theirs": ["developer"], "developer": ["developer"], "admin": ["admin"]},
    }
    auth = {"local_issuer": False, "issuers": [issuer]}
    with Deployment(tmp_path_factory.mktemp("oidc"), servers, auth=auth) as deployment:
        until(lambda: everywhere(deployment, provider, "ok"), within=30)
        yield deployment


def echo(gateway: Deployment, token: str, text: str = "x", **how: Any) -> Answer:
    return gateway.call("low__echo", {"text": text}, token, **how)


def token(gateway: Deployment, provider: Provider, subject: str = "alice", **claims: object) -> str:
    return provider.token(subject, f"{gateway.url}/mcp", **claims)


def everywhere(gateway: Deployment, provider: Provider, expected: str) -> bool:
    """Whether every worker says this of its keys, and has its servers. Any worker answers for all: many
    answers of `/ready` may be those of one."""
    admin = token(gateway, provider, "root", scope=" ".join(SUPPORTED))
    answer = gateway.get("/admin/status", {"Authorization": f"Bearer {admin}"})
    if answer.status != 200:
        return False
    said = [worker["components"] for worker in answer.json["workers"]]
    return all(
        each and (each["auth"]["state"], each["upstreams"]["state"]) == (expected, "ok") for each in said
    )


def counted(gateway: Deployment, sample: str) -> float:
    """The value of a sample; -1 where there is none."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", gateway.get("/metrics").body.decode(), re.MULTILINE)
    return float(found[1]) if found else -1.0


def reason(gateway: Deployment, answer: Answer) -> str:
    """Why a call got no further than its token, from the log: the caller is not told."""
    assert answer.status == 401, answer.body
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    return gateway.lines("auth_failure")[-1]["reason"]


@pytest.mark.parametrize("modern", [False, True])
@pytest.mark.parametrize(("path", "tool"), [("/mcp", "low__echo"), ("/mcp/low", "echo")])
def test_a_token_of_the_provider_makes_a_caller(
    gateway: Deployment, provider: Provider, modern: bool, path: str, tool: str
) -> None:
    subject = f"caller-{modern}-{tool}"
    caller = token(gateway, provider, subject, tenant="acme", roles=["theirs"], groups=["staff"])
    assert gateway.call(tool, {"text": "x"}, caller, path=path, modern=modern).status == 200
    row = gateway.recorded("subject=? AND action='tool_call'", subject)[-1]
    assert (row["tenant"], row["decision"], row["reason"]) == ("acme", "allow", "role_developer")


def test_a_role_that_the_operator_did_not_name_means_nothing(gateway: Deployment, provider: Provider) -> None:
    caller = token(gateway, provider, "unnamed", tenant="acme", roles=["unnamed", "viewer"])
    assert echo(gateway, caller).status == 200
    row = gateway.recorded("subject='unnamed' AND action='tool_call'")[-1]
    assert row["decision"] == "deny"


def test_a_token_without_a_tenant_counts_nowhere(gateway: Deployment, provider: Provider) -> None:
    assert reason(gateway, echo(gateway, token(gateway, provider, tenant=None))) == "token_tenant_missing"


def test_keys_rotate_without_a_failed_call(gateway: Deployment, provider: Provider) -> None:
    for _ in range(4):
        provider.rotate()
        statuses = [echo(gateway, token(gateway, provider)).status for _ in range(6)]
        assert statuses == [200] * 6


def test_a_large_call_waits_for_the_new_key_as_well(gateway: Deployment, provider: Provider) -> None:
    provider.rotate()
    assert echo(gateway, token(gateway, provider), "y" * 200_000).status == 200


def test_a_withdrawn_key_opens_nothing_any_more(gateway: Deployment, provider: Provider) -> None:
    before = token(gateway, provider)
    assert echo(gateway, before).status == 200
    provider.rotate(keep=False)

    def refused() -> bool:
        fresh = token(gateway, provider)
        assert all(echo(gateway, fresh).status == 200 for _ in range(4))
        return all(echo(gateway, before).status == 401 for _ in range(8))

    until(refused, within=30)


@pytest.mark.timeout(180 + OUTAGE)
def test_calls_go_on_while_the_provider_is_away(gateway: Deployment, provider: Provider) -> None:
    caller = token(gateway, provider)
    assert all(echo(gateway, caller).status == 200 for _ in range(8))
    provider.stop()
    try:

        def noticed() -> bool:
            echo(gateway, token(gateway, provider, kid="made-up"))
            assert echo(gateway, caller).status == 200
            return everywhere(gateway, provider, "degraded")

        until(noticed, within=30)
        end = SYSTEM.monotonic() + OUTAGE
        while SYSTEM.monotonic() < end:
            assert echo(gateway, caller).status == 200
            time.sleep(0.5)
        assert gateway.get("/ready").status == 200
        assert all(echo(gateway, token(gateway, provider)).status == 200 for _ in range(8))
    finally:
        provider.start()
    until(lambda: everywhere(gateway, provider, "ok"), within=90)
    assert gateway.recorded("action='discovery' AND decision='error' AND reason='provider_unavailable'")


def test_a_restart_while_the_provider_is_away_shuts_nobody_out(
    gateway: Deployment, provider: Provider
) -> None:
    caller = token(gateway, provider)
    assert all(echo(gateway, caller).status == 200 for _ in range(8))
    provider.stop()
    try:
        gateway.stop()
        gateway.start()
        until(lambda: all(echo(gateway, caller).status == 200 for _ in range(12)), within=30)
        until(lambda: everywhere(gateway, provider, "degraded"), within=30)
    finally:
        provider.start()
    until(lambda: everywhere(gateway, provider, "ok"), within=90)


@pytest.mark.parametrize(
    ("skew", "why", "by"),
    [(600, "token_not_yet_valid", "valid_in_s"), (-900, "token_expired", "expired_for_s")],
)
def test_clocks_ten_minutes_apart_refuse_tokens_and_the_log_says_by_how_much(
    gateway: Deployment, provider: Provider, skew: int, why: str, by: str
) -> None:
    now = int(SYSTEM.wall()) + skew
    assert reason(gateway, echo(gateway, token(gateway, provider, iat=now, exp=now + 300))) == why
    line = gateway.lines("jwt_invalid")[-1]
    assert line["reason"] == why
    assert 590 <= line[by] <= 660
    assert line["iss"] == provider.url


@pytest.mark.parametrize("skew", [45, -45])
def test_clocks_a_little_apart_refuse_nothing(gateway: Deployment, provider: Provider, skew: int) -> None:
    now = int(SYSTEM.wall()) + skew
    assert echo(gateway, token(gateway, provider, iat=now, exp=now + 300)).status == 200


@pytest.mark.parametrize(
    "login",
    [
        {},
        {"acr": "mfa"},
        {"acr": "pwd", "auth_time": 0},
        {"acr": "mfa", "auth_time": -3600},
    ],
)
@pytest.mark.parametrize("modern", [False, True])
def test_a_login_too_old_or_too_weak_is_sent_to_log_in_again(
    gateway: Deployment, provider: Provider, upstream: Recorder, login: dict[str, Any], modern: bool
) -> None:
    if "auth_time" in login:
        login = {**login, "auth_time": int(SYSTEM.wall()) + login["auth_time"]}
    marker = f"weak {login} {modern}"
    answer = gateway.call("guarded__echo", {"text": marker}, token(gateway, provider, **login), modern=modern)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer error="insufficient_user_authentication", acr_values="mfa", max_age="300", '
        f'resource_metadata="{gateway.url}/.well-known/oauth-protected-resource/mcp"'
    )
    assert marker not in str(upstream.calls())


def test_a_fresh_and_strong_login_suffices(gateway: Deployment, provider: Provider) -> None:
    login = {"acr": "mfa", "auth_time": int(SYSTEM.wall()) - 30}
    caller = token(gateway, provider, "stepped", tenant="acme", roles=["theirs"], **login)
    assert gateway.call("guarded__echo", {"text": "x"}, caller).status == 200
    weak = token(gateway, provider, "stepped", tenant="acme", roles=["theirs"])
    assert gateway.call("guarded__echo", {"text": "x"}, weak).status == 401
    rows = gateway.recorded("subject='stepped' AND decision='deny'")
    assert [(row["action"], row["reason"]) for row in rows] == [("token_validate", "login_insufficient")]


@pytest.mark.parametrize(
    ("scope", "tool", "status"),
    [
        ("mcp.call", "low__echo", 200),
        ("mcp.call.low", "low__echo", 200),
        ("mcp.call.other", "low__echo", 403),
        ("mcp.list", "low__echo", 403),
        (None, "low__echo", 403),
    ],
)
def test_a_call_needs_its_scope(
    gateway: Deployment, provider: Provider, scope: str | None, tool: str, status: int
) -> None:
    answer = gateway.call(tool, {"text": "x"}, token(gateway, provider, scope=scope))
    assert answer.status == status
    if status == 403:
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer error="insufficient_scope", scope="mcp.call.low"')


def test_the_metadata_names_the_provider(gateway: Deployment, provider: Provider) -> None:
    document = gateway.get("/.well-known/oauth-protected-resource/mcp").json
    assert document["authorization_servers"] == [provider.url]


def test_failures_are_counted_over_the_workers(gateway: Deployment, provider: Provider) -> None:
    sample = 'airlock_auth_failures_total{reason="token_lifetime"}'
    before = counted(gateway, sample)
    assert before >= 0
    forever = token(gateway, provider, "numerous", exp=int(SYSTEM.wall()) + 9_000_000)
    for _ in range(8):
        assert echo(gateway, forever).status == 401
    until(lambda: counted(gateway, sample) == before + 8)


def test_metrics_name_reasons_and_nobody(gateway: Deployment, provider: Provider) -> None:
    caller = token(gateway, provider, "nameless", tenant="acme", roles=["theirs"])
    assert echo(gateway, caller).status == 200
    answer = gateway.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.body.decode()
    assert [word for word in Reason if f'reason="{word}"' not in text] == []
    assert [word for word in ("nameless", "acme", "127.0.0.1") if word in text] == []
    assert counted(gateway, "airlock_jwks_last_refresh_timestamp_seconds") > 0
