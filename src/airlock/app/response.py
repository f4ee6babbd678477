"""The loops of the engine, composed: each reads the store and the audit log, and writes to the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.app.alerting import Alerting
from airlock.app.collecting import Collecting
from airlock.app.debts import Debts, Policy
from airlock.app.detecting import Detecting
from airlock.app.dispatching import Dispatch
from airlock.app.drilling import Drilling
from airlock.app.filing import Filer, Filing
from airlock.app.loops import Background, Loops
from airlock.app.notices import writer
from airlock.app.outside import service
from airlock.app.performing import Performer
from airlock.app.posting import Posting
from airlock.app.record import sources
from airlock.app.running import Running
from airlock.app.ticking import Ticker
from airlock.app.tidying import Tidying
from airlock.app.watching import Watching
from airlock.app.windows import Windows
from airlock.channel import Channel
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.store.database import Store

Reloaded = Callable[[Config], None]
"""Takes over a configuration that the supervisor has validated."""


class Response(msgspec.Struct, kw_only=True):
    """The parts of the engine that its life cycle touches."""

    background: list[Background]
    reloaded: list[Reloaded]


def compose(
    *,
    config: Config,
    bundle: Callable[[], bytes],
    store: Store,
    line: Channel,
    clock: Clock,
    log: FilteringBoundLogger,
) -> Response:
    """Wire the loops. `line` leads to the supervisor, who lets the workers look at the store; `bundle` gives
    the policy in force."""

    def tell_look() -> None:
        line.send({"op": "look"})

    collecting = Collecting(config=config, store=store, clock=clock, log=log)
    filer = Filer(sources(config, store), service=partial(service, config), clock=clock)
    filing = Filing(filer, log=log)
    alerting = Alerting(config=config, store=store, tell_look=tell_look, clock=clock, log=log)
    detecting = Detecting(data=Path(config.data_dir), store=store, alerting=alerting, clock=clock, log=log)
    windows = Windows(
        data_dir=Path(config.data_dir),
        store=store,
        found=alerting.found,
        service=partial(service, config),
        clock=clock,
        log=log,
    )
    ticker = Ticker(config=config, store=store, clock=clock, tell_look=tell_look, log=log)
    dispatch = Dispatch(
        store=store,
        settings=config.incident,
        notifier=Posting(clock=clock),
        write=writer(sources(config, store), service=partial(service, config), clock=clock),
        clock=clock,
        log=log,
    )
    debts = Debts(
        store=store,
        data=Path(config.data_dir),
        policy=partial(_policy, bundle),
        look=tell_look,
        clock=clock,
        log=log,
    )
    performer = Performer(
        store=store,
        config=config,
        write=writer(sources(config, store), service=partial(service, config), clock=clock),
        posting=Posting(clock=clock),
        look=tell_look,
        clock=clock,
    )
    audit = Path(config.data_dir) / "audit.db"
    watch = Watching(store=store, audit=audit, service=partial(service, config), clock=clock, log=log)
    tidying = Tidying(config=config, store=store, clock=clock)
    drilling = Drilling(config=config, store=store, clock=clock, log=log)
    running = Running(store=store, performer=performer, log_file=audit, clock=clock, log=log)
    loops = Loops(
        {
            "playbooks": running.run,
            "notices": dispatch.run,
            "grants": debts.run,
            "clocks": ticker.run,
            "files": filing.run,
            "evidence": collecting.run,
            "detection": detecting.run,
            "windows": windows.run,
            "monitoring": watch.run,
            "drills": drilling.run,
            "tidying": tidying.run,
        },
        troubles={
            "notices": lambda: dispatch.trouble,
            "grants": lambda: debts.trouble,
            "clocks": lambda: ticker.trouble,
            "files": lambda: filing.trouble,
            "detection": lambda: detecting.trouble,
            "windows": lambda: windows.trouble,
            "monitoring": lambda: watch.trouble,
        },
        tell=lambda trouble: line.send({"op": "standing", "error": trouble}),
        clock=clock,
        log=log,
    )
    return Response(
        background=loops.works(),
        reloaded=[
            ticker.take_over,
            lambda config: dispatch.configure(config.incident),
            collecting.take_over,
            alerting.take_over,
            performer.configure,
            drilling.take_over,
            tidying.take_over,
        ],
    )


def _policy(bundle: Callable[[], bytes]) -> Policy:
    """An engine of the policy in force, for the thread that asks; loaded where it is used."""
    from airlock.policy.bundle import Bundle
    from airlock.policy.embedded import EmbeddedEngine

    return EmbeddedEngine(Bundle.from_bytes(bundle()))
