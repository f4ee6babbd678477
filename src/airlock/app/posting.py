"""Sending one message to one target: the only place where a notice leaves the house.

Addresses are of the configuration, and still checked before each connection: nothing private unless the
target may be. A secret is read from its file for each try, so that a replaced one counts at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from pathlib import Path
from typing import Any, Protocol

from airlock.core.clock import Clock
from airlock.core.errors import ConfigError, UpstreamFault
from airlock.core.incident_config import TargetEntry
from airlock.incident.comms import payloads
from airlock.incident.comms.payloads import Answered, Post, Verdict
from airlock.model.message import Message

SECRET_MOST = 8 * 1024
"""Characters of a secret."""

SECRET_LEAST = 6
"""Characters of a part of a secret that is looked for in answers."""

PATIENCE = 20.0
"""Seconds for a service that Apprise speaks to."""


class Notifier(Protocol):
    """Delivers one message. Never raises: what went wrong is the verdict."""

    async def deliver(self, target: TargetEntry, message: Message) -> Verdict: ...


class Posting:
    """The real one."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._busy: set[str] = set()
        """Targets of Apprise with a try that has not ended."""

    async def deliver(self, target: TargetEntry, message: Message) -> Verdict:
        """See `Notifier`."""
        try:
            secret = await asyncio.to_thread(_secret, target)
            if target.kind == "apprise":
                return await self._apprised(target, message, secret)
            answered = await self._posted(target, payloads.post(target, message, secret=secret), secret)
        except ConfigError as wrong:
            return Verdict(delivered=False, detail=str(wrong))
        except UpstreamFault as failed:
            return Verdict(delivered=False, detail=failed.detail or failed.text)
        return payloads.judge(target, answered)

    async def call(self, target: TargetEntry, document: object, *, key: str) -> Answered:
        """What a webhook answers to the request of a playbook. Raises `ConfigError`, `UpstreamFault`."""
        secret = await asyncio.to_thread(_secret, target)
        return await self._posted(target, payloads.call(target, document, secret=secret, key=key), secret)

    async def _posted(self, target: TargetEntry, post: Post, secret: str) -> Answered:
        from airlock.upstream import guard
        from airlock.upstream.fetch import Fetch

        try:
            allowed = (guard.endpoint(post.url).origin,) if target.allow_private else ()
            fetch = Fetch(clock=self._clock, allowed=allowed, ca_file=target.ca_file)
        except (OSError, ValueError) as wrong:
            raise ConfigError(f"incident.targets: {target.name}", str(wrong)) from wrong
        fetched = await fetch.send(post.url, post.body, post.headers)
        return Answered(status=fetched.status, body=_without(secret, fetched.body))

    async def _apprised(self, target: TargetEntry, message: Message, secret: str) -> Verdict:
        """Through Apprise, in a thread of its own: it may hang for ever, and holds up nobody else then."""
        if target.name in self._busy:
            return Verdict(delivered=False, detail="the try before this one has not ended")
        self._busy.add(target.name)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Verdict] = loop.create_future()

        def ended(verdict: Verdict) -> None:
            self._busy.discard(target.name)
            if not done.done():
                done.set_result(verdict)

        def work() -> None:
            try:
                verdict = _send(target, message, secret)
            except Exception as failed:  # noqa: BLE001 - of any service; its text may hold the URL
                verdict = Verdict(delivered=False, detail=f"Apprise raised {type(failed).__name__}")
            with contextlib.suppress(RuntimeError):  # the process ends: nobody waits any more
                loop.call_soon_threadsafe(ended, verdict)

        threading.Thread(target=work, daemon=True).start()
        try:
            async with asyncio.timeout(PATIENCE):
                return await done
        except TimeoutError:
            return Verdict(delivered=False, detail=f"no answer within {PATIENCE:g} s")


def _secret(target: TargetEntry) -> str:
    """Raises `ConfigError`."""
    if target.secret_file is None:
        return ""
    try:
        secret = Path(target.secret_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as wrong:
        raise ConfigError(target.secret_file, "cannot be read", str(wrong)) from wrong
    if not secret or len(secret) > SECRET_MOST or not (secret.isascii() and secret.isprintable()):
        raise ConfigError(target.secret_file, "holds no secret of one line")
    return secret


def _without(secret: str, body: bytes) -> bytes:
    """An answer that repeats the secret, without it: receipts and log lines keep the rest."""
    for part in (secret, *secret.split()):
        if len(part) >= SECRET_LEAST:
            body = body.replace(part.encode(), b"***")
    return body


def _send(target: TargetEntry, message: Message, secret: str) -> Verdict:
    """Apprise says yes or no, and nothing else: its log may name what nobody should know. Blocks."""
    import apprise

    logging.getLogger("apprise").disabled = True
    service: Any = apprise.Apprise()  # its own types are partly unknown
    if not service.add(secret or target.url):
        return Verdict(
            delivered=False, detail=f"incident.targets: {target.name} is no URL that Apprise knows"
        )
    delivered = bool(service.notify(title=message.subject, body=message.body))
    return Verdict(delivered=delivered, detail="accepted" if delivered else "Apprise could not deliver it")
