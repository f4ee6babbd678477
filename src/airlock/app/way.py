"""Wiring: the way of a call, stage by stage."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.app import conversing, metering, redaction
from airlock.app import sessions as session_parts
from airlock.app.callers import Callers
from airlock.app.containment import in_turn
from airlock.app.conversing import Conversations
from airlock.app.limits import spending
from airlock.app.peers import Peers
from airlock.app.redaction import Redaction
from airlock.app.servers import Servers
from airlock.app.sessions import LiveSessions
from airlock.audit.writer import Writer
from airlock.core import metrics
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import Fault, Refused
from airlock.core.sealed import Sealer
from airlock.edge.problems import Problems
from airlock.gateway.admit import Admit
from airlock.gateway.answer import Answers
from airlock.gateway.asking import Asking
from airlock.gateway.attendance import Attendance
from airlock.gateway.audience import Audience
from airlock.gateway.authorize import Authorize, Engine
from airlock.gateway.changes import Changes
from airlock.gateway.contain import Contain
from airlock.gateway.diet import Diet
from airlock.gateway.forward import Forward
from airlock.gateway.invite import Invite
from airlock.gateway.lifetime import Lifetime
from airlock.gateway.live import Live
from airlock.gateway.observe import Observe, told
from airlock.gateway.pages import Pages
from airlock.gateway.pipeline import Pipeline
from airlock.gateway.rates import Rates
from airlock.gateway.read import Read
from airlock.gateway.record import Record
from airlock.gateway.resolve import resolve
from airlock.gateway.restrict import Restrict
from airlock.gateway.rounds import Rounds, States
from airlock.gateway.sessions import Sessions
from airlock.gateway.step_up import step_up
from airlock.gateway.strangers import Strangers
from airlock.gateway.tickets import Tickets
from airlock.gateway.visibility import Visibility
from airlock.model.call import Reached, Reply


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """The stages of one worker, and the parts of them that others speak to."""

    pipeline: Pipeline
    authorize: Authorize
    record: Record
    strangers: Strangers
    sessions: Sessions
    secrets: Redaction
    answers: Answers
    held: LiveSessions
    beside: Conversations
    tickets: Tickets
    explain: Callable[[Reached | None, Refused | Fault], Reply]
    denials: Callable[[Config], None]
    """Takes over how refusals are told."""

    def decoys(self, config: Config) -> None:
        """Take over the tools that nobody has a reason to call."""
        self.record.decoys = frozenset(config.incident.decoys)


def wire(
    *,
    config: Config,
    engine: Engine,
    sealer: Sealer,
    writer: Writer,
    who: Callers,
    behind: Servers,
    contain: Contain,
    live: Live,
    rates: Rates,
    observe: Observe,
    slot: int,
    peers: Peers,
    clock: Clock,
    log: FilteringBoundLogger,
) -> Way:
    """The pipeline and its parts. `engine` belongs to the thread that calls this."""
    authorize = Authorize(engine=engine, clock=clock, observed=observe, lapsed=lambda: contain.lapsed)
    strangers = Strangers(log=writer, clock=clock, failed=rates.stranger)
    restrict = Restrict(current=who.current, clock=clock)
    asking = Asking(authorize.may_ask)
    rounds = Rounds(States(sealer=sealer, clock=clock))
    tickets = Tickets(sealer=sealer, public_url=config.server.public_url, clock=clock)
    invite = Invite(tickets)
    lifetime = Lifetime(clock=clock, most=config.catalog.max_ttl)
    secrets = redaction.wire(
        config=config,
        clock=clock,
        asking=asking,
        sealed=rounds.sealed,
        lifetime=lifetime,
        strength=restrict.strength,
    )
    record = Record(
        log=metering.TimedLog(writer, clock),
        strangers=strangers,
        clock=clock,
        sealer=sealer,
        intent=config.audit.intent,
        inputs=config.audit.inputs,
        all_requests=config.logging.audit_all_requests,
        redactors=secrets.redactors,
        announce=redaction.announcer(log),
        decoys=frozenset(config.incident.decoys),
    )
    attendance = Attendance(
        idle=config.legacy.session_idle, per_principal=config.legacy.sessions_per_principal
    )
    sessions = Sessions(sealer, contain.who, attendance)
    problems = Problems(
        public_url=config.server.public_url,
        conceal=authorize.conceal,
        clock=clock,
        log=log,
        denials=config.denials,
    )
    visible = contain.visible(authorize.visible)
    visibility = Visibility(visible=authorize.visible, standing=authorize.standing, free=contain.free)
    audience = Audience(authenticate=who.authenticate, permit=contain.who, current=who.current)
    held = session_parts.wire(
        slot=slot,
        peers=peers,
        live=live,
        upstreams=behind.upstreams,
        record=record,
        sessions=sessions,
        secrets=secrets,
        changes=Changes(visibility),
        audience=audience,
        authenticate=who.authenticate,
        clock=clock,
        log=log,
    )
    behind.updated.append(held.subscriptions.heard)
    beside = conversing.wire(
        slot=slot,
        peers=peers,
        put=held.questions.put,
        behind=behind,
        current=who.current,
        record=record,
        secrets=secrets,
        authorize=authorize,
        audience=audience,
        visibility=visibility,
    )
    rounds.forget = beside.parks.forget
    answers = Answers(
        visible=visible,
        visibility=visibility,
        pages=Pages(sealer=sealer, size=config.lists.page),
        lifetime=lifetime,
        sessions=sessions,
        record=record,
        clock=clock,
        definitions=secrets.definitions,
        diet=Diet(config.lists),
        masked=authorize.masked,
        instructions=config.lists.instructions,
        heard=held.correspondence.heard,
        set_level=held.correspondence.set_level,
        end_subscription=held.subscriptions.end,
        listen=beside.listens,
    )
    forward = Forward(
        current=who.current,
        upstreams=behind.upstreams,
        live=live,
        clock=clock,
        stale=behind.watch.reread,
        notices=secrets.response.notices,
        logged=secrets.response.logged,
        asks=held.relay,
        subscribed=held.subscriptions.begun,
        conversing=beside.conversing,
        parks=beside.parks,
        unsure=contain.unsure,
        restricted=restrict.sending,
    )
    pipeline = Pipeline(
        authenticate=metering.timed(metrics.AUTH, clock, who.authenticate),
        read=Read(
            sessions=sessions,
            clock=clock,
            one_shot=config.legacy.one_shot,
            provider_scopes=config.auth.require_scopes,
            level=held.correspondence.level,
        ),
        permit=in_turn(contain.caller, rates.permit),
        resolve=invite.resolving(resolve),
        admit=rounds.admitting(
            Admit(
                observed=observe,
                masked=authorize.masked,
                checks=(contain.call, restrict.call, step_up(clock), rates.budget),
            )
        ),
        authorize=spending(metering.decided(authorize, clock), rates),
        redact_request=metering.timed(metrics.REDACTION, clock, secrets.request),
        forward=invite.forwarding(metering.timed_answers(metrics.UPSTREAM, clock, forward)),
        redact_response=forward.guarding(told(metering.timed(metrics.REDACTION, clock, secrets.response))),
        record=record,
        owns=answers.owns,
        answer=answers,
        explain=problems.explain,
        measure=metering.measure(clock),
    )
    return Way(
        pipeline=pipeline,
        authorize=authorize,
        record=record,
        strangers=strangers,
        sessions=sessions,
        secrets=secrets,
        answers=answers,
        held=held,
        beside=beside,
        tickets=tickets,
        explain=problems.explain,
        denials=problems.reload,
    )
