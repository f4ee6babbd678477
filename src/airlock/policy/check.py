"""May this bundle be used at all? The one check for command line, supervisor and administration.

It blocks for the length of the trial (well under a second for an ordinary policy): keep it off an event loop.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

from airlock.policy.problem import PolicyRejected, Problem
from airlock.policy.trial import Verdict

if TYPE_CHECKING:
    from airlock.policy.bundle import Bundle

TRIAL_S = 20.0
"""Longest trial. A policy that needs longer to compile or to answer is refused anyway."""


def check_bundle(bundle: Bundle, *, limit_s: float = TRIAL_S) -> Verdict:
    """Try the bundle in a child. Raises PolicyRejected with all that speaks against it."""
    try:
        child = subprocess.run(
            [sys.executable, "-m", "airlock.policy.trial"],
            input=bundle.to_bytes(),
            capture_output=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        message = f"the trial did not end within {limit_s:g} s: deeply nested brackets, or an endless rule"
        raise PolicyRejected([Problem(file=bundle.origin, message=message)]) from error
    if child.returncode:
        raise PolicyRejected([Problem(file=bundle.origin, message=_cause(child))])
    verdict = msgspec.json.decode(child.stdout, type=Verdict)
    if verdict.findings:
        raise PolicyRejected(verdict.findings)
    return verdict


def _cause(child: subprocess.CompletedProcess[bytes]) -> str:
    if child.returncode < 0:
        return f"the engine crashed on this policy (signal {-child.returncode})"
    lines = child.stderr.decode(errors="replace").strip().splitlines()
    return f"the trial failed: {lines[-1] if lines else 'no message'}"
