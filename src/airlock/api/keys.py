"""`Idempotency-Key`: a change that is asked for twice with one key is made once, and answered alike.

Only a change that was made is remembered: whoever was refused may repair the cause and ask again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from airlock.api.entries import INVALID_PARAMS, invalid
from airlock.core.clock import Clock
from airlock.core.errors import Rejected
from airlock.model.http import HttpRequest, HttpResponse
from airlock.model.principal import Principal
from airlock.store import api_keys
from airlock.store.api_keys import Claim
from airlock.store.database import Store

LONGEST = 128
"""Characters of a key."""

REPLAYED = ("idempotency-replayed", "true")
"""The header that marks an answer of the first time."""


class UsedKeys:
    """The keys in the store, which all workers share."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def once(
        self, request: HttpRequest, principal: Principal, change: Callable[[], Awaitable[HttpResponse]]
    ) -> HttpResponse:
        """The answer of `change`, or of the first time.

        Raises `Rejected` 409 `idempotency_conflict` where the key was used for something else,
        `idempotency_in_progress` while its first request has no answer.
        """
        key = request.header("idempotency-key")
        if key is None:
            return await change()
        if not key or len(key) > LONGEST or not key.isprintable():
            raise invalid("idempotency_key_invalid", f"A key has 1 to {LONGEST} printable characters.")
        actor, asked = principal.key, _digest(request)
        claim = await asyncio.to_thread(
            api_keys.claim, self._store, actor=actor, key=key, digest=asked, now=self._clock.wall()
        )
        if not claim.fresh:
            return _before(claim, asked)
        return await self._made(actor, key, change)

    async def _made(
        self, actor: str, key: str, change: Callable[[], Awaitable[HttpResponse]]
    ) -> HttpResponse:
        try:
            response = await change()
        except asyncio.CancelledError:
            raise  # nobody knows what was changed: the key stays taken for a while
        except BaseException:
            await asyncio.to_thread(api_keys.forget, self._store, actor=actor, key=key)
            raise
        body = msgspec.json.encode(response).decode()
        await asyncio.to_thread(
            api_keys.answered, self._store, actor=actor, key=key, status=response.status, body=body
        )
        return response


def _before(claim: Claim, asked: str) -> HttpResponse:
    if claim.digest != asked:
        text = "This key was used for another request."
        raise Rejected(409, INVALID_PARAMS, "idempotency_conflict", text)
    if not claim.status:
        text = "The first request with this key has no answer yet: ask again in a moment."
        raise Rejected(409, INVALID_PARAMS, "idempotency_in_progress", text)
    response = msgspec.json.decode(claim.body, type=HttpResponse)
    return msgspec.structs.replace(response, headers=(*response.headers, REPLAYED))


def _digest(request: HttpRequest) -> str:
    parts = (request.method, request.path, request.query, request.header("if-match") or "")
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + request.body).hexdigest()
