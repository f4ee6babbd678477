"""What the demo tells while it plays: readable lines for people, one JSON object per step for programs."""

from __future__ import annotations

from typing import Protocol

import msgspec
from rich.console import Console
from rich.text import Text

from airlock.audit.visible import visible

WIDTH = 100
NAMES = 11
"""Columns of the speaker's name."""


class Unexpected(Exception):
    """A step was not true."""

    def __init__(self, fact: str, *, expected: object, seen: object) -> None:
        super().__init__(fact)
        self.fact, self.expected, self.seen = fact, str(expected), str(seen)


class Line(msgspec.Struct, frozen=True):
    """Somebody did or answered something."""

    who: str
    what: str


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A step, as `--json` prints it."""

    step: int
    title: str
    ok: bool = msgspec.field(default_factory=bool)
    seconds: float = msgspec.field(default_factory=float)
    lines: list[Line] = []
    facts: list[str] = []
    """What was checked and was true."""
    failed: str = ""
    """What was not."""
    expected: str = ""
    seen: str = ""


class Transcript(Protocol):
    """Where the story goes. Told in the order in which things happen."""

    def opens(self, lines: list[Line]) -> None: ...
    def begins(self, step: Outcome) -> None: ...
    def line(self, line: Line) -> None: ...
    def fact(self, text: str) -> None: ...
    def ends(self, step: Outcome) -> None: ...
    def closes(self, *, ok: bool, proven: list[str], not_proven: list[str], kept: bool) -> None: ...


class Printed:
    """For people."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._out = console if console.is_terminal else Console(highlight=False, width=WIDTH)

    def opens(self, lines: list[Line]) -> None:
        self._out.print(Text("Airlock demo", style="bold"))
        for line in lines:
            self.line(line)

    def begins(self, step: Outcome) -> None:
        self._out.print()
        self._out.print(Text(f"{step.step}  {step.title}", style="bold cyan"))

    def line(self, line: Line) -> None:
        name = Text(f"   {line.who:<{NAMES}}", style="dim")
        self._hanging(name, Text(visible(line.what), style=_style(line.what)))

    def fact(self, text: str) -> None:
        self._hanging(Text(f"   {'true':<{NAMES}}", style="bold green"), Text(visible(text), style="green"))

    def ends(self, step: Outcome) -> None:
        if not step.ok:
            for name, text in (("not true", step.failed), ("expected", step.expected), ("seen", step.seen)):
                self._hanging(Text(f"   {name:<{NAMES}}", style="bold red"), Text(visible(text)))

    def closes(self, *, ok: bool, proven: list[str], not_proven: list[str], kept: bool) -> None:
        self._out.print()
        if ok:
            self._list("Proven", proven, "bold green")
            self._list("Not proven", not_proven, "bold yellow")
        else:
            self._out.print(Text("The story ends here: a step was not true.", style="bold red"))
        self._out.print(f"Every process {'' if kept else 'and file '}of this demo is gone.")

    def _list(self, title: str, items: list[str], style: str) -> None:
        self._out.print(Text(title, style=style))
        for item in items:
            self._hanging(Text("   - "), Text(visible(item)))
        self._out.print()

    def _hanging(self, name: Text, text: Text) -> None:
        """`name` once, `text` beside it, wrapped within its own column."""
        lines = text.wrap(self._out, max(20, self._out.width - len(name)))
        for number, part in enumerate(lines or [Text()]):
            part.rstrip()
            self._out.print((name if number == 0 else Text(" " * len(name))) + part)


class Encoded:
    """For programs."""

    def opens(self, lines: list[Line]) -> None:
        """Nothing: a step is told as a whole."""

    def begins(self, step: Outcome) -> None:
        """See `opens`."""

    def line(self, line: Line) -> None:
        """See `opens`."""

    def fact(self, text: str) -> None:
        """See `opens`."""

    def ends(self, step: Outcome) -> None:
        print(msgspec.json.encode(step).decode(), flush=True)

    def closes(self, *, ok: bool, proven: list[str], not_proven: list[str], kept: bool) -> None:
        """The steps said it all."""


def _style(text: str) -> str:
    """Lines of a difference keep the colours that people know."""
    return {"+": "green", "-": "red"}.get(text.lstrip()[:1], "")
