"""Which sessions of legacy clients are in use, and the end of those that are not, or that are too many.

A session id opens in every worker and says nothing of when it was used last. So each worker notes what it
sees and tells the others: at once of a session that began, now and then of those that are used. All have the
same picture, at most `LAG` seconds old. What ends here is remembered in memory alone: it bounds what is held,
and whoever starts anew holds nothing. Nothing here waits for anything; seconds are Unix seconds.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

PER_PRINCIPAL, MOST = 32, 10_000
"""Sessions of one principal, and of all that one process knows (S-3)."""

IDLE = 1800.0
"""Seconds without use after which a session ends (S-3)."""

TELL = 60.0
"""Seconds of use of which the other workers need not hear."""

LAG = 120.0
"""Seconds by which the use of a session may be known late: `TELL`, a sweep, and the way to another worker."""

AT_ONCE = 500
"""Idle sessions that end in one sweep, and sessions that one message tells of."""

ENDED = 100_000
"""Ended sessions that are remembered; an older one could be used again, and would count again."""


Seen = dict[str, tuple[str, float]]
"""Owner and last use of sessions."""


def _nobody(_: object) -> None:
    """There is no other worker."""


class _Use:
    __slots__ = ("owner", "told", "used")

    def __init__(self, owner: str, used: float) -> None:
        self.owner = owner
        self.used = self.told = used


class Attendance:
    """The sessions that one worker knows of. Used on the event loop only."""

    def __init__(
        self,
        *,
        idle: float = IDLE,
        per_principal: int = PER_PRINCIPAL,
        most: int = MOST,
        over: Callable[[str], None] = _nobody,
        tell: Callable[[Seen], None] = _nobody,
    ) -> None:
        """`over` ends what any worker holds of a session; `tell` has every worker hear what was seen."""
        self._idle = idle
        self._per_principal = per_principal
        self._most = most
        self.over = over
        self.tell = tell
        self._seen: dict[str, _Use] = {}
        self._of: dict[str, dict[str, None]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._count: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._seen)

    def begin(self, sid: str, owner: str, now: float) -> None:
        """A session began here; whoever was used longest ago makes room for it."""
        self._add(sid, owner, now)
        self._make_room(sid, owner)
        self.tell({sid: (owner, now)})

    def saw(self, sid: str, owner: str, now: float) -> bool:
        """Note a use of a session; false where it has ended."""
        use = self._seen.get(sid)
        if use is None:
            if sid in self._ended:
                return False
            use = self._add(sid, owner, now)
            use.told = now - TELL
            self._make_room(sid, owner)
        use.used = now
        return True

    def ended(self, sid: str) -> bool:
        """Whether a session is refused. That is no use of it."""
        return sid in self._ended

    def gone(self, sid: str) -> None:
        """A session is over: it is refused from now on."""
        use = self._seen.pop(sid, None)
        if use is not None:
            own = self._of[use.owner]
            del own[sid]
            if not own:
                del self._of[use.owner]
        self._ended[sid] = None
        if len(self._ended) > ENDED:
            self._ended.popitem(last=False)

    def heard(self, seen: Seen) -> None:
        """What another worker saw."""
        for sid, (owner, used) in seen.items():
            if sid not in self._ended:
                use = self._seen.get(sid) or self._add(sid, owner, used)
                use.used, use.told = max(use.used, used), max(use.told, used)

    def sweep(self, now: float, read: Iterable[str] = ()) -> dict[str, int]:
        """End what is idle, and what is too much where two workers made room for the same; tell of what is
        used. Whoever reads a stream of its session (`read`) uses it.

        Returns how many sessions ended here since the last time, by cause.
        """
        for sid in read:
            use = self._seen.get(sid)
            if use is not None:
                use.used = now
        oldest = now - self._idle - LAG
        idle = (sid for sid, use in self._seen.items() if use.used < oldest)
        for sid in list(islice(idle, AT_ONCE)):
            self._retire(sid, "idle")
        for own in [own for own in self._of.values() if len(own) > self._per_principal]:
            for sid in sorted(own, key=lambda sid: self._seen[sid].used)[: len(own) - self._per_principal]:
                self._retire(sid, "surplus")
        used = ((sid, use) for sid, use in self._seen.items() if use.used >= use.told + TELL)
        while part := list(islice(used, AT_ONCE)):
            self.tell({sid: (use.owner, use.used) for sid, use in part})
            for _, use in part:
                use.told = use.used
        count, self._count = dict(self._count), Counter()
        return count

    def _add(self, sid: str, owner: str, used: float) -> _Use:
        use = self._seen[sid] = _Use(owner, used)
        self._of.setdefault(owner, {})[sid] = None
        return use

    def _make_room(self, sid: str, owner: str) -> None:
        """For the session that was added, in the picture of this worker: the others hear what ended."""
        own = self._of[owner]
        if len(own) > self._per_principal:
            self._retire(self._oldest(one for one in own if one != sid), "surplus")
        if len(self._seen) > self._most:
            self._retire(self._oldest(one for one in self._seen if one != sid), "surplus")

    def _oldest(self, among: Iterator[str]) -> str:
        return min(among, key=lambda sid: self._seen[sid].used)

    def _retire(self, sid: str, why: str) -> None:
        self.gone(sid)
        self._count[why] += 1
        self.over(sid)
