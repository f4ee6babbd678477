"""The management API of a worker: its door, and what is behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from airlock.api import (
    alertmanager,
    alerts,
    backtests,
    blocks,
    comms,
    drills,
    evidence,
    grants,
    incident_clocks,
    incident_documents,
    incident_steps,
    incident_work,
    incidents,
    inventory,
    leases,
    openapi,
    overrides,
    playbooks,
    policy,
    proposals,
    reload,
    reviews,
    revisions,
    rules,
    runs,
    servers,
    status,
)
from airlock.api import connections as caller_connections
from airlock.api import replicas as workers
from airlock.api.alertmanager import AlertmanagerApi
from airlock.api.alerts import AlertsApi
from airlock.api.backtests import BacktestsApi
from airlock.api.blocks import BlocksApi
from airlock.api.comms import CommsApi
from airlock.api.connections import ConnectionsApi
from airlock.api.deciding import Deciding
from airlock.api.door import Allowed, Door
from airlock.api.drills import DrillsApi
from airlock.api.entries import Entry
from airlock.api.evidence import EvidenceApi
from airlock.api.grants import GrantsApi
from airlock.api.incident_clocks import ClocksApi
from airlock.api.incident_documents import DocumentsApi
from airlock.api.incidents import IncidentsApi
from airlock.api.inventory import InventoryApi, Listed
from airlock.api.keys import UsedKeys
from airlock.api.leases import LeasesApi
from airlock.api.leasing import Leasing
from airlock.api.openapi import OpenApi
from airlock.api.overrides import OverridesApi
from airlock.api.playbooks import PlaybooksApi
from airlock.api.policy import PolicyApi, World
from airlock.api.proposals import ProposalsApi, Roll
from airlock.api.reload import ReloadApi, rolling
from airlock.api.replicas import ReplicasApi
from airlock.api.reviews import ReviewsApi
from airlock.api.revisions import RevisionsApi
from airlock.api.rules import RulesApi
from airlock.api.runs import RunsApi
from airlock.api.servers import ServersApi
from airlock.api.status import StatusApi
from airlock.app import record, telling
from airlock.app.containment import Containment
from airlock.app.incident_facts import gather
from airlock.app.peers import Peers
from airlock.app.reloads import Reloading
from airlock.app.tuning import Tuning
from airlock.app.turned import Log, Logger, Turned, inbound
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.edge.routes import Route
from airlock.gateway.strangers import Strangers
from airlock.incident.regulation import known
from airlock.model.call import Authenticated, Inbound
from airlock.model.http import HttpRequest
from airlock.model.snapshot import Current
from airlock.store import replicas
from airlock.store.database import Store


class Management(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind the door, and the door."""

    door: Door
    policy: PolicyApi
    blocks: BlocksApi
    leases: LeasesApi
    overrides: OverridesApi
    proposals: ProposalsApi
    policies: RevisionsApi
    servers: ServersApi
    incidents: IncidentsApi
    clocks: ClocksApi
    comms: CommsApi
    grants: GrantsApi
    alerts: AlertsApi
    outside: AlertmanagerApi
    rules: RulesApi
    reviews: ReviewsApi
    playbooks: PlaybooksApi
    runs: RunsApi
    openapi: OpenApi
    status: StatusApi | None = None
    replicas: ReplicasApi | None = None
    reload: ReloadApi | None = None
    documents: DocumentsApi | None = None
    evidence: EvidenceApi | None = None
    backtests: BacktestsApi | None = None
    drills: DrillsApi | None = None
    connections: ConnectionsApi | None = None
    """All None where no gateway runs that they could tell of."""


def management(
    *,
    config: Config,
    store: Store,
    world: World,
    peers: Peers,
    current: Current,
    active: Callable[[], str],
    authenticate: Callable[[Inbound], Awaitable[Authenticated]],
    allowed: Allowed,
    containment: Containment,
    tuning: Tuning,
    reloading: Reloading,
    strangers: Strangers,
    writer: Log,
    clock: Clock,
    log: Logger,
    connections: ConnectionsApi | None = None,
) -> Management:
    """The management API of a running worker. `active` gives the policy revision that it decides by."""

    async def identify(request: HttpRequest) -> Authenticated:
        return await authenticate(inbound(request))

    def permit(caller: Authenticated) -> None:
        containment.administrator(caller.principal, caller.inbound.source_ip)

    guard = Door(
        identify=identify,
        permit=permit,
        allowed=allowed,
        turned=Turned(strangers=strangers, writer=writer, log=log),
        keys=UsedKeys(store=store, clock=clock),
        public_url=config.server.public_url,
    )
    leasing = Leasing(
        store=store, trusted_proxies=config.server.trusted_proxies, look=containment.look, clock=clock
    )
    held = OverridesApi(leasing=leasing, base=lambda: tuning.base, overlay=lambda: world.overlay, clock=clock)
    standing = PolicyApi(world=world, active=active, living=lambda: replicas.living(store, now=clock.wall()))
    deciding = Deciding(
        store=store,
        gather=partial(gather, data=Path(config.data_dir)),
        law=lambda: known(tuning.base.incident.regulations_file),
        clock=clock,
    )
    parts = behind(
        guard=guard,
        leasing=leasing,
        standing=standing,
        held=held,
        deciding=deciding,
        clock=clock,
        roll=rolling(lambda by: reloading(by, rollback=True), world),
    )
    parts.servers.ask = lambda: peers.ask("cut")
    return msgspec.structs.replace(
        parts,
        status=StatusApi(world=world, store=store, current=current, clock=clock),
        replicas=ReplicasApi(ask=peers.ask, workers=config.server.workers),
        reload=ReloadApi(reload=reloading, world=world),
        documents=record.documents(config, store, clock),
        evidence=EvidenceApi(store=store, data_dir=Path(config.data_dir), clock=clock),
        backtests=BacktestsApi(audit=Path(config.data_dir) / "audit.db", clock=clock),
        drills=DrillsApi(store=store, base=lambda: tuning.base, clock=clock),
        connections=connections,
    )


def behind(
    *,
    guard: Door,
    leasing: Leasing,
    standing: PolicyApi,
    held: OverridesApi,
    deciding: Deciding,
    clock: Clock,
    roll: Roll | None = None,
) -> Management:
    """What stands behind this door. `roll` lets a policy decide that people went back to."""
    proposing = ProposalsApi(leasing=leasing, base=held.base, clock=clock, roll=roll)
    return Management(
        door=guard,
        policy=standing,
        blocks=BlocksApi(leasing=leasing, clock=clock),
        leases=LeasesApi(leasing=leasing, proposals=proposing, clock=clock),
        proposals=proposing,
        policies=RevisionsApi(leasing=leasing, proposals=proposing, base=held.base, clock=clock),
        servers=ServersApi(leasing=leasing, names=lambda: [entry.name for entry in held.base().servers]),
        overrides=held,
        incidents=IncidentsApi(deciding),
        clocks=ClocksApi(deciding),
        comms=telling.api(deciding, base=held.base),
        grants=GrantsApi(leasing=leasing, clock=clock),
        alerts=AlertsApi(deciding),
        outside=AlertmanagerApi(deciding),
        rules=RulesApi(deciding),
        reviews=ReviewsApi(deciding, base=held.base),
        playbooks=PlaybooksApi(leasing=leasing, base=held.base, clock=clock),
        runs=RunsApi(leasing=leasing, clock=clock),
        openapi=OpenApi(public_url=guard.public_url),
    )


def entries(parts: Management) -> tuple[Entry, ...]:
    """The table: every address of the management API."""
    return (
        *(() if parts.status is None else status.entries(parts.status)),
        *(() if parts.replicas is None else workers.entries(parts.replicas)),
        *(() if parts.reload is None else reload.entries(parts.reload)),
        *(() if parts.documents is None else incident_documents.entries(parts.documents)),
        *(() if parts.evidence is None else evidence.entries(parts.evidence)),
        *(() if parts.backtests is None else backtests.entries(parts.backtests)),
        *(() if parts.drills is None else drills.entries(parts.drills)),
        *(() if parts.connections is None else caller_connections.entries(parts.connections)),
        *policy.entries(parts.policy),
        *blocks.entries(parts.blocks),
        *overrides.entries(parts.overrides),
        *leases.entries(parts.leases),
        *proposals.entries(parts.proposals),
        *revisions.entries(parts.policies),
        *servers.entries(parts.servers),
        *incidents.entries(parts.incidents),
        *incident_steps.entries(parts.incidents.deciding),
        *incident_work.entries(parts.incidents.deciding),
        *incident_clocks.entries(parts.clocks),
        *comms.entries(parts.comms),
        *grants.entries(parts.grants),
        *alerts.entries(parts.alerts),
        *alertmanager.entries(parts.outside),
        *rules.entries(parts.rules),
        *reviews.entries(parts.reviews),
        *playbooks.entries(parts.playbooks),
        *runs.entries(parts.runs),
        *openapi.entries(parts.openapi),
    )


def routes(parts: Management) -> tuple[Route, ...]:
    """Every address of the management API; each handler is behind the door."""
    table = entries(parts)
    parts.openapi.over((*table, inventory.entry(InventoryApi(()))))
    return tuple(route(parts.door, entry) for entry in table)


def route(door: Door, entry: Entry) -> Route:
    """An entry as requests are routed."""
    return Route(
        method=entry.method,
        path=entry.path,
        auth="bearer" if entry.permission is None else "admin",
        handler=door.guard(entry),
        max_body=entry.max_body if entry.writes else 0,
    )


def listed(door: Door, table: tuple[Route, ...]) -> Route:
    """The address that lists every door: those of the table, and itself."""
    itself = inventory.entry(InventoryApi(()))
    doors = tuple(Listed(method=each.method, path=each.path, auth=each.auth) for each in table)
    own = Listed(method=itself.method, path=itself.path, auth="admin")
    return route(door, inventory.entry(InventoryApi((*doors, own))))
