"""What a step of the attack has at hand: who responds, their commands, the record, and the clock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from airlock.cli.demo import agent
from airlock.cli.demo.evidence import Said, eventually_true
from airlock.cli.demo.response.attack import Stream
from airlock.cli.demo.response.site import ResponseSite
from airlock.cli.demo.stage import Stage
from airlock.cli.demo.transcript import Transcript, Unexpected
from airlock.core.clock import SYSTEM

PATIENCE = 60.0
"""Seconds that the engine may take for something; on a quiet machine it takes one or two."""

Document = dict[str, Any]


class Room(Stage):
    """Handed from step to step."""

    def __init__(self, site: ResponseSite, transcript: Transcript) -> None:
        super().__init__(site, transcript)
        self.place = site
        self.people = {name: site.token(name, role="admin") for name in ("olga", "paul")}
        """Who responds: olga commands, paul speaks to those outside."""
        self.clerks = {name: site.token(name, role="clerk") for name in ("ada", "eve", "vera")}
        """Who works here. The tokens of eve and vera were stolen."""
        self.incident = ""
        self.run: Document = {}
        """The run of a playbook that waits for a person."""
        self.times: dict[str, float] = {}
        """Seconds from the beginning to what happened since, in its order."""
        self._began = 0.0
        self._since = ""
        self.streams: list[Stream] = []
        self.carriers: list[Any] = []
        """Connections of the attacker that stay open over several steps."""

    def starts(self, what: str) -> None:
        """What is told by the clock is counted from now."""
        self._began, self._since, self.times = SYSTEM.monotonic(), what, {}

    def mark(self, what: str) -> None:
        """Something is true, this long after the beginning."""
        self.times[what] = SYSTEM.monotonic() - self._began
        self.tell("clock", f"{what} {self.times[what]:.1f} s after {self._since}")

    async def ask(self, path: str, body: object = None, *, who: str = "olga", method: str = "") -> Document:
        """What the management API answers. Raises `Unexpected` for a refusal."""
        method = method or ("GET" if body is None else "POST")
        async with agent.http(self.people[who]) as carrier:
            answer = await carrier.request(
                method, f"{self.site.url}{path}", content=None if body is None else json.dumps(body)
            )
        if answer.status_code >= 300:
            raise Unexpected(f"{method} {path} is taken", expected="2xx", seen=answer.text[:500])
        return agent.read(answer)

    async def about(self, part: str = "", body: object = None, *, who: str = "olga") -> Document:
        """The same about the incident."""
        return await self.ask(f"/api/v1/incidents/{self.incident}{part}", body, who=who)

    async def command(
        self,
        *words: str,
        who: str = "olga",
        exits: tuple[int, ...] = (0,),
        variables: Mapping[str, str] | None = None,
        token: bool = True,
    ) -> Said:
        """A command of Airlock that somebody types; told, and checked to end as it should."""
        self.tell(who, " ".join(("airlock", *(f'"{word}"' if " " in word else word for word in words))))
        own = ("--token", self.people[who]) if token else ()
        said = await self.evidence.airlock(*words, *own, variables=variables)
        if said.exit not in exits:
            seen = f"{said.exit}: {said.out[-800:]} {said.err[-800:]}"
            raise Unexpected(f"airlock {' '.join(words[:2])} ends so", expected=exits, seen=seen)
        return said

    async def until(self, what: str, look: Callable[[Document], Any], path: str, *, who: str = "olga") -> Any:
        """What `look` finds in the answer of an address, once it finds something. Raises `Unexpected`."""
        last: Document = {}

        async def looked() -> tuple[bool, Any]:
            nonlocal last
            last = await self.ask(path, who=who)
            found = look(last)
            return bool(found), found

        found = await eventually_true(looked, within=PATIENCE)
        if not found:
            raise Unexpected(what, expected="it is so", seen=json.dumps(last)[:800])
        return found

    async def delivered(self, template: str, audience: str) -> Document:
        """The message as it arrived, once the engine has a receipt for it."""

        def receipt(told: Document) -> bool:
            return any(
                each["template"] == template and each["audience"] == audience and each["state"] == "sent"
                for each in told["messages"]
            )

        path = f"/api/v1/incidents/{self.incident}/comms"
        await self.until(f"{template} is delivered to {audience}", receipt, path)
        return next(
            each
            for each in reversed(self.place.inbox.messages)
            if (each["template"], each["audience"], each["incident"]) == (template, audience, self.incident)
        )
