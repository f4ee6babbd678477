"""The faults of the table by id, on a running `Stack`: proven when entered, mended when left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tests import faults as rig
from tests.faults import tampering
from tests.faults.facts import Facts, prove, proven
from tests.runbooks.registry import HEALTHY
from tests.runbooks.stack import Stack

Fault = Callable[[Stack], AbstractContextManager[Facts]]
CANARY = "canary.person@example.org"


@contextmanager
def healthy(stack: Stack) -> Generator[Facts]:
    stack.settled()
    yield Facts(fault=HEALTHY, proof="every component of every worker is ok")


@contextmanager
def policy_broken(stack: Stack) -> Generator[Facts]:
    """F2: line 7 of the file is no Rego, and the gateway was told to read it."""
    with rig.policy_broken(stack.policy) as facts:
        stack.reload()
        yield facts
    stack.reload()


@contextmanager
def call_in_flight(stack: Stack) -> Generator[Facts]:
    """F10, at `srv-evil`."""
    with rig.in_flight(stack.gateway, stack.evil, stack.tokens["user"], tool="srv-evil__hang") as facts:
        yield facts


@contextmanager
def worker_killed(stack: Stack) -> Generator[Facts]:
    """F17, for the first worker."""
    victim = stack.workers[0]
    with rig.killed_under_load(victim, stack.gateway, stack.tokens["user"], "files__echo") as facts:
        yield facts


@contextmanager
def fragment(stack: Stack) -> Generator[Facts]:
    """F16: the mounted `config.yaml` is one section."""
    stack.overlay.write_text("logging:\n  level: info\n")
    try:
        text = stack.overlay.read_text()
        prove("auth" not in text and "servers" not in text, "a configuration file of one section")
        yield Facts(fault="F16", proof=f"{stack.overlay.name} is {text!r}")
    finally:
        stack.overlay.unlink()


@contextmanager
def escalation(stack: Stack) -> Generator[Facts]:
    """A developer asks for what only administrators may do, and is refused."""
    headers = {"Authorization": f"Bearer {stack.tokens['user']}"}
    body = b'{"ip_addresses":["198.51.100.7"],"duration":"1h"}'
    answer = stack.gateway.send("POST", "/admin/security/block", body, headers)
    prove(answer.status == 403, f"status 403: {answer.status}")
    yield Facts(
        fault="escalation", proof=f"the request was answered {answer.status}", values={"subject": "alice"}
    )


@contextmanager
def canary_in_logs(stack: Stack) -> Generator[Facts]:
    """F11l, on standard output and among the lines that the gateway keeps on disk."""
    kept = min((stack.gateway.data / "logs").iterdir())
    with rig.canary_in_log(stack.gateway.log) as facts, rig.canary_in_log(kept):
        yield facts


@contextmanager
def unredacted(stack: Stack) -> Generator[Facts]:
    """The gateway runs on a configuration that looks for nothing in results."""
    with stack.configured(redaction={"detectors": []}):
        said = proven(lambda: _everywhere_plain(stack), "an address of mail in the answers of both workers")
        yield Facts(fault="unredacted", proof=f"{said} answers showed {CANARY}")


def _everywhere_plain(stack: Stack) -> int:
    headers = {"Authorization": f"Bearer {stack.tokens['admin']}"}
    report: dict[str, Any] = stack.gateway.get("/admin/policy/status", headers).json["last_reload"] or {}
    if "redaction" not in report.get("sections", ()) or report["acked"] < report["total"]:
        return 0
    answers = [stack.call("files__echo", text=CANARY) for _ in range(12)]
    return len(answers) if all(CANARY in answer.body.decode() for answer in answers) else 0


def tampered(tamper: Callable[..., AbstractContextManager[Facts]]) -> Fault:
    """A hand in the audit database, while the projector stands still."""

    @contextmanager
    def fault(stack: Stack) -> Generator[Facts]:
        with tampering.projector_still(stack.pid, stack.database), tamper(stack.database) as facts:
            yield facts

    return fault


FAULTS: dict[str, Fault] = {
    HEALTHY: healthy,
    "F1": lambda stack: rig.policy_panics(stack.seam, stack.workers, stack.ask_policy),
    "F2": policy_broken,
    "F4p": lambda stack: rig.policy_slow(stack.seam, stack.workers, stack.ask_policy, 0.5),
    "F4u": lambda stack: stack.to_good.slow(3.0),
    "F6": lambda stack: rig.full_disk(stack.gateway.data),
    "F7e": tampered(tampering.row_edited),
    "F7d": tampered(tampering.row_deleted),
    "F7t": tampered(tampering.tail_truncated),
    "F7r": tampered(tampering.history_rehashed),
    "F7k": tampered(tampering.row_forked),
    "F8d": lambda stack: rig.provider_down(stack.idp),
    "F8k": lambda stack: rig.provider_rotated(stack.idp),
    "F8c": lambda stack: rig.clock_shifted(stack.seam, stack.workers),
    "F9": lambda stack: rig.failed_authentications(stack.gateway),
    "F10": call_in_flight,
    "F11": lambda stack: rig.canary_in_result(stack.good, "echo"),
    "F11l": canary_in_logs,
    "F12": lambda stack: rig.leak(stack.seam, stack.workers, lambda: stack.gateway.get("/live")),
    "F13": lambda stack: rig.deaf_worker(stack.seam, stack.workers),
    "F16": fragment,
    "F17": worker_killed,
    "F18": lambda stack: stack.to_good.down(),
    "escalation": escalation,
    "unredacted": unredacted,
}
"""The product finds some of them only when it needs the part: ask for it, then look."""

SOILING = frozenset(("F9", "escalation"))
"""Faults that leave something in the log for hours: each has a stack of its own."""


@contextmanager
def applied(fault: str, stack: Stack) -> Generator[Facts]:
    """The fault is there, and proven; afterwards the stack is well again."""
    with FAULTS[fault](stack) as facts:
        yield facts
    if fault != HEALTHY:
        stack.settled()
