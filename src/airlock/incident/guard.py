"""What a step of an incident lacks."""

from __future__ import annotations

import msgspec


class Missing(msgspec.Struct, frozen=True):
    """One thing that has to be there first. `key` is stable, `text` says what would be right."""

    key: str
    text: str


class GuardFailed(Exception):
    """A step that the record does not allow yet; it changed nothing. Answered with 409 and `missing[]`."""

    def __init__(self, event: str, missing: tuple[Missing, ...]) -> None:
        super().__init__(f"{event} is refused: " + "; ".join(each.text for each in missing))
        self.event = event
        self.missing = missing
