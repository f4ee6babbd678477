"""What `airlock server` shows to people: tables, and definitions as a difference of their JSON."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from airlock.audit.visible import visible
from airlock.core.clock import rfc3339

if TYPE_CHECKING:
    from airlock.cli.server import Row
    from airlock.core.config import ServerEntry
    from airlock.store.pins import Definition, PinChange

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def show_list(rows: list[Row]) -> None:
    """One line per server."""
    table = Table(box=None, pad_edge=False)
    for column in ("server", "transport", "tenant", "sensitivity", "pinned tools", "waiting"):
        table.add_column(column)
    for row in rows:
        waiting = Text(str(row.waiting), style="bold yellow" if row.waiting else "")
        tenant = Text(visible(row.tenant) or "every tenant")
        apart = f", {row.isolation}" if row.isolation not in {"", "shared"} else ""
        table.add_row(row.name, row.transport + apart, tenant, row.sensitivity, str(row.pinned), waiting)
    _console().print(table)


def show_tools(entry: ServerEntry, tools: list[PinChange]) -> None:
    """One block per tool; a waiting definition as its difference from the pinned one."""
    out = _console()
    if not tools:
        out.print(f"{entry.name}: nothing is known of its tools yet")
    for tool in tools:
        out.print(Text(f"{entry.name}/{visible(tool.tool)}", style="bold"))
        if tool.pinned is None:
            out.print("  nothing is pinned")
        else:
            out.print(Text(f"  pinned   {_described(tool.pinned)}"))
        for waiting in tool.waiting:
            out.print(Text(f"  waiting  {_described(waiting)}", style="yellow"))
            for line in difference(tool.pinned.definition if tool.pinned else {}, waiting.definition):
                out.print(Text(f"    {line}", style=_STYLES.get(line[0], "")))


def difference(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Unified diff of the indented JSON of two definitions, one printable line each."""
    lines = difflib.unified_diff(_pretty(old), _pretty(new), "pinned", "waiting", lineterm="", n=2)
    return (visible(line) for line in lines)


def _pretty(definition: dict[str, Any]) -> list[str]:
    # Line breaks inside of texts are escaped by JSON; `splitlines` would also break at U+2028 and its like.
    return json.dumps(definition, indent=2, sort_keys=True, ensure_ascii=False).split("\n")


def _described(seen: Definition) -> str:
    who = f", approved by {visible(seen.decided_by)}" if seen.decided_by else ""
    return f"{visible(seen.digest)}, first seen {rfc3339(seen.first_seen)}{who}"


def _console() -> Console:
    # Text that a pipe takes stays in one line each: nothing is cut at an imagined width.
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=10_000)
