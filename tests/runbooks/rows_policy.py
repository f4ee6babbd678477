"""Policy in the log, copied out, formatted, tested and reloaded: A-44, A-46 to A-49."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.runbooks.registry import Run, Shown, row

WRONG_LINE = 7


def status(run: Run) -> Shown:
    """`airlock policy status`, polled: it is not the last word."""
    return run.stack.airlock("policy", "status", "--json")


def hung_up(run: Run) -> None:
    """Let the gateway read its policy, as A-49 does."""
    shown = run.sh("A-49")
    assert shown.rc == 0, shown


def refused(run: Run) -> dict[str, Any]:
    """What the gateway says of the policy that it did not take, once it has said so."""

    def error() -> dict[str, Any] | None:
        running: dict[str, Any] | None = status(run).json["running"]
        return running and running["last_error"]

    return run.until(error, what="the refused reload")


@row("A-44")
def the_policy_in_the_log_was_loaded(run: Run) -> None:
    hung_up(run)

    def reloaded() -> Shown | None:
        shown = run.sh("A-44")
        return shown if '"policy_reload"' in shown.out and '"result":"accepted"' in shown.out else None

    shown = run.until(reloaded, what="an accepted reload among the last lines")
    assert '"policy_compile_error"' not in shown.out, shown
    told = run.native("policy", "status", "--json")
    assert (told.rc, told.json["in_force"], told.json["usable"]) == (0, True, True), told
    active = told.json["running"]["active_sha256"]
    assert f'"active_revision":"{active}"' in shown.out, shown
    run.answer(f"policy_reload accepted, revision {active[:12]}")


@row("A-44", fault="F2")
def the_log_names_the_line_that_is_wrong(run: Run) -> None:
    refused(run)
    hung_up(run)

    def found() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in run.sh("A-44").lines if line.startswith("{")]
        return [line for line in lines if line["event"] == "policy_compile_error"]

    lines = run.until(found, what="the compile error among the last lines")
    said = lines[-1]
    assert said["line"] == WRONG_LINE, said
    assert said["file"].endswith("policy.rego"), said
    assert said["message"], said
    told = run.native("policy", "status", "--json")
    assert told.rc == 1, told
    assert told.json["running"]["last_error"]["line"] == WRONG_LINE, told
    replicas = told.json["running"]["replicas"]
    assert {replica["active_sha256"] for replica in replicas} == {said["active_revision"]}, told
    run.answer(f"policy_compile_error {said['file']}:{said['line']}: {said['message']}")


@row("A-46")
@row("A-46", fault="F2")
def the_policy_is_copied_as_it_stands(run: Run) -> None:
    shown = run.sh("A-46")
    assert (shown.rc, shown.err) == (0, ""), shown
    copied = (run.session.folder / "policy.rego").read_bytes()
    assert copied == run.stack.policy.read_bytes()
    told = run.native("policy", "show", "--source")
    assert told.out == copied.decode(), told
    if run.check.fault == "F2":
        assert told.rc == 1, told
        assert f"policy.rego:{WRONG_LINE}:" in told.err, told
    else:
        assert (told.rc, told.err) == (0, ""), told
    run.answer(f"line {WRONG_LINE}: {copied.decode().splitlines()[WRONG_LINE - 1]!r}")


@row("A-47")
def the_policy_is_formatted(run: Run) -> None:
    run.sh("A-46")
    shown = run.sh("A-47")
    assert (shown.rc, shown.err) == (0, ""), shown
    assert shown.out == run.stack.policy.read_text()
    told = run.native("policy", "check", "--json")
    assert (told.rc, told.json["usable"]) == (0, True), told
    run.answer("printed as it is: it is formatted")


@row("A-47", fault="F2")
def a_policy_that_does_not_parse_is_not_formatted(run: Run) -> None:
    run.sh("A-46")
    shown = run.sh("A-47")
    assert shown.rc != 0, shown
    assert f"policy.rego:{WRONG_LINE}" in shown.err, shown
    told = run.native("policy", "check", "--json")
    assert told.rc == 1, told
    assert told.json["problems"][0]["line"] == WRONG_LINE, told
    run.answer(next(line for line in shown.err.splitlines() if f":{WRONG_LINE}" in line))


@row("A-48")
def the_policy_passes_its_own_tests(run: Run) -> None:
    run.sh("A-46")
    shown = run.sh("A-48")
    passed = re.search(r"^PASS: (\d+)/(\d+)$", shown.out, re.MULTILINE)
    assert passed is not None, shown
    assert passed[1] == passed[2], shown
    assert int(passed[1]) >= 10, shown
    told = run.native("policy", "test", "--json")
    assert (told.rc, told.json["passed"]) == (0, True), told
    assert len(told.json["tests"]) == int(passed[1])
    run.answer(passed[0])


@row("A-48", fault="F2")
def a_policy_that_does_not_parse_passes_no_test(run: Run) -> None:
    run.sh("A-46")
    shown = run.sh("A-48")
    assert shown.rc != 0, shown
    assert f"policy.rego:{WRONG_LINE}" in shown.out + shown.err, shown
    assert "PASS" not in shown.out, shown
    told = run.native("policy", "test")
    assert told.rc == 1, told
    assert f"policy.rego:{WRONG_LINE}" in told.out + told.err, told
    run.answer(next(line for line in (shown.out + shown.err).splitlines() if f":{WRONG_LINE}" in line))


@row("A-49")
def a_changed_policy_is_in_force_in_every_worker(run: Run) -> None:
    policy, before = run.stack.policy, status(run).json["running"]["active_sha256"]
    genuine = policy.read_bytes()
    policy.write_bytes(genuine + b"\n# One line more.\n")
    try:
        hung_up(run)
        after = run.until(lambda: everywhere(run, {before}), what="the other policy in every worker")
        assert run.stack.call("files__echo", text="still served").status == 200
        told = run.native("policy", "reload", "--all-replicas", "--json")
        assert told.rc == 0, told
        assert (told.json["replicas_acked"], told.json["replicas_total"]) == (2, 2), told
        run.answer(f"{len(run.stack.workers)} workers changed their revision: the file's")
    finally:
        policy.write_bytes(genuine)
        hung_up(run)
    run.until(lambda: everywhere(run, {after}) == before, what="the policy before in every worker")


def everywhere(run: Run, old: set[str]) -> str | None:
    """The one revision by which all workers decide, where it is none of the old ones."""
    active = {replica and replica["active_sha256"] for replica in status(run).json["running"]["replicas"]}
    return active.pop() if len(active) == 1 and not active & old else None


@row("A-49", fault="F2")
def a_policy_that_does_not_compile_changes_nothing(run: Run) -> None:
    workers = run.stack.workers
    hung_up(run)
    error = refused(run)
    assert error["line"] == WRONG_LINE, error
    assert run.stack.workers == workers, "the same processes serve"
    assert run.stack.call("files__echo", text="still served").status == 200
    assert "result" not in run.stack.ask_policy().json, "the old policy decides: this role may nothing"
    lines = run.until(
        lambda: [line for line in run.stack.gateway.lines("policy_reload") if line["result"] == "error"],
        what="the log says that the reload failed",
    )
    told = run.native("policy", "reload", "--all-replicas", "--json")
    assert told.rc == 1, told
    assert f":{WRONG_LINE}" in told.out, told
    run.answer(f"policy_reload error; still active {lines[-1]['active_revision'][:12]}")


@row("S-08", fault="F2")
def the_bad_change_comes_first_with_who_made_it(run: Run) -> None:
    hung_up(run)
    refused(run)
    told = run.native("policy", "diff", "--since", "24h", "--json")
    assert told.rc == 0, told
    first = told.json["changes"][0]
    assert (first["kind"], first["by"]) == ("refused", "SIGHUP"), told
    assert f"policy.rego:{WRONG_LINE}" in first["reason"], told
    assert "+@ this is no Rego @" in first["diff"].splitlines(), told
    assert first["before"] == status(run).json["running"]["active_sha256"], told
    run.answer(f"{first['at']} {first['by']}: {first['reason']}")
