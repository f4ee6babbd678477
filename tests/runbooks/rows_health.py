"""Does it live, is it ready, what do the metrics say: A-05, A-06, A-35, A-36, A-38, A-90 to A-92."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from joserfc.jwk import ECKey

from tests.runbooks.registry import Run, Shown, row
from tests.runbooks.stack import GATEWAY

COMPONENTS = {"config", "policy", "audit", "auth", "database", "upstreams", "clock"}
GONE_WRONG = "The requested URL returned error: 503"
"""What `curl -f` says of a 503: nothing of its body."""


def touched(run: Run) -> None:
    """Two calls, so that the product meets what is wrong with it: one of them names a key that nobody has."""
    unknown = ECKey.generate_key("P-256", private=True, auto_kid=True)
    for token in ("", run.stack.idp.token("alice", f"https://{GATEWAY}/mcp", key=unknown)):
        with suppress(OSError):
            run.stack.call("files__echo", token=token, text="is anybody there")


def body(run: Run) -> dict[str, Any]:
    """What `/ready` has to say in words, which `curl -f` keeps from the operator."""
    return run.bash(f"curl -s https://{GATEWAY}/ready").json


@row("A-05")
@row("A-05", fault="F1", tells=False)
@row("A-05", fault="F2", tells=False)
@row("A-05", fault="F6", tells=False)
@row("A-05", fault="F7e", tells=False)
@row("A-05", fault="F8d", tells=False)
@row("A-05", fault="F9", tells=False)
@row("A-35")
@row("A-35", fault="F6", tells=False)
@row("A-90")
@row("A-90", fault="F1", tells=False)
def it_lives_whatever_is_wrong(run: Run) -> None:
    touched(run)
    shown = run.sh(run.check.row)
    assert (shown.rc, shown.json) == (0, {"status": "alive"}), shown
    run.answer(shown.out)


@row("A-06")
@row("A-36")
@row("A-91")
def it_is_ready_with_every_component(run: Run) -> None:
    shown = run.until(lambda: settled(run), what="ready with every component ok")
    assert shown.rc == 0, shown
    run.answer(f"ready, {len(COMPONENTS)} components ok")


def settled(run: Run) -> Shown | None:
    shown = run.sh(run.check.row)
    if shown.rc != 0:
        return None
    said = shown.json
    assert said["ready"] is True
    assert set(said["components"]) == COMPONENTS
    assert all(set(part) == {"state", "reason", "since"} for part in said["components"].values())
    return shown if {part["state"] for part in said["components"].values()} == {"ok"} else None


@row("A-06", fault="F1")
@row("A-36", fault="F1")
@row("A-91", fault="F1")
def it_is_not_ready_when_policy_decides_nothing(run: Run) -> None:
    failed(run, "policy")


@row("A-06", fault="F6", within=60.0)
@row("A-36", fault="F6", within=60.0)
@row("A-91", fault="F6", within=60.0)
def it_is_not_ready_when_nothing_can_be_recorded(run: Run) -> None:
    failed(run, "audit")


def failed(run: Run, culprit: str) -> None:
    """The gateway is out of traffic, and names the culprit."""

    def found() -> tuple[Shown, dict[str, Any]] | None:
        touched(run)
        shown, said = run.sh(run.check.row), body(run)
        down = shown.rc == 22 and GONE_WRONG in shown.err and said["ready"] is False
        return (shown, said) if down else None

    shown, said = run.until(found, what="503")
    part = said["components"][culprit]
    assert part["state"] == "failed", said
    assert part["reason"], said
    assert not shown.out
    run.answer(f"{GONE_WRONG}; {culprit} failed: {part['reason']}")


@row("A-06", fault="F8d", within=60.0)
def it_is_degraded_while_the_provider_is_away(run: Run) -> None:
    degraded(run, "auth")


@row("A-06", fault="F18", within=60.0)
def it_is_degraded_while_a_server_is_away(run: Run) -> None:
    degraded(run, "upstreams")


def degraded(run: Run, culprit: str) -> None:
    """The gateway stays in traffic, and says what is missing."""

    def found() -> Shown | None:
        touched(run)
        shown = run.sh(run.check.row)
        return shown if shown.rc == 0 and shown.json["components"][culprit]["state"] == "degraded" else None

    shown = run.until(found, what=f"{culprit} degraded")
    assert shown.json["ready"] is True
    part = shown.json["components"][culprit]
    assert part["reason"], part
    run.answer(f"ready; {culprit} degraded: {part['reason']}")


READY = re.compile(r'^airlock_ready\{component="(\w+)"\} (\d)(?:\.0)?$', re.MULTILINE)


@row("A-38")
def the_metrics_say_up_and_ready(run: Run) -> None:
    shown = run.sh("A-38")
    assert re.search(r"^airlock_up 1(\.0)?$", shown.out, re.MULTILINE), shown
    assert dict(READY.findall(shown.out)) == dict.fromkeys(COMPONENTS, "1"), shown
    assert "airlock_upstream_duration_seconds" in shown.out, "the words match more than they mean"
    told = run.native("status", "--json")
    assert (told.rc, told.json["healthy"]) == (0, True), told
    run.answer("airlock_up 1.0; every component ready")


@row("A-38", fault="F1")
def the_metrics_say_that_policy_is_not_ready(run: Run) -> None:
    def found() -> Shown | None:
        shown = run.sh("A-38")
        return shown if ("policy", "0") in READY.findall(shown.out) else None

    shown = run.until(found, what="policy not ready")
    assert [name for name, value in READY.findall(shown.out) if value == "0"] == ["policy"], shown
    run.until(lambda: not run.stack.airlock("status", "--json").json["healthy"], what="status finds it")
    told = run.native("status", "--json")
    assert told.rc == 1, told
    assert any("policy failed" in wrong for wrong in told.json["wrong"]), told.json["wrong"]
    run.answer('airlock_ready{component="policy"} 0.0')


SAMPLE = re.compile(r"^(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)$")
FORBIDDEN = {"subject", "tenant", "ip", "source_ip", "address", "argument"}


@row("A-92")
@row("A-92", fault="F1", tells=False)
def the_metrics_are_text_without_personal_labels(run: Run) -> None:
    shown = run.sh("A-92")
    assert shown.rc == 0, shown
    samples = [SAMPLE.match(line) for line in shown.lines if not line.startswith("#")]
    assert samples
    assert all(samples), [line for line in shown.lines if not line.startswith("#") and not SAMPLE.match(line)]
    found = [sample for sample in samples if sample]
    labels = {label for sample in found for label in re.findall(r"(\w+)=", sample["labels"] or "")}
    assert not labels & FORBIDDEN, labels & FORBIDDEN
    assert all(float(sample["value"]) >= 0 for sample in found)
    assert "alice" not in shown.out
    names = {sample["name"] for sample in found}
    assert {"airlock_up", "airlock_requests_failed_total"} <= names
    run.answer("text exposition, no label of a person")
