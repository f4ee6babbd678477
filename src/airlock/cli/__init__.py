"""The command line: one module per verb group.

Exit codes: 0 true, healthy, proven; 1 false, unhealthy, tampered, refused; 2 usage or could not run; 3 could
not decide or prove; 4 waits for an approval.
"""

from __future__ import annotations

import typer

import airlock


def main() -> None:
    """Entry point of `airlock`."""
    program()()


def _version(asked: bool) -> None:
    if asked:
        typer.echo(airlock.__version__)
        raise typer.Exit


def program() -> typer.Typer:
    """Every verb. The document of the command line is made from it."""
    from airlock.cli import (
        alert,
        audit,
        backup,
        block,
        cache,
        check,
        connect,
        contacts,
        contain,
        debug,
        demo,
        doctor,
        drill,
        evidence,
        failmode,
        incident,
        init,
        lease,
        logs,
        override,
        policy,
        proposal,
        redaction,
        report,
        rule,
        runbook,
        serve,
        server,
        status,
        token,
        verify,
    )

    app = typer.Typer(
        name="airlock",
        help="An MCP gateway with incident response built in.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_options)
    app.command("serve")(serve.serve)
    app.command("init")(init.init)
    app.command("check")(check.check)
    app.command("status")(status.status)
    app.command("doctor")(doctor.doctor)
    app.command("logs")(logs.logs)
    app.add_typer(cache.app, name="cache")
    app.add_typer(debug.app, name="debug")
    app.command("connect")(connect.connect)
    app.command("demo")(demo.demo)
    app.add_typer(policy.app, name="policy")
    app.add_typer(server.app, name="server")
    app.add_typer(block.app, name="block")
    app.add_typer(lease.app, name="lease")
    app.command("contain")(contain.contain)
    app.add_typer(incident.app, name="incident")
    app.add_typer(runbook.app, name="runbook")
    app.add_typer(alert.app, name="alert")
    app.add_typer(rule.app, name="rule")
    app.add_typer(drill.app, name="drill")
    app.command("proposals")(proposal.proposals)
    app.command("approve")(proposal.approve)
    app.command("reject")(proposal.reject)
    app.add_typer(override.app, name="override")
    app.add_typer(evidence.app, name="evidence")
    app.add_typer(token.app, name="token")
    app.add_typer(audit.app, name="audit")
    app.command("backup")(backup.backup)
    app.command("restore")(backup.restore)
    app.add_typer(redaction.app, name="redaction")
    app.add_typer(failmode.app, name="failmode")
    app.add_typer(contacts.app, name="contacts")
    app.add_typer(report.app, name="report")
    app.add_typer(verify.app, name="verify")
    return app


def _options(
    version: bool = typer.Option(
        False, "--version", is_eager=True, callback=_version, help="Print the version."
    ),
) -> None:
    """What stands before the verb."""
