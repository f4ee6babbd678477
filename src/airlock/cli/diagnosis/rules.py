"""`airlock doctor policy`: the configured policy compiles and answers, and every worker decides by it."""

from __future__ import annotations

from pathlib import Path

from airlock.cli.diagnosis.check import Asked, Check, judged
from airlock.policy.bundle import load_bundle
from airlock.policy.check import check_bundle
from airlock.policy.problem import PolicyRejected

SLOW_MS = 50.0
"""Milliseconds of the slowest answer to questions made to be slow."""


def policy(asked: Asked) -> list[Check]:
    """Raises `ConfigError` for a policy that cannot be read."""
    path = asked.config.policy.path
    bundle = load_bundle(Path(path) if path else None)
    what, expected = "compiles and answers", f"no findings, p99 <= {SLOW_MS:g} ms"
    try:
        found = check_bundle(bundle)
        seen = f"p99 {found.p99_ms:.2f} ms"
        verdict = judged(found.p99_ms <= SLOW_MS)
    except PolicyRejected as rejected:
        seen, verdict = "; ".join(map(str, rejected.findings)), judged(good=False)
    compiled = Check(part="policy", check=what, observed=seen, expected=expected, verdict=verdict)
    return [compiled, *_in_force(asked, bundle.revision)]


def _in_force(asked: Asked, revision: str) -> list[Check]:
    what, expected = "every worker decides by it", revision[:12]
    status = asked.status()
    if isinstance(status, str):
        return [Check(part="policy", check=what, observed=status, expected=expected, verdict="unknown")]
    active = [str(worker["active_sha256"]) for worker in status["workers"]]
    refused = status["policy"]["last_error"]
    return [
        Check(
            part="policy",
            check=what,
            observed=", ".join(each[:12] or "none" for each in active) or "no worker",
            expected=expected,
            verdict=judged(bool(active) and set(active) == {revision}),
        ),
        Check(
            part="policy",
            check="last reload",
            observed="not refused" if refused is None else f"refused: {refused['what']}",
            expected="not refused",
            verdict=judged(refused is None),
        ),
    ]
