"""`airlock policy suggest`: from what was observed to the smallest policy that allows it.

1. read the calls that were let through, with their recorded policy inputs where they can be opened;
2. write the policy with its tests;
3. check it in a child, run its tests, and ask it about every call that was read: what it would not allow is
   said. Nothing is put in force.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.core.clock import SYSTEM
from airlock.core.errors import PolicyFault
from airlock.core.harmless import harmless
from airlock.core.sealed import Sealer, load_keys
from airlock.core.settings import environment, load
from airlock.mcp.strict import canonical
from airlock.model.decision import PolicyInput
from airlock.policy.sample import complete
from airlock.policy.suggest import Seen, Suggestion, suggest

REFUSED = 1
UNUSABLE = 2

MOST = 200_000
"""Calls that are read, the newest first: what is rarer than one in so many is no habit."""

_CALLS = (
    "SELECT l.tenant, l.server_id, l.tool_name, l.metadata, l.entry, p.subject, p.data"
    " FROM audit_log l LEFT JOIN audit_personal p ON p.n = l.n"
    " WHERE l.action IN ('tool_call', 'prompt_get', 'resource_read', 'completion')"
    " AND l.phase = 'outcome' AND l.decision IN ('allow', 'error')"
    " AND l.timestamp >= ? ORDER BY l.timestamp DESC LIMIT ?"
)


class _Metadata(msgspec.Struct, frozen=True):
    would_deny: str = ""
    sensitivity: str = "medium"
    read_only: bool = False


class _Identity(msgspec.Struct, frozen=True):
    roles: tuple[str, ...] = ()


class _Personal(msgspec.Struct, frozen=True):
    """The erasable part of a record, or what is left of it."""

    issuer: str = ""
    inputs: str = ""
    arguments_digest: str = ""


class _Entry(msgspec.Struct, frozen=True):
    """What only the whole entry says."""

    identity: _Identity = _Identity()


def suggest_policy(
    *,
    since: Annotated[str, typer.Option(help="Look at calls since then: `1d`, `2h`, `YYYY-MM-DD`.")] = "7d",
    out: Annotated[
        Path | None, typer.Option(help="Directory to write; it must not exist. Default: print the policy.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Configuration of the gateway.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write the smallest policy that allows the calls that were seen, with its tests.

    Exit code 1: there were none, or the policy does not cover them; 2: the log cannot be read, or DIR exists.
    """
    if out is not None and out.exists():
        raise _stop(f"{out} exists: nothing is overwritten", UNUSABLE)
    calls = _read(config, since)
    if not calls:
        raise _stop(f"no call was let through in the last {since}", REFUSED)
    suggestion = suggest(calls, period=f"since {since} before this was written")
    missed = _examine(suggestion, calls)
    if out is not None:
        out.mkdir(parents=True)
        for name, content in suggestion.files.items():
            (out / name).write_bytes(content)
    _print(suggestion, len(calls), missed, out, as_json=as_json)
    raise typer.Exit(REFUSED if missed else 0)


def _read(config: Path | None, since: str) -> list[Seen]:
    from airlock.audit import database, query
    from airlock.audit.catchup import catch_up

    try:
        data = Path(load(config, environment()).config.data_dir)
        moment = query.moment(since, SYSTEM)
        for problem in catch_up(data, clock=SYSTEM, pause=time.sleep):
            typer.echo(f"airlock policy: {problem}", err=True)
        sealer = load_keys(data)
        with closing(database.open_reader(data / "audit.db")) as log:
            return list(_seen(log, moment, sealer))
    except (ValueError, sqlite3.Error, OSError) as error:
        raise _stop(str(error), UNUSABLE) from error


def _seen(log: sqlite3.Connection, moment: str, sealer: Sealer | None) -> Iterator[Seen]:
    for tenant, server, tool, metadata, entry, subject, data in log.execute(_CALLS, (moment, MOST)):
        said = msgspec.json.decode(metadata, type=_Metadata)
        known = msgspec.json.decode(data or "{}", type=_Personal)
        roles = msgspec.json.decode(entry, type=_Entry).identity.roles if entry else ()
        partial: dict[str, Any] = {
            "subject": {"id": subject or "", "issuer": known.issuer, "tenant": tenant, "roles": roles},
            "target": {
                "server": server,
                "name": tool,
                "sensitivity": said.sensitivity,
                "read_only": said.read_only,
            },
        }
        question = _laid_over(partial, _opened(known.inputs, sealer))
        yield Seen(
            question=question,
            recorded=_digest(question) == known.arguments_digest,
            would_deny=said.would_deny,
        )


def _laid_over(partial: dict[str, Any], opened: bytes) -> PolicyInput:
    """What the row says, and over it what was kept of the question."""
    with suppress(ValueError):  # of a question in another form nothing is known
        return complete(partial, msgspec.json.decode(opened, type=dict[str, Any]))
    return complete(partial)


def _digest(question: PolicyInput) -> str:
    """As the log has it of all arguments: what was kept of them may be a part."""
    return hashlib.sha256(canonical(question.arguments)).hexdigest()


def _opened(sealed: str, sealer: Sealer | None) -> bytes:
    """What was kept of the question, JSON; nothing where it was not kept, was erased, or the key is gone."""
    if not sealed or sealer is None:
        return b"{}"
    try:
        return sealer.open("inputs", base64.b64decode(sealed).decode("ascii"))
    except ValueError:
        return b"{}"


def _examine(suggestion: Suggestion, calls: list[Seen]) -> list[str]:
    """Refuse to give out a policy that would not be accepted; the tools of calls that it would not allow."""
    from airlock.policy.bundle import Bundle
    from airlock.policy.check import check_bundle
    from airlock.policy.embedded import EmbeddedEngine
    from airlock.policy.problem import PolicyRejected
    from airlock.policy.suite import run_tests

    bundle = Bundle.of(suggestion.files, origin="suggested")
    try:
        check_bundle(bundle)
    except PolicyRejected as rejected:
        raise _stop(f"the suggestion itself is refused: {rejected}", REFUSED) from rejected
    failed = [test.name for test in run_tests(bundle).tests if not test.passed]
    engine = EmbeddedEngine(bundle)
    return failed + sorted({_tool(call) for call in calls if call.recorded and not _allows(engine, call)})


def _allows(engine: Any, call: Seen) -> bool:
    """Whether the policy would let the call through once its definition is approved."""
    target = msgspec.structs.replace(call.question.target, approved=True)
    try:
        return engine.decide(msgspec.structs.replace(call.question, target=target)).allow is True
    except PolicyFault:
        return False


def _tool(call: Seen) -> str:
    return f"{call.question.target.server}/{call.question.target.name}"


def _print(suggestion: Suggestion, calls: int, missed: list[str], out: Path | None, *, as_json: bool) -> None:
    questions = suggestion.questions
    if as_json:
        answer = {
            "calls": calls,
            "tools": {name: use.calls for name, use in suggestion.tools.items()},
            "questions": [{"what": what, "question": doubt} for what, doubt in questions],
            "missed": missed,
            "out": str(out) if out else None,
            "files": {name: content.decode() for name, content in suggestion.files.items()},
        }
        typer.echo(harmless(msgspec.json.encode(answer)).decode())
        return
    if out is None:
        typer.echo(suggestion.files["suggested.rego"].decode())
    told = [f"{calls} calls of {len(suggestion.tools)} tools; all are allowed by the suggestion"]
    if missed:
        told = [f"the suggestion does not allow what was seen of {', '.join(missed)}"]
    told += [f"question: {what}: {doubt}" for what, doubt in questions]
    told += [f"written: {out}; look at it, then set policy.path to it"] if out else []
    typer.echo("\n".join(map(visible, told)), err=out is None)


def _stop(why: str, code: int) -> typer.Exit:
    typer.echo(f"airlock policy: {why}", err=True)
    return typer.Exit(code)
