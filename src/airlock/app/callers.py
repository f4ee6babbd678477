"""Wiring: whose tokens count, and the stage that checks them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from structlog.typing import FilteringBoundLogger

from airlock.app.identity import Providers
from airlock.app.login import LoginFacade
from airlock.audit.writer import Writer
from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.sealed import Sealer
from airlock.gateway.authenticate import Authenticate
from airlock.identity import local
from airlock.identity.tokens import Verifier
from airlock.model.server import Registry
from airlock.model.snapshot import Current, Keys, Snapshot
from airlock.store import revocations
from airlock.store import sessions as ended
from airlock.store.database import Store


class Callers(msgspec.Struct, frozen=True, kw_only=True):
    """Who may speak to one worker."""

    current: Current
    login: LoginFacade
    providers: Providers
    verifier: Verifier
    authenticate: Authenticate
    issuers: tuple[str, ...]
    """Every `iss` that counts, those first that clients are sent to first."""


def wire(
    *,
    config: Config,
    revision: str,
    sealer: Sealer,
    store: Store,
    writer: Writer,
    clock: Clock,
    log: FilteringBoundLogger,
) -> Callers:
    """The issuers of the configuration, on a first snapshot under the policy of this revision."""
    data, public = Path(config.data_dir), config.server.public_url
    for expired in (revocations.prune, ended.prune):
        expired(store, now=clock.wall())
    own = [local.trust(public)] if config.auth.local_issuer else []
    keys = local.LocalIssuer.open(data, public).keys() if config.auth.local_issuer else Keys()
    login = LoginFacade(config=config, sealer=sealer, store=store, clock=clock)
    current = Current(
        Snapshot(
            registry=Registry(servers={}),
            policy_revision=revision,
            keys=login.pinned(keys),
            revocations=revocations.load(store, now=clock.wall()),
        )
    )
    providers = Providers(config=config, current=current, record=writer.seal, clock=clock, log=log)
    issuers = [*login.trusted(), *providers.issuers, *own]
    verifier = Verifier(issuers=issuers, unknown_key=providers.unknown_key)
    authenticate = Authenticate(
        current=current,
        verifier=verifier,
        clock=clock,
        public_url=public,
        renew=providers.renew if providers.issuers else None,
    )
    return Callers(
        current=current,
        login=login,
        providers=providers,
        verifier=verifier,
        authenticate=authenticate,
        issuers=tuple(issuer.identifier for issuer in issuers),
    )
