"""`airlock debug`: what goes on inside the workers of this machine."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from airlock.cli import insight

PATH = "/debug/pprof/heap?debug=1"

TIMEOUT_S = 90.0
"""Workers that hold much take their time to count it."""

SUSPICIOUS = 64 * 1024 * 1024
"""Bytes that one place of the program took since allocations are traced, from which on it is named: what the
gateway keeps itself is bounded by far less."""

app = typer.Typer(help="What goes on inside the workers of this machine.", no_args_is_help=True)


@app.callback()
def debug() -> None:
    """What goes on inside the workers of this machine."""


@app.command()
def heap(
    *,
    top: Annotated[int, typer.Option(min=1, max=1000, help="So many places and types.")] = 20,
    config: Annotated[Path | None, typer.Option(help="Configuration file of the gateway.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """What holds the memory of all workers, the largest first. The first look begins to trace allocations,
    for five minutes after the last one; a later look names the functions that allocated since.

    Exit code 0: no function took 64 MiB since allocations are traced; 1: one did, or not every worker
    answered; 2: wrong usage; 3: nobody can be asked, or allocations are traced from now on only.
    """
    port = insight.settings("debug heap", config).server.debug_port
    if not port:
        raise insight.cannot("debug heap", "server.debug_port is 0: nothing answers")
    found = _asked(port)
    places: list[dict[str, Any]] = found["top"]
    suspects = [each for each in places if each["origin"] == "traced" and each["bytes"] >= SUSPICIOUS]
    document = {**found, "top": places[:top], "suspects": suspects}
    insight.say(as_json, document, lines(document))
    raise typer.Exit(verdict(document))


def verdict(found: dict[str, Any]) -> int:
    """The exit code."""
    if found["suspects"] or found["acked"] < found["total"]:
        return insight.BAD
    traced = all(worker["traced_since"] for worker in found["workers"])
    return 0 if traced and found["workers"] else insight.UNKNOWN


def lines(found: dict[str, Any]) -> list[str]:
    """For people."""
    told = [f"{found['acked']}/{found['total']} workers answered", *map(_worker, found["workers"])]
    told += [
        f"suspect: {each['function']} ({each['file']}:{each['line']}) took {_size(each['bytes'])}"
        for each in found["suspects"]
    ]
    return [*told, f"{'bytes':>12} {'objects':>10}  what", *map(_place, found["top"])]


def _worker(worker: dict[str, Any]) -> str:
    name = f"worker {worker['slot']}"
    if not worker["answered"]:
        return f"{name}: no answer"
    since = worker["traced_since"]
    traced = (
        f"{_size(worker['traced'])} allocated since {since}, {_size(worker['older'])} older"
        if since
        else f"{_size(worker['older'])} by type; allocations are traced from now on: look again"
    )
    return f"{name}: pid {worker['pid']}, {_size(worker['resident'])} resident; {traced}"


def _place(each: dict[str, Any]) -> str:
    where = f" {each['file']}:{each['line']}" if each["file"] else ""
    what = each["function"] if each["origin"] == "traced" else f"[older] {each['function']} {each['holder']}"
    return f"{each['bytes']:>12} {each['objects']:>10}  {what}{where}"


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


def _asked(port: int) -> dict[str, Any]:
    where = f"127.0.0.1:{port}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", PATH, headers={"Host": f"localhost:{port}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != HTTPStatus.OK:
            raise insight.cannot("debug heap", f"{where} answered {answer.status}: {body.decode().strip()}")
        return msgspec.json.decode(body, type=dict[str, Any])
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise insight.cannot("debug heap", f"{where} gives no heap: {error}") from error
    finally:
        connection.close()
