"""`airlock check`: would this configuration start, and would the process serve calls?

1. the configuration, whole; 2. the policy that it names, tried in a child; 3. what keeps it from being ready.
Nothing is started, nothing is written. Exit 0: yes; 1: no, with every reason; 2: there is no such file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from airlock.core.clock import SYSTEM
from airlock.core.errors import ConfigError
from airlock.core.settings import Loaded, environment, load
from airlock.gateway.observe import Observe
from airlock.policy.bundle import load_bundle
from airlock.policy.check import check_bundle

_NOT_READY = {
    "weak_key": (
        "auth.local_issuer",
        "not ready (weak_key): demo tokens must not count where others can reach the port",
        "set auth.local_issuer to false, or server.host to a loopback address",
    ),
}


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is, what is wrong, what would be right (or "")."""

    where: str
    what: str
    hint: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `digest` and `policy_revision` are empty for what could not be read."""

    ok: bool
    problems: list[Complaint]
    warnings: list[Complaint] = []
    not_ready: tuple[str, ...] = ()
    digest: str = ""
    policy_revision: str = ""


def check(
    config: Annotated[
        Path, typer.Option("--config", exists=True, dir_okay=False, help="The configuration to check.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check configuration and policy without starting."""
    report = examine(config, environment())
    print(msgspec.json.encode(report).decode() if json else _text(report, config))
    raise typer.Exit(0 if report.ok else 1)


def examine(config: Path, environ: Mapping[str, str]) -> Report:
    """All that can be said of a configuration file without starting."""
    try:
        loaded = load(config, environ)
    except ConfigError as error:
        return Report(ok=False, problems=_complaints(error))
    problems = [_unready(loaded, reason) for reason in loaded.not_ready]
    warnings = _observing(loaded)
    revision = ""
    try:
        bundle = load_bundle(Path(loaded.config.policy.path) if loaded.config.policy.path else None)
        revision = bundle.revision
        verdict = check_bundle(bundle)
        warnings += [Complaint(where=warning.where, what=warning.message) for warning in verdict.warnings]
    except ConfigError as error:
        problems += _complaints(error)
    return Report(
        ok=not problems,
        problems=problems,
        warnings=warnings,
        not_ready=loaded.not_ready,
        digest=loaded.digest,
        policy_revision=revision,
    )


def _observing(loaded: Loaded) -> list[Complaint]:
    """What this configuration does not enforce, or did not until now."""
    said = Observe(loaded.config, clock=SYSTEM).standing()[1]
    return [Complaint(where=loaded.origins["observe.until"], what=said)] if said else []


def _unready(loaded: Loaded, reason: str) -> Complaint:
    key, what, hint = _NOT_READY[reason]
    return Complaint(where=loaded.origins[key], what=f"{key}: {what}", hint=hint)


def _complaints(error: ConfigError) -> list[Complaint]:
    return [Complaint(where=part.where, what=part.what, hint=part.hint) for part in error.problems]


def _text(report: Report, config: Path) -> str:
    lines = [_line(problem) for problem in report.problems]
    lines += [f"warning: {_line(warning)}" for warning in report.warnings]
    if report.ok:
        lines.append(
            f"{config}: fine (configuration {report.digest[:12]}, policy {report.policy_revision[:12]})"
        )
    else:
        count = len(report.problems)
        lines.append(f"{config}: refused, {count} problem{'' if count == 1 else 's'}")
    return "\n".join(lines)


def _line(complaint: Complaint) -> str:
    return f"{complaint.where}: {complaint.what}" + (f" ({complaint.hint})" if complaint.hint else "")
