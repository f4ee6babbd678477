"""Stage 1a: who speaks. Looks at nothing but the credential; decides from values, without I/O."""

from __future__ import annotations

from airlock.core.clock import Clock
from airlock.core.errors import Unauthenticated
from airlock.identity import resources
from airlock.identity.tokens import Verifier, bearer
from airlock.model.call import Authenticated, Inbound
from airlock.model.snapshot import Current

MAX_ROUTES = 4096
"""Routes whose accepted audiences are remembered: names made up by strangers must not fill the memory."""


class Authenticate:
    """Verifies the request's token for its route, against the keys and revocations of the snapshot."""

    def __init__(self, *, current: Current, verifier: Verifier, clock: Clock, public_url: str) -> None:
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
        return Authenticated(inbound=inbound, principal=principal, snapshot=snapshot)

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
