"""What holds the memory: A-84, A-85."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.runbooks.registry import Run, row

LEAKING = "leaking_handler"
TRACED = "336"
"""MiB that the leaking handler holds in the end: 80 more than before allocations were traced."""


def profiled(run: Run) -> tuple[Path, bytes]:
    """The heap profile that A-84 writes into the operator's directory, and what is in it."""
    run.bash('INCIDENT_ID="INC-20261122-120000"')
    shown = run.sh("A-84")
    assert (shown.rc, shown.err) == (0, ""), shown
    profile = run.session.folder / "heap-INC-20261122-120000.prof"
    content = gzip.decompress(profile.read_bytes())
    assert b"inuse_objects" in content
    assert b"inuse_space" in content
    assert b"traced since" in content or b"allocations are traced" in content, "a comment says since when"
    return profile, content


def traced(run: Run) -> None:
    """Wait until every worker traces: before that nobody can say which function allocated."""

    def everywhere() -> bool:
        told = run.stack.airlock("debug", "heap", "--json")
        return told.rc in {0, 1} and all(worker["traced_since"] for worker in told.json["workers"])

    run.until(everywhere, what="allocations are traced in every worker")


def leaked(run: Run) -> None:
    """Let the handler leak more, in every worker, where it is traced."""
    traced(run)
    request = run.stack.seam.folder / "leak"
    asked = request.read_text()
    request.write_text(TRACED)
    try:
        for _ in range(24):
            assert run.stack.gateway.get("/live").status == 200
    finally:
        request.write_text(asked)


@row("A-84", within=60.0)
def no_function_holds_much(run: Run) -> None:
    traced(run)
    _, content = profiled(run)
    assert LEAKING.encode() not in content
    told = run.native("debug", "heap", "--top", "5", "--json")
    assert (told.rc, told.json["suspects"]) == (0, []), told
    run.answer("inuse_objects and inuse_space; no function holds much")


@row("A-84", fault="F12", within=60.0)
def the_function_that_leaks_is_named(run: Run) -> None:
    leaked(run)
    _, content = profiled(run)
    assert LEAKING.encode() in content
    told = run.native("debug", "heap", "--top", "5", "--json")
    assert told.rc == 1, told
    assert told.json["suspects"][0]["function"].endswith(LEAKING), told
    run.answer(f"inuse_objects and inuse_space; {LEAKING} holds most")


def read(run: Run) -> str:
    """What `go tool pprof` says of the profile when nobody types."""
    profile, _ = profiled(run)
    shown = run.sh("A-85")
    assert shown.rc == 0, shown
    assert "Type: inuse_space" in shown.out + shown.err, shown
    top = run.bash(f"go tool pprof -top -nodecount=20 {profile.name}")
    assert top.rc == 0, top
    return top.out


@row("A-85", within=60.0)
def the_profile_can_be_read(run: Run) -> None:
    traced(run)
    assert LEAKING not in read(run)
    told = run.native("debug", "heap", "--top", "20", "--json")
    assert (told.rc, told.json["suspects"]) == (0, []), told
    run.answer(f"opens: inuse_space, {LEAKING} is not in it")


@row("A-85", fault="F12", within=60.0)
def the_leak_is_first_in_the_profile(run: Run) -> None:
    leaked(run)
    lines = read(run).splitlines()
    heads = next(number for number, line in enumerate(lines) if "flat%" in line)
    assert LEAKING in lines[heads + 1], lines
    told = run.native("debug", "heap", "--top", "20", "--json")
    assert told.rc == 1, told
    assert told.json["suspects"][0]["function"].endswith(LEAKING), told
    run.answer(f"opens: {LEAKING} is first by inuse_space")
