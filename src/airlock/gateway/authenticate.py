"""Stage 1a: who speaks. Looks at nothing but the credential; decides from values, without I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from airlock.core.clock import Clock
from airlock.core.errors import Unauthenticated
from airlock.identity import resources
from airlock.identity.refusals import Reason, invalid
from airlock.identity.tokens import Verifier, bearer
from airlock.model.call import Authenticated, Inbound
from airlock.model.snapshot import Current

MAX_ROUTES = 4096
"""Routes whose accepted audiences are remembered: names made up by strangers must not fill the memory."""


MAX_FAMILIAR = 1024
"""Beginnings of tokens that are remembered: one per key and issuer, where issuers write headers alike."""


class Authenticate:
    """Verifies the request's token for its route, against the keys and revocations of the snapshot."""

    def __init__(
        self,
        *,
        current: Current,
        verifier: Verifier,
        clock: Clock,
        public_url: str,
        renew: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """`renew` waits until issuers of unknown keys were asked again; None: nobody can be asked."""
        self._renew = renew
        self._familiar: set[str] = set()
        self._current = current
        self._verifier = verifier
        self._clock = clock
        self._public_url = public_url
        self._accepted: dict[str, tuple[str, ...]] = {}

    def __call__(self, inbound: Inbound) -> Authenticated:
        snapshot = self._current.get()
        principal = self._verifier.verify(
            bearer(inbound.headers.get("authorization")),
            audience=self._audiences(inbound.server),
            keys=snapshot.keys,
            revocations=snapshot.revocations,
            now=self._clock.wall(),
        )
        index = snapshot.leases.index
        if index is not None and index.token(principal.token_id, self._clock.wall()) is not None:
            raise invalid(Reason.REVOKED)
        return Authenticated(inbound=inbound, principal=principal, snapshot=snapshot)

    async def introduce(self, inbound: Inbound) -> None:
        """Wait, where the token names a key that is not known here, until its issuer was asked again: a
        rotation fails no call. Decides nothing, and costs a look at the token's first part once that is
        familiar: all tokens of one key begin alike."""
        if self._renew is None:
            return
        beginning = (inbound.headers.get("authorization") or "").partition(".")[0]
        if beginning in self._familiar:
            return
        try:
            self(inbound)
        except Unauthenticated as refused:
            if refused.reason == Reason.KEY_UNKNOWN:
                await self._renew()
            return
        if len(self._familiar) >= MAX_FAMILIAR:
            self._familiar.clear()
        self._familiar.add(beginning)

    async def patiently(self, inbound: Inbound) -> Authenticated:
        """`introduce`, then the caller: for doors whose answers are no streams."""
        await self.introduce(inbound)
        return self(inbound)

    def accepts(self, inbound: Inbound) -> bool:
        """Whether the token counts. Decides nothing: a call is authenticated when it is governed."""
        try:
            self(inbound)
        except Unauthenticated:
            return False
        return True

    def _audiences(self, server: str) -> tuple[str, ...]:
        known = self._accepted.get(server)
        if known is None:
            known = resources.accepted(self._public_url, server)
            if len(self._accepted) < MAX_ROUTES:
                self._accepted[server] = known
        return known
