"""`airlock incident actions`: what has to be done after an incident, and files for a cluster made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Token
from airlock.cli.incident.asking import Asking, Document, Id, state
from airlock.cli.incident.steps import Given
from airlock.incident import exports
from airlock.model.incident import ActionItem

app = typer.Typer(help="What has to be done after an incident.", no_args_is_help=True)


@app.callback()
def actions() -> None:
    """What has to be done after an incident."""


@app.command()
def add(
    id: Given,
    text: Annotated[str, typer.Argument(help="What has to be done.")],
    *,
    kind: Annotated[
        str, typer.Option(help="`fix rule alert policy process threshold documentation`.")
    ] = "fix",
    owner: Annotated[str, typer.Option(help="Who does it.")] = "",
    due: Annotated[str, typer.Option(help="Until when, `2026-12-24`.")] = "",
    priority: Annotated[str, typer.Option(help="`high`, `medium` or `low`.")] = "medium",
    detail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Such as `rule=MCP-001 old=20 new=10`, or `expr=...`; repeatable."
        ),
    ] = None,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Add an item. Exit code 0: added; 1: refused; 2: could not run."""
    asking = Asking(config, token)
    details = dict(_pair(asking, each) for each in detail or [])
    order: Document = {"text": text, "kind": kind, "owner": owner, "due": due, "priority": priority}
    asking.change(id, "actions", {**order, "details": details}, as_json, _lines)


@app.command("list")
def list_actions(
    id: Id = "", *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False
) -> None:
    """List items. Exit code 0: listed; 1: there is no such incident; 2: could not run."""
    asking = Asking(config, token)
    document = asking.of(asking.id(id), "actions")
    asking.tell(document, as_json, lambda told: _items(told["actions"]) or ["there is nothing to do"])


@app.command()
def close(
    id: Given,
    item: Annotated[str, typer.Argument(help="Id of the item.")],
    *,
    note: Annotated[str, typer.Option(help="What was done.")] = "",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Close an item. Exit code 0: closed; 1: refused; 2: could not run."""
    Asking(config, token).change(id, f"actions/{item}/close", {"note": note}, as_json, _lines)


@app.command()
def export(
    id: Id = "",
    *,
    out: Annotated[Path, typer.Option(help="Directory to write to.")] = Path(),
    namespace: Annotated[str, typer.Option(help="Namespace of the cluster.")] = "airlock-system",
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Write `improved-monitoring-rules.yaml`, `enhanced-alerts.yaml` and `preventive-measures.yaml`.

    Alert rules for what was found and for changed thresholds, and the measures of policy, configuration and
    process. Exit code 0: written; 1: there is no such incident; 2: could not run.
    """
    import yaml

    asking = Asking(config, token)
    record = asking.of(asking.id(id))["incident"]
    items = msgspec.convert([_undated(item) for item in record["actions"]], tuple[ActionItem, ...])
    written: list[str] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, document in exports.files(record["id"], record["rules"], items, namespace).items():
            (out / name).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
            written.append(str(out / name))
    except OSError as wrong:
        raise asking.stop(visible(str(wrong)), UNUSABLE) from wrong
    asking.tell(
        {"files": written}, as_json, lambda told: [f"wrote {visible(name)}" for name in told["files"]]
    )


def _undated(item: Document) -> Document:
    return {name: value for name, value in item.items() if name != "closed_at"}


def _pair(asking: Asking, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise asking.stop(f"{visible(text)}: write NAME=VALUE", UNUSABLE)
    return name, value


def _lines(document: Document) -> list[str]:
    return [*state(document), *_items(document["incident"]["actions"])]


def _items(items: list[Document]) -> list[str]:
    return [
        f"[{'x' if item['closed_at'] else ' '}] {visible(item['id'])}  {visible(item['text'])}  "
        f"({item['kind']}, owner {visible(item['owner']) or 'nobody'}, due {visible(item['due']) or 'never'})"
        for item in items
    ]
