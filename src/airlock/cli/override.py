"""`airlock override`: hold a key of the configuration at another value for a while, look, take it back."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Containing, Incident, Token, lasting

app = typer.Typer(help="Keys of the configuration, held at another value for a while.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why, for the record.")]


@app.callback()
def override() -> None:
    """Keys of the configuration, held at another value for a while."""


@app.command("set")
def set_override(
    setting: Annotated[
        str, typer.Argument(metavar="KEY=VALUE", help="Such as `rate_limiting.per_token=10/min`.")
    ],
    *,
    ttl: Annotated[str, typer.Option(help="How long, `30m 4h`. Default: the usual of the key.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    reason: Reason = "",
    incident: Incident = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Hold one key, in every worker. Protection only gets stricter; capacity changes within bounds.

    Exit code 0: in force, or with `--dry-run`, what it would do; 1: refused, and nothing changed; 2: could
    not run; 3: in force, but not every worker has confirmed it.
    """
    asking = Containing("override", config, token)
    key, equals, value = setting.partition("=")
    if not equals:
        raise asking.stop(f"{visible(setting)}: write KEY=VALUE", UNUSABLE)
    order = {"key": key, "value": value, "ttl": ttl, "reason": reason, "incident": incident}
    answer = asking.ask("POST", "/admin/overrides", order | {"dry_run": dry_run})
    if not dry_run:
        asking.finish(
            answer, as_json, lambda document: [f"{_change(document)}, {lasting(document['lease'])}"]
        )
    elif as_json:
        asking.print_json(answer.document)
    else:
        typer.echo("\n".join([f"would be {_change(answer.document)}", *_hit(answer.document["hit"])]))


@app.command("list")
def list_overrides(*, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Every key that is held, by which lease and until when, and how the overlay stands.

    Exit code 0: listed; 2: could not run.
    """
    asking = Containing("override", config, token)
    document = asking.ask("GET", "/admin/overrides").document
    if as_json:
        asking.print_json(document)
        return
    lines = [line for setting in document["settings"] for line in _held(setting)]
    typer.echo("\n".join([*(lines or ["no key is held"]), *_overlay(document["overlay"])]))


@app.command()
def remove(
    key: Annotated[str, typer.Argument(help="Such as `rate_limiting.per_token`.")],
    *,
    reason: Reason = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Release every lease that holds one key and nothing else.

    Exit code 0: released; 1: refused; 2: could not run; 3: released, but not every worker has confirmed it.
    """
    asking = Containing("override", config, token)
    body = {"reason": reason} if reason else {}
    answer = asking.ask("DELETE", f"/admin/overrides/{quote(key, safe='')}", body)
    asking.finish(
        answer, as_json, lambda document: [f"released: {document['key']} ({len(document['leases'])} in all)"]
    )


def _change(document: dict[str, Any]) -> str:
    return f"{document['key']}: {_value(document['before'])} -> {_value(document['after'])}"


def _value(value: object) -> str:
    """As a configuration file has it."""
    return visible(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def _hit(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    return [
        f"in the last hour it would have refused requests of {found['callers']} callers from "
        f"{found['addresses']} addresses; {found['shared']} of these are shared, by {found['behind']} callers"
    ]


def _held(setting: dict[str, Any]) -> list[str]:
    if not setting["leases"]:
        return []
    values = f"{_value(setting['effective'])} instead of {_value(setting['base'])}"
    return [f"{setting['key']}: {values}"] + [
        f"  {lease['id']}  {visible(lease['origin'])}  {lasting(lease)}  {visible(lease['reason'])}"
        for lease in setting["leases"]
    ]


def _overlay(overlay: dict[str, Any] | None) -> list[str]:
    if overlay is None:
        return []
    problems = [f"  {visible(each['where'])}: {visible(each['what'])}" for each in overlay["problems"]]
    return [f"overlay {visible(overlay['path'])}: {visible(overlay['state'])}", *problems]
