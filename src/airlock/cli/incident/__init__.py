"""`airlock incident`: the record of an incident, from the first finding to the review."""

from __future__ import annotations

import typer

from airlock.cli.incident import (
    actions,
    clocks,
    comms,
    counterfactuals,
    documents,
    opening,
    record,
    review,
    steps,
    verifying,
    work,
)

app = typer.Typer(help="Incidents: open, work on, resolve and review them.", no_args_is_help=True)


@app.callback()
def incident() -> None:
    """Incidents: open, work on, resolve and review them.

    Where ID may be left out it is the variable INCIDENT_ID, else the only incident that is open. Exit codes:
    0 done; 1 refused, and nothing changed; 2 could not run.
    """


app.command("open")(opening.open_incident)
app.command("import")(opening.import_report)
app.command("env")(opening.env)
app.command("list")(record.list_incidents)
app.command("show")(record.show)
app.command("status")(record.status)
app.command("note")(record.note)
app.command("edit")(record.edit)
app.command("render")(documents.render)
app.command("scope")(documents.scope)
app.command("watch")(documents.watch)
app.command("send")(comms.send)
app.command("comms")(comms.comms)
app.command("debt")(comms.debt)
app.command("acknowledge")(steps.acknowledge)
app.command("declare")(steps.declare)
app.command("identify")(steps.identify)
app.command("mitigate")(steps.mitigate)
app.command("verify")(verifying.verify)
app.command("resolve")(steps.resolve)
app.command("reopen")(steps.reopen)
app.command("close")(steps.close)
app.command("cancel")(steps.cancel)
app.command("merge")(steps.merge)
app.command("severity")(steps.severity)
app.command("escalate")(steps.escalate)
app.command("flag")(steps.flag)
app.command("assign")(work.assign)
app.command("renounce")(work.renounce)
app.command("task")(work.task)
app.command("own")(work.own)
app.command("review")(review.review)
app.command("counterfactuals")(counterfactuals.counterfactuals)
app.add_typer(actions.app, name="actions")
app.add_typer(clocks.app, name="clocks")
