"""How many principals use the gateway: who called within a day, as far as memory reaches. Pure."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from airlock.incident.detect.seen import Seen

DAY = 24 * 3600.0

MOST = 100_000
"""Principals remembered. Of more, those who were quiet longest are forgotten: shares are then overrated."""


class Principals:
    """Who called, and when last. Rows come in the order of the log; who asks may be another thread."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._turn = Lock()

    def note(self, seen: Seen) -> None:
        """Look at one row."""
        if seen.event_type != "call" or not seen.subject:
            return
        who = (seen.tenant, seen.issuer, seen.subject)
        with self._turn:
            self._seen.pop(who, None)
            if len(self._seen) >= MOST:
                self._seen.popitem(last=False)
            self._seen[who] = seen.at

    def active(self, now: float) -> int:
        """Principals who called within the day before `now`."""
        with self._turn:
            while self._seen and next(iter(self._seen.values())) < now - DAY:
                self._seen.popitem(last=False)
            return len(self._seen)
