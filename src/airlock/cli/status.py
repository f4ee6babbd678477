"""`airlock status`: what is true now of a running gateway, asked of its management API."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli import api, insight
from airlock.cli import latency as latencies
from airlock.cli import revisions as revisions_of
from airlock.cli.lease import line as lease_line
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless
from airlock.core.settings import environment, load
from airlock.core.units import duration

UNHEALTHY = 1
UNUSABLE = 2
UNKNOWN = 3

LOOK_EVERY = 0.5
"""Seconds between two looks while something is waited for."""


class Found(msgspec.Struct, kw_only=True):
    """What a look found. `healthy` is None where that cannot be told, and `ready` alike."""

    healthy: bool | None
    ready: bool | None
    wrong: list[str] = []
    unknown: list[str] = []
    """What could not be found out."""
    gateway: dict[str, Any] | None = None
    """The answer of `/admin/status`, or where there is none, of `/health` of one worker."""
    leases: list[dict[str, Any]] | None = None
    """In force; None: not known."""
    needs_token: bool = False
    """Only the token of an administrator would tell more."""

    @property
    def exit(self) -> int:
        return UNHEALTHY if self.healthy is False else 0 if self.healthy else UNKNOWN


def status(
    *,
    wait: Annotated[str, typer.Option(help="`ready`: wait until every worker serves calls.")] = "",
    timeout: Annotated[str, typer.Option(help="How long to wait.")] = "60s",
    latency: Annotated[
        bool, typer.Option("--latency", help="How long messages take, stage by stage, instead.")
    ] = False,
    revisions: Annotated[
        bool, typer.Option("--revisions", help="Policy and configuration of every worker, instead.")
    ] = False,
    token: Annotated[str, typer.Option(help="Token of an administrator.")] = "",
    config: Annotated[Path | None, typer.Option(help="Configuration file of the gateway.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What is true now: every worker and component, the policy in force, servers, leases.

    Exit code 0: healthy (with `--wait ready`: every worker serves calls; with `--latency`: 95 of 100 messages
    took 200 ms at most; with `--revisions`: every worker runs what is wanted); 1: not; 2: wrong usage; 3:
    cannot tell, such as without the token of an administrator.
    """
    if sum((latency, revisions, bool(wait))) > 1:
        raise typer.BadParameter("--wait, --latency and --revisions are three questions: ask one at a time")
    if latency or revisions:
        _ask("/admin/latency" if latency else "/admin/status", config, token, as_json=as_json)
    if wait not in ("", "ready"):
        raise typer.BadParameter("there is only `ready` to wait for", param_hint="--wait")
    try:
        settings, environ = load(config, environment()).config, environment()
        patience = duration(timeout)
    except (ConfigError, ValueError) as wrong:
        typer.echo(f"airlock status: {wrong}", err=True)
        raise typer.Exit(UNUSABLE) from wrong
    found = look(settings, token, environ)
    deadline = SYSTEM.monotonic() + patience
    while wait and not (found.ready or found.needs_token) and SYSTEM.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
        found = look(settings, token, environ)
    if as_json:
        typer.echo(harmless(msgspec.json.encode(found)))
    else:
        typer.echo("\n".join(text(found)))
    raise typer.Exit(_waited(found) if wait else found.exit)


def _ask(path: str, config: Path | None, token: str, *, as_json: bool) -> NoReturn:
    told = latencies if path == "/admin/latency" else revisions_of
    judged = told.judge(insight.asked("status", path, config=config, token=token))
    insight.say(as_json, judged, told.lines(judged))
    raise typer.Exit(told.exit_code(judged))


def look(config: Config, token: str, environ: Mapping[str, str]) -> Found:
    """One look at the gateway. A refusal to answer is nothing that is known to be wrong."""
    try:
        token = token or api.stored_token(config, environ)
        if not token:  # each try without one would count against this address
            return _from_outside(
                config, "more than /health: that needs the token of an administrator", lacks=True
            )
        whole = api.get(config, "/admin/status", token=token, environ=environ)
        if whole is None:
            return _absent(config)
        leases = api.get(config, "/api/v1/leases", token=token, environ=environ)
    except ConfigError as error:
        return _from_outside(config, str(error), lacks=bool(error.hint))
    return Found(
        healthy=whole["healthy"],
        ready=whole["ready"],
        wrong=whole["wrong"],
        gateway=whole,
        leases=None if leases is None else leases["leases"],
    )


def _absent(config: Config) -> Found:
    where = api.address(config, "")
    return Found(healthy=False, ready=False, wrong=[f"no gateway listens at {where}"])


def _from_outside(config: Config, why: str, *, lacks: bool) -> Found:
    """What one worker says to anybody: enough for bad news, never for good ones."""
    try:
        seen = api.look(config, "/health")
    except ConfigError as error:
        if isinstance(error.__cause__, TimeoutError):  # it takes connections and answers nobody
            return Found(healthy=False, ready=False, wrong=[str(error)])
        return Found(healthy=None, ready=None, unknown=[why, str(error)])
    if seen is None:
        return _absent(config)
    components: dict[str, dict[str, str]] = seen.document.get("components", {})
    wrong = [
        f"one worker: {name} {part['state']}: {part['reason']}"
        for name, part in components.items()
        if part["state"] != "ok"
    ]
    return Found(
        healthy=False if wrong else None,
        ready=False if seen.document.get("status") == "down" else None,
        wrong=wrong,
        unknown=[why],
        gateway=seen.document,
        needs_token=lacks,
    )


def text(found: Found) -> list[str]:
    """For people: the verdict first, then what is wrong, then everything else."""
    verdict = {True: "healthy", False: "NOT HEALTHY", None: "cannot tell"}[found.healthy]
    words = {True: "serving calls", False: "not serving everywhere", None: "serving: not known"}
    lines = [f"{verdict}, {words[found.ready]}"]
    lines += [f"  wrong: {visible(each)}" for each in found.wrong]
    lines += [f"  not known: {visible(each)}" for each in found.unknown]
    whole = found.gateway or {}
    for worker in whole.get("workers", []):
        state = "silent" if worker["silent"] else "ready" if worker["ready"] else "not ready"
        lines.append(
            f"worker {worker['slot']}: {state}, pid {worker['pid']}, policy {worker['active_sha256'][:12]}, "
            f"chain {visible(worker['chain_uid'])}"
        )
    for server in whole.get("servers", []):
        why = f": {visible(server['reason'])}" if server["reason"] else ""
        lines.append(f"server {visible(server['name'])}: {server['state']}{why}")
    if "policy" in whole:
        lines.append(f"policy desired: {whole['policy']['desired_sha256']}")
    lines += _last_changes(whole)
    if found.leases is not None:
        lines.append(f"leases in force: {len(found.leases)}")
        lines += [f"  {lease_line(lease)}" for lease in found.leases]
    return lines


def _last_changes(whole: dict[str, Any]) -> list[str]:
    """What became of the last reload, and how the overlay stands."""
    lines: list[str] = []
    if reload := whole.get("reload"):
        took = f", taken over by {reload['acked']} of {reload['total']} workers" if reload["total"] else ""
        what = ", ".join(map(visible, reload["changed"])) or "nothing changed"
        problems = ": " + "; ".join(visible(each["where"]) for each in reload["problems"])
        about = f": {what}{took}" if reload["result"] == "accepted" else problems
        lines.append(f"last reload at {reload['at']}: {reload['result']}{about}")
    if overlay := whole.get("overlay"):
        keys = f": {', '.join(map(visible, overlay['keys']))}" if overlay["keys"] else ""
        lines.append(f"overlay {visible(overlay['path'])}: {overlay['state']}{keys}")
    return lines


def _waited(found: Found) -> int:
    return 0 if found.ready else UNHEALTHY if found.ready is False else UNKNOWN
