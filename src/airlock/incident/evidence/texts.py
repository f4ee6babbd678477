"""Texts of a bag about the bag: what it leaves unproven, how to check it, who could certify it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import airlock
from airlock.core.clock import rfc3339
from airlock.incident.evidence import verify_bundle
from airlock.model.evidence import Bundle

UNPROVEN = (
    "No Merkle tree and no signed checkpoint of the log exist: whoever could write the database before the "
    "copy was made could change rows and compute every later hash anew.",
    "No witness confirmed the log: an older copy of the whole host, put back before the collection, passes.",
    "Completeness is shown within each chain up to its end in the copy. A chain that was removed as a whole, "
    "or cut at its end, is not missed.",
    "Times are this host's word: no time token (RFC 3161) was obtained.",
    "Lines of the custody log since the bundle was closed stand beside it: that some are missing at their "
    "end is not noticed here. Each left a row in the audit log of the gateway (action `evidence_event`).",
    "The signature shows that the bundle is as the gateway's key closed it: compare the key with a "
    "fingerprint that was kept elsewhere.",
    "Arguments and results of calls are committed in the log, not stored: only who still has them can hold "
    "them against the commitments.",
)
"""What no bundle of this version proves."""


def unproven(bundle: Bundle, found: Sequence[str]) -> tuple[str, ...]:
    """Everything that a bundle leaves open; `found` are the limits met while it was made."""
    own: list[str] = []
    if bundle.asked.tenant:
        own.append(
            f"Only rows of tenant {bundle.asked.tenant} are disclosed; of the others the hashes alone, so "
            "that the links between them rest on this host's word. There is no copy of the database and "
            "there are no log lines."
        )
    return (*UNPROVEN, *own, *found)


def program() -> bytes:
    """The program that checks a bundle, as it stands in this installation."""
    return Path(verify_bundle.__file__).read_bytes()


def guide(bundle: Bundle, key: str) -> str:
    """`VERIFY.md`: how to check a bundle without its maker."""
    return f"""# Checking {bundle.id}

You need Python 3.9 or newer, and nothing of Airlock. Take `verify_bundle.py` from a place that you trust
rather than from here: a forged bundle could bring a forged checker. Its SHA-256 stands in
`tagmanifest-sha256.txt`.

    python3 verify_bundle.py . --key sha256:{key}

The fingerprint after `--key` has to come from somewhere else than this bundle: from the notes of whoever
collected it, or from the audit log of the gateway (action `evidence_event`).

| Exit code | Meaning |
|---|---|
| 0 | Every step holds |
| 1 | Something was changed; the lines with FAIL name it |
| 2 | The check could not run |
| 3 | Nothing contradicts, but no key was given to compare with |

Without Python: `sha256sum -c manifest-sha256.txt` and `sha256sum -c tagmanifest-sha256.txt` check the files;
they do not notice files that were added, and not who signed.

What stands in `data/`: `forensic/` the audit database and its journals, `audit/` the rows of the window with
the values behind their commitments, `logs/` lines of all processes, `state/` configuration (secrets as keyed
digests), policy, leases, tools and processes, `queries/` questions with answers and counts, `record/` the
incident as data, `custody.jsonl` who had the bundle. Files of the incident stand beside them.
"""


def certification(bundle: Bundle, key: str, now: float) -> str:
    """`certification-draft.md`: facts that a qualified person may certify. It draws no legal conclusion."""
    asked = bundle.asked
    return f"""# Draft of a certification

To be completed and signed by a qualified person. Prepared with FRE 902(13) and 902(14) and the handling of
ISO/IEC 27037 in mind; whether they apply is for counsel to say.

- Bundle: {bundle.id}, about incident {bundle.incident}
- Collected: {rfc3339(now)}, by {asked.who or "not recorded"} ({asked.role or "no role recorded"})
- Program: airlock {airlock.__version__}
- Process: SQLite online backup inside one read transaction with a cut through the journals; SHA-256 of every
  file in `manifest-sha256.txt`; SHA-256 of the manifests signed with Ed25519, key sha256:{key}
- Window of the audit log: {asked.window:g} seconds before the copy; of log lines: {asked.logs:g} seconds
- Disclosed: {f"rows of tenant {asked.tenant} alone" if asked.tenant else "all rows"}
- What is not proven stands in the signed statement, and `verify_bundle.py` prints it

Name, position, signature, date: ______________________________
"""
