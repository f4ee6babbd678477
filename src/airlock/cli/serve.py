"""`airlock serve`: run the gateway. SIGHUP reloads configuration and policy, SIGTERM drains."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from airlock.core.errors import ConfigError, Fault

if TYPE_CHECKING:
    from airlock.core.config import Config


OVERLAY = "AIRLOCK_OVERLAY"
"""Variable that names the overlay, where no option does."""


def overlay_file(given: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Where the overlay is, absolute: it may be there later."""
    path = given or (Path(environ[OVERLAY]) if environ.get(OVERLAY) else None)
    return path and path.absolute()


def serve(
    config: Annotated[Path | None, typer.Option(help="Configuration file; absent: the defaults.")] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(help="File of a few keys over the configuration, followed; also AIRLOCK_OVERLAY."),
    ] = None,
    role: Annotated[str, typer.Option(help="What this process is.")] = "all",
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Gateway processes.")] = None,
) -> None:
    """Run the gateway until it is told to stop."""
    from airlock.app.revisions import choose
    from airlock.core import log as logs
    from airlock.core.clock import SYSTEM
    from airlock.core.log_store import KeptLines, Place
    from airlock.core.settings import environment, load
    from airlock.policy.check import check_bundle
    from airlock.supervisor import Plan, Supervisor

    if role != "all":
        raise typer.BadParameter("this version runs everything in one place: all", param_hint="--role")

    def read_plan() -> Plan:
        loaded = load(config, environment())
        if workers is not None:
            server = msgspec.structs.replace(loaded.config.server, workers=workers)
            loaded = msgspec.structs.replace(
                loaded, config=msgspec.structs.replace(loaded.config, server=server)
            )
        return Plan(loaded=loaded, chosen=choose(loaded.config))

    try:
        plan = read_plan()
        check_bundle(plan.bundle)
        kept = KeptLines(Place.of(plan.loaded.config), "supervisor")

        def relog(config: Config) -> None:
            kept.place = Place.of(config)
            logs.configure(config.logging.level, kept=kept)

        relog(plan.loaded.config)
        supervisor = Supervisor(
            plan=plan,
            read_plan=read_plan,
            check=check_bundle,
            relog=relog,
            clock=SYSTEM,
            log=logs.get("supervisor"),
            overlay=overlay_file(overlay, environment()),
        )
        code = asyncio.run(supervisor.run())
    except ConfigError as error:
        for problem in error.problems or (error,):
            typer.echo(f"airlock: {problem}", err=True)
        raise typer.Exit(1) from error
    except Fault as fault:
        typer.echo(f"airlock: {fault}", err=True)
        raise typer.Exit(1) from fault
    raise typer.Exit(code)
