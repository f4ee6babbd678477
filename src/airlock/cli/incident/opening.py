"""`airlock incident open`, `import` and `env`: how a record begins, and how other terminals know its id."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from airlock.audit.visible import visible
from airlock.cli.containment import UNUSABLE, AsJson, ConfigFile, Token
from airlock.cli.incident.asking import VARIABLE, Asking, Document, Id
from airlock.core.errors import ConfigError
from airlock.incident import intake

Shell = Annotated[bool, typer.Option("--shell", help="Print a line for `eval`, which sets INCIDENT_ID.")]


def open_incident(
    title: Annotated[str, typer.Argument(help="What it is, in a few words.")] = "",
    *,
    id: Annotated[str, typer.Option("--id", help="Id of your own, INC-YYYYMMDD-HHMMSS.")] = "",
    kind: Annotated[str, typer.Option("--type", help="Such as `security_incident`.")] = "",
    subtype: Annotated[str, typer.Option(help="Such as `data_breach`.")] = "",
    severity: Annotated[str, typer.Option(help="P0, P1, P2 or P3. Default: what is proposed.")] = "",
    source: Annotated[str, typer.Option(help="How it was detected, such as `user_report`.")] = "",
    symptom: Annotated[list[str] | None, typer.Option(help="What was observed; may be repeated.")] = None,
    service: Annotated[list[str] | None, typer.Option(help="Affected service; may be repeated.")] = None,
    tenant: Annotated[list[str] | None, typer.Option(help="Affected tenant; may be repeated.")] = None,
    users: Annotated[str, typer.Option(help="Affected users, in your own words.")] = "",
    impact: Annotated[str, typer.Option(help="Impact on the business.")] = "",
    security: Annotated[str, typer.Option(help="Implications for security.")] = "",
    breach: Annotated[bool | None, typer.Option(help="Whether a breach is suspected.")] = None,
    commander: Annotated[str, typer.Option(help="Who commands.")] = "",
    ticket: Annotated[str, typer.Option(help="Address of the ticket.")] = "",
    shell: Shell = False,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Open an incident; with the id of one that is there, that one. Prints `Incident ID: ...`.

    Exit code 0: it is open; 1: refused; 2: could not run.
    """
    order: Document = {
        "id": id,
        "title": title,
        "type": kind,
        "subtype": subtype,
        "severity": severity,
        "detection_source": source,
        "symptoms": symptom,
        "affected_services": service,
        "tenants": tenant,
        "affected_users": users,
        "business_impact": impact,
        "security_implications": security,
        "commander": commander,
        "ticket_url": ticket,
    }
    wanted = {name: value for name, value in order.items() if value}
    if breach is not None:
        wanted["is_suspected_breach"] = breach
    _open(Asking(config, token), wanted, shell=shell, as_json=as_json)


def import_report(
    file: Annotated[Path, typer.Argument(help="A report as people write it by hand: `incident-ID.md`.")],
    *,
    shell: Shell = False,
    token: Token = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Open an incident from a report that was written by hand. What it leaves open stays open.

    Exit code 0: it is open; 1: refused; 2: could not run, or this is no such report.
    """
    asking = Asking(config, token)
    try:
        found = intake.read(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError, ConfigError) as wrong:
        raise asking.stop(visible(str(wrong)), UNUSABLE) from wrong
    _open(asking, found.order, shell=shell, as_json=as_json, notes=found.notes)


def env(id: Id = "", *, token: Token = "", config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print a line for `eval` in another terminal, which sets INCIDENT_ID there.

    Exit code 0: printed; 1: there is no such incident; 2: could not run, or several are open.
    """
    asking = Asking(config, token)
    record = asking.of(asking.id(id))["incident"]
    asking.tell({VARIABLE: record["id"]}, as_json, lambda told: [_line(told[VARIABLE])])


def _open(
    asking: Asking, order: Document, *, shell: bool, as_json: bool, notes: tuple[str, ...] = ()
) -> None:
    answer = asking.ask("POST", "/api/v1/incidents", order)
    record: dict[str, Any] = answer.document["incident"]
    for text in notes if answer.status == 201 else ():
        asking.ask("POST", f"/api/v1/incidents/{record['id']}/notes", {"text": text})
    if answer.status == 200:
        typer.echo(f"airlock incident: {record['id']} is there already, {record['status']}", err=True)
    if shell:
        typer.echo(_line(record["id"]))
        typer.echo(f"Incident ID: {record['id']}", err=True)
        return
    asking.tell(answer.document, as_json, lambda told: [f"Incident ID: {told['incident']['id']}"])


def _line(id: str) -> str:
    return f"export {VARIABLE}={id}"
