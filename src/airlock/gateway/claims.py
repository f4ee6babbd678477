"""What clients and servers say of themselves, as a record may keep it: no secret, and least of all a client's
own token."""

from __future__ import annotations

from airlock.gateway.redact import Redactors, Rules, carries_credential
from airlock.model.call import Inbound

MAX_KEPT = 1024
"""Texts that are remembered: a client says the same with every call."""

MAX_TEXT = 512
"""Characters of one; longer ones are looked at each time."""


class Claims:
    """Remembers what was made of a text, until the rules change."""

    def __init__(self, redactors: Redactors) -> None:
        self._redactors = redactors
        self._by: Rules | None = None
        self._kept: dict[str, str] = {}

    def __call__(self, text: str, inbound: Inbound) -> str:
        if not text:
            return text
        if carries_credential(text.encode(), inbound):
            return "[withheld]"
        rules = self._redactors.rules
        if rules is not self._by or len(self._kept) >= MAX_KEPT:
            self._by, self._kept = rules, {}
        kept = self._kept.get(text)
        if kept is None:
            kept = rules.claim(text)
            if len(text) <= MAX_TEXT:
                self._kept[text] = kept
        return kept
