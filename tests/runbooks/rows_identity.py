"""The identity provider, asked from inside, and authentication in the log: A-39 to A-41."""

from __future__ import annotations

import json
from typing import Any

from joserfc.jwk import ECKey

from tests.runbooks.registry import Run, Shown, row
from tests.runbooks.stack import GATEWAY, IDP

ISSUER = f"https://{IDP}"
RESOURCE = f"https://{GATEWAY}/mcp"


def doctor(run: Run) -> dict[str, dict[str, Any]]:
    """The lines of `airlock doctor oidc` about the provider, by what was looked at."""
    told = run.native("doctor", "oidc", "--json")
    checks = {check["check"].removeprefix(f"{ISSUER} "): check for check in told.json["checks"]}
    assert checks, told
    return checks


@row("A-39")
def the_metadata_of_the_provider_can_be_read(run: Run) -> None:
    shown = run.sh("A-39")
    assert shown.rc == 0, shown
    assert shown.json["issuer"] == ISSUER
    assert shown.json["jwks_uri"].startswith(ISSUER)
    keys = doctor(run)["publishes keys"]
    assert run.natives[-1].rc == 0, run.natives[-1]
    assert shown.json["jwks_uri"] in keys["observed"], keys
    run.answer(f"issuer {shown.json['issuer']}, keys at {shown.json['jwks_uri']}")


@row("A-39", fault="F8d")
def nothing_is_read_of_a_provider_that_is_away(run: Run) -> None:
    shown = run.sh("A-39")
    assert shown.out == "", shown
    assert shown.rc != 0, shown
    keys = doctor(run)["publishes keys"]
    assert run.natives[-1].rc == 1, run.natives[-1]
    assert "unavailable" in keys["observed"], keys
    run.answer(f"no output, exit status {shown.rc}")


@row("A-40")
@row("A-40", fault="F8k", tells=False)
def the_guessed_path_has_no_keys_though_the_provider_publishes_them(run: Run) -> None:
    shown = run.sh("A-40")
    assert '"keys"' not in shown.out, shown
    keys = doctor(run)["publishes keys"]
    assert run.natives[-1].rc == 0, run.natives[-1]
    assert "/jwks" in keys["observed"], keys
    assert all(kid in keys["observed"] for kid in run.facts.values.get("after", [])), keys
    assert not any(kid in keys["observed"] for kid in run.facts.values.get("before", [])), keys
    run.answer(f"no keys at a path that is a guess: {shown.first}")


@row("A-40", fault="F8c", tells=False, within=60.0)
def the_guessed_path_shows_no_clock(run: Run) -> None:
    shown = run.sh("A-40")
    assert '"keys"' not in shown.out, shown
    run.until(lambda: run.stack.airlock("doctor", "oidc", "--json").rc == 1, what="the doctor sees the clock")
    clock = doctor(run)["clock"]
    assert run.natives[-1].rc == 1, run.natives[-1]
    seconds = float(clock["observed"].split()[0])
    assert abs(abs(seconds) - run.facts.values["seconds"]) < 60, clock
    run.answer(f"no keys at a path that is a guess: {shown.first}")


def events(shown: Shown, name: str) -> list[dict[str, Any]]:
    """Log lines of one event among those that were shown."""
    lines = (json.loads(line) for line in shown.lines if line.startswith("{"))
    return [line for line in lines if line["event"] == name]


@row("A-41")
def a_credential_that_does_not_count_is_told_in_the_log(run: Run) -> None:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert run.stack.gateway.post(ping, "no.such.token").status == 401

    def refused() -> list[dict[str, Any]]:
        return [line for line in events(run.sh("A-41"), "auth_failure") if not line.get("iss")]

    found = run.until(refused, what="the refusal among the last lines")
    assert {"reason", "source_ip"} <= found[-1].keys(), found
    assert "no.such.token" not in json.dumps(found)
    asked = ("logs", "--event", "auth_failure", "--since", "1h")
    run.until(lambda: run.stack.airlock(*asked).out, what="the refusal among the lines that are kept")
    told = run.native(*asked)
    assert told.rc in {0, 3}, told
    assert set(told_events(told)) == {"auth_failure"}, told
    assert not any("unknown" in line["reason"] for line in found), found
    run.answer(f"auth_failure: {found[-1]['reason']}")


def told_events(told: Shown) -> list[str]:
    return [json.loads(line)["event"] for line in told.lines]


@row("A-41", fault="F8k", within=60.0)
def a_rotation_is_a_refresh_and_a_made_up_key_a_refusal(run: Run) -> None:
    stack = run.stack
    made_up = ECKey.generate_key("P-256", private=True, auto_kid=True)
    kid = str(made_up.kid)
    forged = stack.idp.token("alice", RESOURCE, key=made_up)
    genuine = stack.idp.token("alice", RESOURCE)

    lists = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    run.until(
        lambda: {stack.gateway.post(lists, genuine).status for _ in range(12)} == {200},
        what="tokens of the key that signs count in both workers",
    )
    assert stack.gateway.post(lists, forged).status == 401
    shown = run.until(lambda: seen(run), what="the refresh among the last lines")
    lines = events(shown, "auth_failure")
    assert any(line.get("kid") == kid for line in lines), lines
    told = run.native("logs", "--event", "auth_failure", "--since", "1h")
    assert any(kid in line for line in told.lines), told
    run.answer(f"auth_failure: {lines[-1]['reason']} of kid {kid}; jwks_refresh ok")


def seen(run: Run) -> Shown | None:
    shown = run.sh("A-41")
    good = any(line["result"] == "ok" for line in events(shown, "jwks_refresh"))
    return shown if good and events(shown, "auth_failure") else None


@row("A-41", fault="F8c", within=60.0)
def a_clock_that_is_wrong_is_told_as_such(run: Run) -> None:
    stack = run.stack
    late = {"token_expired", "token_not_yet_valid"}

    def told() -> list[dict[str, Any]]:
        token = stack.idp.token("alice", RESOURCE)
        stack.gateway.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, token)
        return [line for line in events(run.sh("A-41"), "auth_failure") if line["reason"] in late]

    found = run.until(told, what="a token whose time is not now")
    native = run.native("logs", "--event", "auth_failure", "--since", "1h")
    assert any(json.loads(line)["reason"] in late for line in native.lines), native
    run.answer(f"auth_failure: {found[-1]['reason']}")
