"""What a step has at hand: the place, the evidence, the callers, and where it tells what happens."""

from __future__ import annotations

from airlock.cli.demo.evidence import Evidence
from airlock.cli.demo.site import Site
from airlock.cli.demo.transcript import Line, Outcome, Transcript, Unexpected


class Stage:
    """Handed from step to step."""

    def __init__(self, site: Site, transcript: Transcript) -> None:
        self.site = site
        self.evidence = Evidence(site)
        self.step = Outcome(step=0, title="")
        self.not_proven: list[str] = []
        self.denied_row = ""
        """Id of the row of a denial: the one that is tampered with in the end."""
        self._transcript = transcript
        self.ada = site.token("ada", role="analyst")
        self.omar = site.token("omar", role="editor")
        self.eve = site.token("eve", role="analyst", tenant="globex")
        self.admin = site.token("admin", role="admin")

    def begins(self, number: int, title: str) -> None:
        self.step = Outcome(step=number, title=title)
        self._transcript.begins(self.step)

    def tell(self, who: str, what: object) -> None:
        """Somebody did or answered something."""
        line = Line(who, str(what))
        self.step.lines.append(line)
        self._transcript.line(line)

    def check(self, fact: str, *, expected: object, seen: object) -> None:
        """A fact, if what was seen is what was expected. Raises `Unexpected`."""
        if seen != expected:
            raise Unexpected(fact, expected=expected, seen=seen)
        self.step.facts.append(fact)
        self._transcript.fact(fact)
