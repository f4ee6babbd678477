"""`airlock demo`: whole stories, on real servers and a real gateway, each step held against facts.

Everything lives in a temporary folder and on free ports of 127.0.0.1; processes and files are gone
afterwards, however it ends. The MCP SDK is needed here and nowhere else in the product.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Annotated, Literal

import typer

Name = Literal["day", "incident", "policy", "latency", "audit"]


def demo(
    story: Annotated[
        Name,
        typer.Argument(
            help="`day`: how calls are governed. And until they are reviewed, `incident`: an attack; "
            "`policy`: a policy that cannot decide; `latency`: a server that becomes slow; "
            "`audit`: a log that cannot be written."
        ),
    ] = "day",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per step.")] = False,
    keep: Annotated[bool, typer.Option(help="Keep the folder: configuration, log, keys.")] = False,
) -> None:
    """Play a story once: allowed, denied, tampered with, proven; or attacked, contained, resolved, reviewed.

    Exit code 0: every step was true; 1: a step was not; 2: could not run.
    """
    if importlib.util.find_spec("mcp") is None:
        typer.echo(
            "airlock demo: the agent and the servers of the demo need the official MCP SDK: "
            f"{sys.executable} -m pip install 'mcp>=2.3,<3'",
            err=True,
        )
        raise typer.Exit(2)
    from airlock.cli.demo.play import DAY, play

    if story == "day":
        raise typer.Exit(play(DAY, as_json=as_json, keep=keep))
    if story == "policy":
        from airlock.cli.demo.response.policy import POLICY

        raise typer.Exit(play(POLICY, as_json=as_json, keep=keep))
    if story == "latency":
        from airlock.cli.demo.response.story_latency import LATENCY

        raise typer.Exit(play(LATENCY, as_json=as_json, keep=keep))
    if story == "audit":
        from airlock.cli.demo.response.story_audit import AUDIT

        raise typer.Exit(play(AUDIT, as_json=as_json, keep=keep))
    from airlock.cli.demo.response.story import INCIDENT

    raise typer.Exit(play(INCIDENT, as_json=as_json, keep=keep))
