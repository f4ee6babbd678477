"""How the verbs of `airlock incident` ask: the gateway, or its files where none runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, Containing
from airlock.core.settings import environment

VARIABLE = "INCIDENT_ID"
"""The variable of a shell that names the incident which is worked on."""

Id = Annotated[str, typer.Argument(help="Id of the incident.", metavar="[ID]", show_default=False)]
Of = Annotated[str, typer.Option("--incident", help="Id of the incident.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
Document = dict[str, Any]


class Asking(Containing):
    """One command about an incident."""

    def __init__(self, config: Path | None, token: str) -> None:
        super().__init__("incident", config, token)

    def id(self, given: str) -> str:
        """The incident that is meant. Ends the program where that is not clear."""
        if named := given or environment().get(VARIABLE, ""):
            return named
        rows: list[Document] = self.ask("GET", "/api/v1/incidents").document["incidents"]
        if len(rows) == 1:
            return str(rows[0]["id"])
        found = ", ".join(visible(row["id"]) for row in rows)
        why = f"say which incident: {found}" if rows else "no incident is open"
        raise self.stop(why, UNUSABLE)

    def of(self, id: str, *rest: str) -> Document:
        """What an address of one incident says."""
        return self.ask("GET", path(id, *rest)).document

    def change(
        self, id: str, part: str, order: Document, as_json: bool, lines: Callable[[Document], list[str]]
    ) -> None:
        """Ask for one change, and print what became of it. Members that are empty are left out."""
        body = {name: value for name, value in order.items() if value not in ("", None, [], False)}
        self.tell(self.ask("POST", path(id, *part.split("/")), body).document, as_json, lines)

    def tell(self, document: Document, as_json: bool, lines: Callable[[Document], list[str]]) -> None:
        """Print an answer, for programs or for people."""
        if as_json:
            self.print_json(document)
        else:
            typer.echo("\n".join(lines(document)))


def path(id: str, *rest: str) -> str:
    """The address of an incident, or of a part of it."""
    return "/".join(["/api/v1/incidents", quote(id, safe=""), *(quote(part, safe="") for part in rest)])


def state(document: Document) -> list[str]:
    """Where an incident stands, in one line."""
    record = document["incident"]
    return [f"{visible(record['id'])}  {record['severity']}  {record['status']}  {visible(record['title'])}"]
