"""`airlock policy reload`: let a running gateway read configuration and policy again."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from airlock.audit.visible import visible
from airlock.cli import api
from airlock.cli.containment import REFUSED, UNUSABLE, AsJson, ConfigFile, Token
from airlock.core.errors import ConfigError
from airlock.core.harmless import harmless
from airlock.core.settings import environment, load

TIMEOUT_S = 40.0
"""The gateway answers within 30 s: policy is tried before it is taken over."""


def reload(
    *,
    all_replicas: Annotated[
        bool, typer.Option("--all-replicas", help="Fail unless every worker took it over.")
    ] = False,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Read configuration and policy again, as SIGHUP does, and say what came of it.

    Exit code 0: accepted; 1: refused, and what ran stays, or with `--all-replicas`, not every worker took it
    over; 2: could not run.
    """
    environ = environment()
    try:
        settings = load(config, environ).config
        answer = api.send(
            settings, "POST", "/admin/policy/reload", token=token, environ=environ, timeout=TIMEOUT_S
        )
        if answer is None:
            raise ConfigError(api.address(settings, ""), "no gateway answers")  # noqa: TRY301 - said below
    except ConfigError as wrong:
        typer.echo(f"airlock policy reload: {wrong}", err=True)
        raise typer.Exit(UNUSABLE) from wrong
    if as_json:
        typer.echo(harmless(msgspec.json.encode(answer.document)))
    else:
        typer.echo("\n".join(_refused(answer) if answer.status >= 400 else _accepted(answer.document)))
    missing = answer.status == 207 and all_replicas
    raise typer.Exit(REFUSED if missing or answer.status >= 400 else 0)


def _refused(answer: api.Answer) -> list[str]:
    problems: list[dict[str, Any]] = answer.document.get("problems", [])
    lines = [f"  {visible(each['where'])}: {visible(each['what'])}" for each in problems]
    return ["refused, what ran stays:", *(lines or [f"  {visible(answer.document.get('detail', ''))}"])]


def _accepted(document: dict[str, Any]) -> list[str]:
    changed = ", ".join(map(visible, document["changed"])) or "nothing"
    return [
        f"accepted: policy {document['desired_sha256'][:12]}, changed: {changed}",
        f"taken over by {document['replicas_acked']} of {document['replicas_total']} workers",
    ]
