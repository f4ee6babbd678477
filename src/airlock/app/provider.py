"""One identity provider of one worker: asked when it is time or when a token names an unknown key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

from structlog.typing import FilteringBoundLogger

from airlock.core.clock import Clock
from airlock.core.config import IssuerEntry
from airlock.core.errors import AuditFault, UpstreamFault
from airlock.identity import discovery, keyring
from airlock.identity.discovery import BadDocument
from airlock.identity.shelf import Kept, Shelf
from airlock.model.entry import Event
from airlock.upstream import guard
from airlock.upstream.fetch import Fetched

LOOK = 4.5
"""Seconds for everything that one look at a provider fetches (XC-3: five at most)."""

_WORDS = {
    "upstream_unavailable": "provider_unavailable",
    "upstream_timeout": "provider_timeout",
    "upstream_protocol_error": "provider_protocol_error",
}
"""A failed fetch in the words of an audit row."""

Decision = Literal["allow", "deny", "error"]

Record = Callable[[Event], Awaitable[object]]


class Get(Protocol):
    """Fetches one document. Raises `UpstreamFault`."""

    def __call__(self, url: str) -> Awaitable[Fetched]: ...


class Follower:
    """Follows one provider, as long as the worker serves."""

    def __init__(
        self,
        *,
        entry: IssuerEntry,
        get: Get,
        shelf: Shelf,
        publish: Callable[[Follower], None],
        record: Record,
        clock: Clock,
        log: FilteringBoundLogger,
    ) -> None:
        self.fetched_at = 0.0
        """Unix seconds of the last good look; 0: never."""
        self.ring = keyring.Ring(issuer=entry.issuer, stale=entry.stale)
        self.started = self.finished = 0
        """Looks that were begun, and that are over."""
        self._entry = entry
        self._get = get
        self._shelf = shelf
        self._publish = publish
        self._record = record
        self._clock = clock
        self._log = log.bind(issuer=entry.issuer, component="auth")
        self._jwks_uri = entry.jwks_url or ""
        self._wanted = asyncio.Event()
        self._recorded = ""
        self._recall()

    async def run(self) -> None:
        """Look whenever it is time, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(max(0.0, self._wake() - self._clock.monotonic())):
                    await self._wanted.wait()
            except TimeoutError:
                await self._scheduled()
            else:
                pause = keyring.due_for_unknown_key(self.ring) - self._clock.monotonic()
                await asyncio.sleep(max(0.0, pause))
                await self._look(cause="unknown_key")

    def want(self) -> None:
        """A token named a key that is not here: look soon, unless the provider is known to be away."""
        if self.ring.asked is not None and not self.ring.failures:
            self._wanted.set()

    @property
    def wanted(self) -> bool:
        """Whether a look will begin in a moment."""
        return self._wanted.is_set()

    def _wake(self) -> float:
        """When there is something to do: the next look, or the end of stale keys."""
        due, end = keyring.due(self.ring), keyring.expires(self.ring)
        return due if end is None or end <= self._clock.monotonic() else min(due, end)

    async def _scheduled(self) -> None:
        if self._clock.monotonic() < keyring.due(self.ring):
            self._publish(self)  # without the keys that are too old
            return
        self._jwks_uri = self._entry.jwks_url or ""
        await self._look(cause="schedule")

    async def _look(self, *, cause: str) -> None:
        """Ask the provider once; whatever it answers, the ring knows afterwards."""
        self._wanted.clear()
        self.started += 1
        decision, reason, body = await self._outcome(cause)
        self.finished += 1
        self._publish(self)
        await self._note(decision, reason)
        if body:
            await self._remember(body)

    async def _outcome(self, cause: str) -> tuple[Decision, str, bytes]:
        """Decision and reason of the row about this look, and the key set that it brought."""
        try:
            async with asyncio.timeout(LOOK):
                keys, body = await self._ask()
        except TimeoutError:
            self._missed("provider_timeout", f"more than {LOOK} s in all", cause)
            return "error", "provider_timeout", b""
        except UpstreamFault as fault:
            forbidden = isinstance(fault, guard.Forbidden)
            reason = "ssrf_guard" if forbidden else _WORDS.get(fault.reason, fault.reason)
            self._missed(reason, fault.detail, cause)
            return "deny" if forbidden else "error", reason, b""
        except BadDocument as bad:
            self._missed(bad.reason, str(bad), cause)
            return "deny", bad.reason, b""
        self.ring = keyring.renewed(self.ring, keys, self._clock.monotonic())
        self.fetched_at = self._clock.wall()
        self._log.info("jwks_refresh", result="ok", keys=len(keys), cause=cause)
        return "allow", "ok", body

    async def _ask(self) -> tuple[dict[str, discovery.Pinned], bytes]:
        """The keys of the provider, and the document they stand in. Raises `UpstreamFault`, `BadDocument`."""
        if not self._jwks_uri:
            self._jwks_uri = (await self._discover()).jwks_uri
        document = await self._get(self._jwks_uri)
        if document.status != 200:
            raise BadDocument("keys_unusable", f"HTTP {document.status} instead of keys")
        return discovery.read_keys(document.body, self._entry.algorithms), document.body

    async def _discover(self) -> discovery.Metadata:
        status = 0
        for url in discovery.locations(self._entry.issuer):
            document = await self._get(url)
            status = document.status
            if document.status == 200:
                found = discovery.read_metadata(document.body, self._entry.issuer)
                self._log.info("oidc_discovery", result="ok")
                return found
        raise BadDocument("metadata_invalid", f"HTTP {status} instead of metadata")

    def _missed(self, reason: str, detail: str, cause: str) -> None:
        self.ring = keyring.missed(self.ring, reason, self._clock.monotonic())
        event = "jwks_refresh" if self._jwks_uri else "oidc_discovery"
        self._log.warning(event, result="failed", reason=reason, detail=detail, cause=cause)

    async def _note(self, decision: Decision, reason: str) -> None:
        """A row for each change: what a provider does every five minutes is no event."""
        if reason == self._recorded:
            return
        self._recorded = reason
        event = Event(
            event_type="auth",
            action="discovery",
            decision=decision,
            reason=reason,
            severity="HIGH" if decision == "deny" else "LOW" if decision == "allow" else "MEDIUM",
            metadata={"issuer": self._entry.issuer},
        )
        try:
            await self._record(event)
        except AuditFault as fault:
            self._log.error("audit_event_lost", detail=fault.detail, action=event.action)

    def _recall(self) -> None:
        """Start with the keys of an earlier process, where they are not too old."""
        kept = self._shelf.last(self._entry.issuer)
        if kept is None:
            return
        age = max(0.0, self._clock.wall() - kept.fetched_at)
        try:
            keys = discovery.read_keys(kept.body, self._entry.algorithms)
        except BadDocument:
            return
        if age < self._entry.stale:
            self.ring = keyring.remembered(self.ring, keys, self._clock.monotonic() - age)
            self.fetched_at = kept.fetched_at

    async def _remember(self, body: bytes) -> None:
        kept = Kept(issuer=self._entry.issuer, fetched_at=self.fetched_at, body=body)
        try:
            await asyncio.to_thread(self._shelf.keep, kept)
        except OSError as error:
            self._log.warning("jwks_refresh", result="not_kept", detail=error.strerror)
