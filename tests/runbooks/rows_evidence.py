"""What is kept before anything is restarted: A-62, A-65, A-68."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.runbooks.kubectl import SELECTED
from tests.runbooks.registry import HEALTHY, Run, row
from tests.runbooks.response import Responding, response

NOTHING = "No sensitive data found in logs\n"


def collected(run: Run) -> tuple[str, Path]:
    """The id of an incident, and its bundle of evidence."""
    stack = response(run)
    if "collected" not in stack.known:
        id = stack.opened(severity="P1", title="To be proven")["id"]
        order = ("evidence", "collect", "--incident", id, "--logs", "2h", "--flat", "/tmp/flat", "--json")  # noqa: S108
        told = stack.airlock(*order)
        assert told.rc == 0, told
        assert told.json["bundle"]["whole"], told
        stack.known["collected"] = id, Path(told.json["path"]).name
        stack.known["collecting"] = told
    id, bundle = stack.known["collected"]
    run.bash(f"INCIDENT_ID={id}")
    return id, stack.gateway.data / "evidence" / bundle


def kept(stack: Responding, id: str, name: str) -> Path:
    """A loose file of the bundle."""
    return stack.gateway.folder / "tmp" / "flat" / name.format(id)


@row("A-62", engine=True)
def two_hours_of_lines_are_more_than_ten(run: Run) -> None:
    stack = response(run)
    id, bundle = collected(run)
    shown = run.sh("A-62")
    assert shown.rc == 0, shown
    saved = (run.session.folder / f"incident-logs-{id}.txt").read_text().splitlines()
    assert len(saved) == SELECTED, "ten lines, whatever the time"
    whole = kept(stack, id, "incident-logs-{}.txt").read_text().splitlines()
    parted = [line.split(" ", 1) for line in whole]
    assert len(parted) > 3 * SELECTED, len(parted)
    assert {"supervisor", "engine", "worker-0", "worker-1"} <= {process for process, _ in parted}
    assert "lifecycle" in {json.loads(line)["event"] for _, line in parted}
    run.natives.append(stack.known["collecting"])
    assert (bundle / "data" / "logs" / f"incident-logs-{id}.txt").is_file()
    run.answer("ten lines; the bundle has those of all processes")


@row("A-65", engine=True)
def a_changed_byte_is_named(run: Run) -> None:
    stack = response(run)
    id, bundle = collected(run)
    for name in ("incident-logs-{}.txt", "system-state-{}.yaml"):
        shutil.copy(kept(stack, id, name), run.session.folder / name.format(id))
    shown = run.sh("A-65")
    assert shown.rc == 0, shown
    hashed = set((run.session.folder / f"evidence-hashes-{id}.txt").read_text().splitlines())
    assert len(hashed) == 2, hashed
    ours = set(kept(stack, id, "evidence-hashes-{}.txt").read_text().splitlines())
    assert hashed < ours, (hashed, ours)
    checked = run.bash(f"cd {kept(stack, id, '')} && sha256sum -c evidence-hashes-{id}.txt; cd - >/dev/null")
    assert {line.rpartition(": ")[2] for line in checked.lines} == {"OK"}, checked
    inside = f"/var/lib/airlock/evidence/{bundle.name}"
    good = run.native("evidence", "verify", inside, "--json")
    assert (good.rc, {step["result"] for step in good.json["steps"]}) == (0, {"PASS"}), good
    with_one_byte_changed(run, bundle, inside)
    run.answer("two hashes of those that the manifest has; one changed byte is named")


def with_one_byte_changed(run: Run, bundle: Path, inside: str) -> None:
    victim = bundle / "data" / "state" / "leases.json"
    before = victim.read_bytes()
    mode = victim.stat().st_mode
    try:
        victim.chmod(0o600)
        victim.write_bytes(before[:-1] + b"!")
        bad = run.stack.airlock("evidence", "verify", inside, "--json")
    finally:
        victim.write_bytes(before)
        victim.chmod(mode)
    assert bad.rc == 1, bad
    [bag] = [step for step in bad.json["steps"] if step["name"] == "bag"]
    assert bag["result"] == "FAIL", bag
    assert any("data/state/leases.json" in line for line in bag["told"]), bag


@row("A-68", engine=True)
@row("A-68", fault="F11l", engine=True, tells=False)
def words_in_ten_lines_prove_nothing(run: Run) -> None:
    """Without the file, with ten lines of it, and with a number in it that no word announces: all clear."""
    run.bash("INCIDENT_ID=INC-20261122-210700")
    missing = run.sh("A-68")
    assert missing.out == NOTHING, missing
    id = response(run).opened(severity="P2", title="Personal data in the log?")["id"]
    run.bash(f"INCIDENT_ID={id}")
    run.sh("A-62")
    (run.session.folder / f"incident-logs-{id}.txt").write_text("536-22-8726\n")
    shown = run.sh("A-68")
    assert shown.out == NOTHING, shown
    told = run.native("redaction", "scan", "--incident", id, "--json")
    found = {place["detector"] for place in told.json["found"]}
    if run.check.fault == HEALTHY:
        assert (told.rc, found) == (0, set()), told
    else:
        assert told.rc == 1, told
        assert {"ssn", "credit_card", "iban"} <= found, told
        assert not any(value in told.out for value in run.facts.values["canaries"].values()), told
    assert told.json["looked_at"]["files"] > 0, told
    run.answer(NOTHING)
