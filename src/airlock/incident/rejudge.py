"""Recorded calls, asked of two policies: what the one refuses and the other lets pass.

A record holds what the policy that was asked could read of the question. Another policy that reads more
cannot be asked with it: such a call is untold, and so is one whose record was erased.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import msgspec

from airlock.audit import past
from airlock.audit.past import Asked
from airlock.core import sealed
from airlock.core.errors import ConfigError, PolicyFault
from airlock.model.decision import Decision, Obligations, PolicyInput
from airlock.model.proposal import Prediction
from airlock.policy.facts import TENANT

if TYPE_CHECKING:
    from airlock.policy.embedded import EmbeddedEngine

MOST = 5000
"""Calls of one replay; of more, the newest."""

SAMPLE = 20
"""Ids of rows that a prediction names."""

TOOLS = 10
"""Tools that it names."""

Flip = Literal["opened", "closed", "same", "untold"]
"""Refused before and not after, or passed by both and with fewer obligations after; refused after and not
before; no difference; nobody can tell."""

REFUSED = Decision(allow=False, reason="")
"""What a policy says that cannot answer."""

_whole = msgspec.json.Decoder(PolicyInput)


class Judges:
    """Kept policies of one data directory, asked again. Used and closed in one thread: no other may drop an
    engine."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._opens = sealed.load_keys(data)
        self._engines: dict[str, EmbeddedEngine | None] = {}
        self._said: dict[tuple[str, str], Decision] = {}

    def close(self) -> None:
        """Drop the engines."""
        self._engines.clear()

    def require(self, revision: str) -> None:
        """Raises `ConfigError` where this policy cannot be asked."""
        if self._engine(revision) is None:
            raise ConfigError(revision[:12], "this policy is not kept")

    def flip(self, call: Asked, before: str, after: str) -> Flip:
        """What the change from one policy to another does to a call."""
        question = self._question(call)
        if question is None:
            return "untold"
        first, second = (self._answer(each, call, question) for each in (before, after))
        if first is None or second is None:
            return "untold"
        if _passes(first) and _passes(second):
            return "opened" if _fewer(second.obligations, first.obligations) else "same"
        if _passes(first) == _passes(second):
            return "same"
        return "opened" if _passes(second) else "closed"

    def _question(self, call: Asked) -> bytes | None:
        if not call.inputs or self._opens is None:
            return None
        try:
            return self._opens.open("inputs", base64.b64decode(call.inputs).decode("ascii"))
        except ValueError:
            return None

    def _answer(self, revision: str, call: Asked, question: bytes) -> Decision | None:
        """What a policy says of the call; None where nobody can tell."""
        engine = self._engine(revision)
        if engine is None or not self._readable(engine, call, question):
            return None
        known = self._said.get((revision, call.id))
        if known is None:
            try:
                known = engine.decide(question)
            except PolicyFault:
                known = REFUSED
            self._said[revision, call.id] = known
        return known

    def _readable(self, engine: EmbeddedEngine, call: Asked, question: bytes) -> bool:
        """Whether the record holds all that this policy can read."""
        asked = self._engine(call.revision)
        if asked is None:
            return False
        if asked is engine or asked.footprint.doubts:
            return True
        had, reads = {*asked.footprint.paths, TENANT}, engine.footprint
        if not reads.doubts and all(any(path[: len(each)] == each for each in had) for path in reads.paths):
            return True
        return not any(path[0] == "arguments" for path in had if len(path) > 1) and _is_whole(question)

    def _engine(self, revision: str) -> EmbeddedEngine | None:
        if revision not in self._engines:
            self._engines[revision] = self._loaded(revision)
        return self._engines[revision]

    def _loaded(self, revision: str) -> EmbeddedEngine | None:
        from airlock.policy import kept
        from airlock.policy.embedded import EmbeddedEngine

        try:
            return EmbeddedEngine(kept.load(self._data, revision))
        except ConfigError:
            return None


def predict(
    data: Path,
    selector: Mapping[str, str],
    *,
    since: float,
    until: float,
    incident: frozenset[str] = frozenset(),
) -> Prediction:
    """What going `from` one policy `to` another would have done to the calls of a time. `incident`: ids of
    rows that belong to one. Raises `sqlite3.Error`, `ConfigError`."""
    calls, truncated = past.asked(data / "audit.db", since=since, until=until, most=MOST)
    with closing(Judges(data)) as judges:
        judges.require(selector["to"])
        flips: list[tuple[Asked, Flip]] = [
            (call, judges.flip(call, selector["from"], selector["to"])) for call in calls
        ]
    hit = [call for call, flip in flips if flip in ("opened", "closed")]
    found = counted(flips)
    tools = Counter(f"{call.server}/{call.tool}" for call in hit)
    return Prediction(
        since=since,
        until=until,
        requests=len(calls),
        flipped=found["closed"],
        opened=found["opened"],
        sessions=len({call.session for call in hit if call.session}),
        users=len({(call.tenant, call.issuer, call.subject) for call in hit}),
        tenants=tuple(sorted({call.tenant for call in hit})),
        tools=tuple(sorted(tools.items(), key=lambda item: (-item[1], item[0]))[:TOOLS]),
        share=found["closed"] / len(calls) if calls else 0.0,
        unknown=found["untold"],
        unknown_share=found["untold"] / len(calls) if calls else 0.0,
        of_incident=sum(call.id in incident for call in hit),
        sample=tuple(call.id for call in hit[:SAMPLE]),
        truncated=truncated,
    )


def counted(flips: Sequence[tuple[Asked, Flip]]) -> dict[str, int]:
    """How many calls of each kind."""
    found = Counter(flip for _, flip in flips)
    return {kind: found[kind] for kind in get_args(Flip)}


def _passes(said: Decision) -> bool:
    return said.allow is True and said.approval is None


def _fewer(after: Obligations, before: Obligations) -> bool:
    """Whether something that was demanded of a call is not demanded any more."""
    longer = before.max_result_bytes is not None and (
        after.max_result_bytes is None or after.max_result_bytes > before.max_result_bytes
    )
    bare = {*before.redact} - {*after.redact} or {*before.mask_arguments} - {*after.mask_arguments}
    return longer or bool(bare) or (before.audit is not None and after.audit is None)


def _is_whole(question: bytes) -> bool:
    try:
        _whole.decode(question)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
