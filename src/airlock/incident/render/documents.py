"""Notices and files by name, and how each is made."""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import msgspec

from airlock.incident.render.environment import fill
from airlock.incident.render.facts import facts
from airlock.incident.render.record import Record

NoticeName = Literal[
    "notification", "team", "update", "internal", "customer", "resolved", "executive", "breach"
]
NOTICES: tuple[NoticeName, ...] = get_args(NoticeName)

FileName = Literal["report", "timeline", "rca", "breach", "review"]
FILES: tuple[FileName, ...] = get_args(FileName)

_PATTERNS: dict[FileName, str] = {
    "report": "incident-{}.md",
    "timeline": "incident-timeline-{}.md",
    "rca": "rca-{}.md",
    "breach": "breach-report-{}.md",
    "review": "pir-{}.md",
}

WITHOUT_SUBJECT = frozenset(("team",))
"""Notices for chats: their first line is part of the text."""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One message. `subject` is empty where the channel has none."""

    template: NoticeName
    subject: str
    body: str

    @property
    def sha256(self) -> str:
        """Of subject and body: what an approval and a receipt are about."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def text(self) -> str:
        """As one text: `Subject: ...`, an empty line, the body."""
        return f"Subject: {self.subject}\n\n{self.body}" if self.subject else self.body


def notice(name: NoticeName, record: Record) -> Notice:
    """Render a notice."""
    if name == "breach":
        return Notice(template=name, subject=f"Data Breach Report: {record.incident.id}",
                      body=file("breach", record))  # fmt: skip
    text = fill(f"{name}.txt", facts(record))
    if name in WITHOUT_SUBJECT:
        return Notice(template=name, subject="", body=text)
    subject, _, body = text.partition("\n\n")
    return Notice(template=name, subject=subject, body=body)


def notice_of(name: str) -> NoticeName:
    """The notice that is called so. Raises `LookupError`."""
    for each in NOTICES:
        if each == name:
            return each
    raise LookupError(f"no notice is called {name[:64]!r}")


def file(name: FileName, record: Record) -> str:
    """Render a file: Markdown that ends with a line feed."""
    return fill(f"{name}.md", facts(record))


def file_name(name: FileName, id: str) -> str:
    """What the file of an incident is called."""
    return _PATTERNS[name].format(id)


def file_of(name: str, id: str) -> FileName | None:
    """The file that has this name; None: there is no such file."""
    return next((each for each in FILES if name in (each, file_name(each, id))), None)


def files(record: Record) -> dict[str, str]:
    """Every file by its name."""
    known = facts(record)
    return {file_name(each, record.incident.id): fill(f"{each}.md", known) for each in FILES}
