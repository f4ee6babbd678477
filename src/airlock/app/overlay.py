"""The overlay: a file of a few keys over the configuration, taken over as leases whenever its text changes.

1 the text, whoever wrote it and however (in place, by a rename, by another link)
2 what it asks for, as leases: all of it fits, or none is given
3 each text once: the store remembers it, so that neither a restart nor another look repeats it

What does not fit is said and changes nothing. A key that a later text leaves out is not given back: leases
end by their time. Without a file there is nothing to do.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from airlock.core import fragment
from airlock.core.clock import Clock, rfc3339
from airlock.core.config import Config
from airlock.core.errors import ConfigError, Fault
from airlock.core.fragment import Fragment
from airlock.model import guards, overrides
from airlock.model.lease import Unfit
from airlock.model.overrides import Order
from airlock.store import fragments
from airlock.store.database import FILE, Store, open_store

MOST = 20
"""Complaints of one text that are told: every worker keeps them, and each is a line of the log."""

EVERY = 0.5
"""Seconds between two looks at the file."""


class Logger(Protocol):
    def info(self, event: str, **fields: object) -> object: ...
    def error(self, event: str, **fields: object) -> object: ...


State = Literal["absent", "applied", "refused"]


class Complaint(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a text, and where: `FILE:LINE`."""

    where: str
    what: str


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the overlay stands. `at`: since when, in UTC."""

    path: str
    state: State = "absent"
    keys: tuple[str, ...] = ()
    """What the text asks for."""
    problems: tuple[Complaint, ...] = ()
    at: str = ""


class Overlay:
    """Follows one file. Used on one event loop; the file and the store are read in threads."""

    def __init__(
        self,
        path: Path,
        *,
        config: Callable[[], Config],
        changed: Callable[[], None],
        clock: Clock,
        log: Logger,
    ) -> None:
        """`config` gives the configuration that the file is laid over; `changed` is called when leases were
        given, and when `standing` is another."""
        # However it is spelled at the next start, it is the same file: links are left as they are, for they
        # change with every update of a volume.
        self._path = path = Path(os.path.abspath(path))
        self._config = config
        self._changed = changed
        self._clock = clock
        self._log = log
        self._seen: str | None = None
        """Digest of the text that was judged last, or why it could not be read."""
        self._waits = False
        self.standing = Standing(path=str(path))

    async def run(self) -> None:
        """Follow the file until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY)

    def again(self) -> None:
        """Judge a refused text once more: what it is laid over has changed."""
        if self.standing.state == "refused":
            self._seen = None

    async def look(self) -> None:
        """Take over what the file says, where that is not what it said before."""
        text = await asyncio.to_thread(self._text)  # 1
        seen = str(text) if isinstance(text, ConfigError) else _digest(text)
        if seen == self._seen:
            return
        try:
            await asyncio.to_thread(self._take, text)
        except ConfigError as error:
            self._refuse(error)
        except Fault as fault:
            if not self._waits:
                self._log.error("overlay_waits", overlay=str(self._path), detail=fault.detail)
            self._waits = True
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a text, what runs goes on
            self._refuse(ConfigError(str(self._path), f"cannot be read: {type(error).__name__}"))
        self._seen, self._waits = seen, False
        self._changed()

    def _text(self) -> bytes | ConfigError | None:
        """What the file holds; None where there is none, and why it cannot be read."""
        try:
            with open(self._path, "rb", opener=_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return ConfigError(str(self._path), "is no regular file")
                return file.read(fragment.LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return ConfigError(str(self._path), f"cannot be read: {error.strerror}")

    def _take(self, text: bytes | ConfigError | None) -> None:
        """2 and 3. Raises `ConfigError` for a text that is refused, `Fault` where the store fails."""
        if isinstance(text, ConfigError):
            raise text
        if text is None:
            self.standing = self._stands("absent")
            return
        config, digest = self._config(), _digest(text)
        found = fragment.read(text, lambda line: f"{self._path}:{line}")
        orders = orders_of(found, config)
        with closing(open_store(Path(config.data_dir) / FILE)) as store:
            given = self._given(store, digest, orders)
        self.standing = self._stands("applied", keys=tuple(asked.key for asked in found.asked))
        if given:
            keys = [order.key for order in orders]
            self._log.info("config_change", result="applied", overlay=str(self._path), keys=keys)

    def _given(self, store: Store, digest: str, orders: Sequence[Order]) -> bool:
        try:
            given = fragments.take(
                store, overlay=str(self._path), digest=digest, orders=orders, now=self._clock.wall()
            )
        except Unfit as unfit:
            raise ConfigError(str(self._path), unfit.text) from unfit
        return bool(given)

    def _refuse(self, error: ConfigError) -> None:
        complaints = tuple(
            Complaint(where=each.where, what=f"{each.what} ({each.hint})" if each.hint else each.what)
            for each in error.problems[:MOST]
        )
        self.standing = self._stands("refused", problems=complaints)
        for complaint in complaints:
            self._log.error("config_fragment_rejected", where=complaint.where, what=complaint.what)

    def _stands(
        self, state: State, *, keys: tuple[str, ...] = (), problems: tuple[Complaint, ...] = ()
    ) -> Standing:
        at = rfc3339(self._clock.wall())
        return Standing(path=str(self._path), state=state, keys=keys, problems=problems, at=at)


def _at_once(path: str, flags: int) -> int:
    """A pipe would keep whoever opens it until somebody writes."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _digest(text: bytes | None) -> str:
    return "" if text is None else hashlib.sha256(text).hexdigest()


def orders_of(found: Fragment, config: Config) -> list[Order]:
    """The leases for what a fragment asks for. Raises `ConfigError` with everything that does not fit."""
    orders: list[Order] = []
    problems: list[ConfigError] = []
    for asked in found.asked:
        closely = asked.key == "monitoring.enhanced"
        duration = config.monitoring.duration if found.duration is None else found.duration
        try:
            order = overrides.order(asked, config, lasts=duration if closely else None)
            if order is not None:
                guards.lock_out(order.selector, "", config.server.trusted_proxies)
                orders.append(order)
        except Unfit as unfit:
            problems.append(ConfigError(asked.where, unfit.text))
    if problems:
        raise ConfigError.together(problems)
    return orders
