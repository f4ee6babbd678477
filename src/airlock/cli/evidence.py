"""`airlock evidence`: collect what proves an incident, and check what was collected.

It works on the files of the data directory, beside a running gateway or without one: evidence comes before
anything is restarted, and must not need what is broken.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.core.clock import SYSTEM, rfc3339
from airlock.core.errors import ConfigError, Fault
from airlock.core.harmless import harmless
from airlock.model.lease import Unfit

if TYPE_CHECKING:
    from airlock.core.settings import Loaded
    from airlock.incident.evidence.verify_bundle import Step
    from airlock.model.evidence import Bundle
    from airlock.store.database import Store

REFUSED, UNUSABLE = 1, 2

app = typer.Typer(help="Evidence of an incident: collect, seal and verify it.", no_args_is_help=True)

Hands = Literal["copied", "transferred", "released"]

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration file of the gateway.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Reason = Annotated[str, typer.Option(help="Why, for the custody log.")]
Role = Annotated[str, typer.Option(help="Role of whoever does it, for the custody log.")]
Id = Annotated[str, typer.Argument(help="Id of the bundle.")]


@app.callback()
def evidence() -> None:
    """Evidence of an incident: collect, seal and verify it."""


@app.command()
def collect(
    *,
    incident: Annotated[str, typer.Option(help="Incident that it is about: INC-YYYYMMDD-HHMMSS.")],
    window: Annotated[str, typer.Option(help="How much of the audit log, up to this moment.")] = "2h",
    logs: Annotated[str, typer.Option(help="How much of the log lines.")] = "2h",
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Copy and hash at once; what takes longer is added by the next call."),
    ] = False,
    tenant: Annotated[str, typer.Option(help="Disclose rows of this tenant alone.")] = "",
    flat: Annotated[
        Path | None, typer.Option(help="Also put the files, under their usual names, into this directory.")
    ] = None,
    role: Role = "",
    reason: Reason = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Collect evidence into a signed bundle, before anything is restarted.

    Exit code 0: collected; 1: it could not be collected, or is not whole when it is read again; 2: could not
    run.
    """
    from airlock.model.evidence import Asked
    from airlock.store import bundles

    with _reported():
        asked = Asked(
            window=_seconds("--window", window),
            logs=_seconds("--logs", logs),
            tenant=tenant,
            who=_who(),
            role=role,
            reason=reason,
        )
        loaded = _loaded(config)
        with _opened(loaded) as store:
            wanted = bundles.request(store, incident, asked, quick=quick, now=SYSTEM.wall())
            bundle = _made(loaded, store, wanted.id)
        loose = _flattened(loaded, bundle, flat) if flat is not None else []
    _tell(loaded, bundle, as_json, loose)


@app.command()
def seal(
    bundle: Id,
    *,
    role: Role = "",
    reason: Reason = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Seal a bundle: the record and its files as they are now go in, and all of it is verified again.

    Exit code 0: sealed; 1: it is sealed already, or is not what was closed; 2: could not run.
    """
    from airlock.store import bundles

    with _reported():
        loaded = _loaded(config)
        with _opened(loaded) as store:
            bundles.ask(store, bundle, "seal", who=_who(), role=role, reason=reason)
            sealed = _made(loaded, store, bundle)
    _tell(loaded, sealed, as_json, [])


@app.command("list")
def list_bundles(
    *,
    incident: Annotated[str, typer.Option(help="Only bundles of this incident.")] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Every bundle, oldest first. Exit code 0: listed; 2: could not run."""
    from airlock.api.evidence import shown
    from airlock.store import bundles

    with _reported():
        loaded = _loaded(config)
        with _opened(loaded) as store:
            found = bundles.of(store, incident) if incident else bundles.listing(store)
    if as_json:
        _print({"bundles": [shown(each) for each in found]})
        return
    for each in found:
        problem = f"  {visible(each.problem)}" if each.problem else ""
        typer.echo(f"{each.id}  {each.state}  {rfc3339(each.created_at)}  {each.digest or '-'}{problem}")
    if not found:
        typer.echo("no evidence was collected")


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="Directory of a bundle.")],
    *,
    key: Annotated[
        str, typer.Option(help="Public key that you expect: a file, or sha256:HEX. Default: this gateway's.")
    ] = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check a bundle with the code that every bundle carries with it.

    Exit code 0: all of it holds; 1: something was changed; 2: could not run; 3: nothing contradicts, but
    there is no key to compare with.
    """
    from airlock.incident.evidence import verify_bundle

    with _reported():
        expected = verify_bundle.fingerprint(key) if key else _own_key(_loaded(config))
        steps = verify_bundle.verify(path, expected)
    code, open_points = verify_bundle.exit_code(steps), verify_bundle.not_proven(path)
    if as_json:
        _print({"exit": code, "steps": [step._asdict() for step in steps], "not_proven": open_points})
    else:
        _show(steps, open_points)
    raise typer.Exit(code)


@app.command()
def custody(
    bundle: Id,
    *,
    add: Annotated[Hands | None, typer.Option(help="Note what was done with it.")] = None,
    to: Annotated[str, typer.Option(help="Who got it.")] = "",
    role: Role = "",
    reason: Reason = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Who had a bundle. Without `--add`, looking at it is noted as a view.

    Exit code 0: told; 1: there is no such bundle, or its custody log was changed; 2: could not run.
    """
    from airlock.incident.evidence import custody as log
    from airlock.incident.evidence.collect import folder
    from airlock.incident.evidence.report import had
    from airlock.incident.evidence.signing import Signer
    from airlock.store import bundles

    with _reported():
        loaded = _loaded(config)
        data = Path(loaded.config.data_dir)
        if add in get_args(Hands) and not reason:
            raise ValueError("say with --reason why it was handed on")
        with _opened(loaded) as store:
            found = bundles.get(store, bundle)
            if found is None or not found.digest:
                raise bundles.unknown(bundle)
            now = SYSTEM.wall()
            had(store, data, found, add or "viewed", who=_who(), role=role, reason=reason, to=to, now=now)
        lines = log.statements(folder(data, bundle))
        problem = log.unsound(folder(data, bundle), Signer.of(data).public)
    if as_json:
        _print({"bundle": bundle, "lines": lines, "problem": problem})
    for line in () if as_json else lines:
        about = " ".join(visible(each) for each in (line.who, line.role, line.to, line.reason) if each)
        typer.echo(f"{line.seq}  {visible(line.at)}  {line.event}  {about}")
    if problem:
        raise _stop(f"the custody log of {bundle} was changed: {problem}", REFUSED)


def _made(loaded: Loaded, store: Store, id: str) -> Bundle:
    from airlock.core.settings import environment
    from airlock.incident.evidence.collect import fulfil
    from airlock.incident.evidence.state import Site

    site = Site(data_dir=Path(loaded.config.data_dir), config=loaded.config, environ=environment())
    return fulfil(site, store, id, clock=SYSTEM, pause=time.sleep)


def _flattened(loaded: Loaded, bundle: Bundle, target: Path) -> list[str]:
    from airlock.incident.evidence.collect import folder
    from airlock.incident.evidence.flat import flatten

    return flatten(folder(Path(loaded.config.data_dir), bundle.id), target, incident=bundle.incident)


def _tell(loaded: Loaded, bundle: Bundle, as_json: bool, loose: list[str]) -> None:
    from airlock.api.evidence import shown
    from airlock.incident.evidence.collect import folder

    path = str(folder(Path(loaded.config.data_dir), bundle.id))
    if as_json:
        _print({"bundle": shown(bundle), "path": path, "flat": loose})
    else:
        _describe(bundle, path, loose)
    if not bundle.whole:
        raise _stop(f"{path} is not what was closed: `airlock evidence verify` says where", REFUSED)


def _describe(bundle: Bundle, path: str, loose: list[str]) -> None:
    typer.echo(f"{bundle.state}: {visible(path)} ({bundle.files} files, {bundle.size} bytes)")
    if bundle.verified_exit:
        typer.echo(f"verified: exit code {bundle.verified_exit}; `airlock evidence verify` says what fails")
    typer.echo(f"SHA-256 of the manifest of manifests: {bundle.digest}")
    typer.echo(f"signed with the key sha256:{bundle.key}: keep this elsewhere, it is what --key takes")
    for name in loose:
        typer.echo(f"also: {visible(name)}")
    for each in bundle.not_proven:
        typer.echo(f"not proven: {visible(each)}")


def _show(steps: list[Step], open_points: list[str]) -> None:
    for step in steps:
        typer.echo(f"{step.result:<11} {step.name}: {'; '.join(map(visible, step.told))}")
    for each in open_points:
        typer.echo(f"not proven: {visible(each)}")


def _seconds(option: str, text: str) -> float:
    from airlock.core.units import duration

    try:
        return duration(text)
    except ValueError as wrong:
        raise ValueError(f"{option} {text}: {wrong}; write 30m, 2h or 7d") from wrong


def _own_key(loaded: Loaded) -> str:
    """The fingerprint of the key of this data directory; empty where it has none."""
    from airlock.incident.evidence.signing import FILE, Signer

    data = Path(loaded.config.data_dir)
    return Signer.of(data).fingerprint if (data / FILE).exists() else ""


def _loaded(config: Path | None) -> Loaded:
    from airlock.core.settings import environment, load

    return load(config, environment())


@contextmanager
def _opened(loaded: Loaded) -> Generator[Store]:
    """The control data of a gateway that ran here. Raises FileNotFoundError where none did."""
    from airlock.store.database import FILE, open_store

    file = Path(loaded.config.data_dir) / FILE
    if not file.exists():
        raise FileNotFoundError(f"{file.parent} has no {FILE}: no gateway has served there")
    store = open_store(file)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _reported() -> Generator[None]:
    """Ends the program with its exit code where there is no answer."""
    try:
        yield
    except Unfit as unfit:
        raise _stop(unfit.text, REFUSED) from unfit
    except Fault as failed:
        raise _stop(failed.detail or failed.text, UNUSABLE) from failed
    except (ConfigError, OSError, ValueError) as error:
        raise _stop(str(error), UNUSABLE) from error


def _stop(why: str, code: int) -> typer.Exit:
    typer.echo("\n".join(f"airlock evidence: {visible(line)}" for line in why.split("\n")), err=True)
    return typer.Exit(code)


def _who() -> str:
    """The account that runs this, not what the environment says."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"


def _print(value: dict[str, Any]) -> None:
    typer.echo(harmless(msgspec.json.encode(value)))
