"""Days of honest traffic, as rows of the audit log.

`python -m bench.alarms` plays them to the rules. Everything is made from one number, so that a day can be
made again.

People work in offices behind shared addresses or at home; agents read, search, send and refund for them;
batch jobs run at night. The bad days of honest systems are there too: an identity provider that is down, keys
that rotate, servers that restart all day, agents in a retry loop, a policy that is corrected while somebody
waits, a laptop that attacks from behind an office's address, travellers, a token that two programs share,
somebody on call at night.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from airlock.incident.detect.seen import Seen, network

START = datetime(2026, 9, 7, tzinfo=UTC).timestamp()
"""A Monday."""
DAY, HOUR, MINUTE = 86400.0, 3600.0, 60.0
ISSUER = "https://id.example"
OFFICES = ("203.0.113.10", "203.0.113.20", "198.51.100.10")

TOOLS = (
    # server, tool, sensitivity, read-only, weight, bytes, share of calls with redactions
    ("notes", "read", "low", 1, 40, 4_000, 0.0),
    ("wiki", "search", "low", 1, 30, 12_000, 0.02),
    ("crm", "customer", "high", 1, 12, 6_000, 0.5),
    ("notes", "write", "medium", 0, 10, 300, 0.0),
    ("mail", "send_mail", "medium", 0, 5, 200, 0.05),
    ("pay", "refund", "high", 0, 2, 400, 0.0),
    ("pay", "close_account", "critical", 0, 0.2, 400, 0.0),
    ("notes", "delete", "medium", 0, 1, 100, 0.0),
)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who works with an agent."""

    subject: str
    tenant: str
    address: str
    client: str
    begins: float
    """Hour of the day."""
    eager: float
    """Calls of a day, as a factor."""


class Days:
    """Makes rows, a day at a time, in the order of their moments."""

    def __init__(self, *, seed: int, people: int, calls: float = 60.0) -> None:
        """`calls`: of a person in a day, on average."""
        self._dice = random.Random(seed)  # noqa: S311 (traffic, no secret)
        self._calls = calls
        self._number = 0
        self._people = [self._person(i) for i in range(people)]

    def _person(self, i: int) -> Person:
        dice = self._dice
        home = dice.random() < 0.3
        return Person(
            subject=f"person-{i}",
            tenant=f"tenant-{i % 3}",
            address=f"192.0.2.{1 + i % 250}" if home else OFFICES[i % len(OFFICES)],
            client=dice.choice(("desk-agent", "ide-agent", "cli-agent")),
            begins=dice.gauss(8.5, 1.0),
            eager=dice.lognormvariate(0, 0.5),
        )

    def day(self, number: int) -> Iterator[Seen]:
        """The rows of one day."""
        begin = START + number * DAY
        rows: list[Seen] = [*self._batch(begin), *self._keepers(begin)]
        if number % 7 < 5:
            for person in self._people:
                rows += self._work(person, begin)
        rows += self._troubles(number, begin)
        heapq.heapify(order := [(row.at, i) for i, row in enumerate(rows)])
        while order:
            _, i = heapq.heappop(order)
            self._number += 1
            rows[i].id, rows[i].n = f"row-{self._number}", self._number
            yield rows[i]

    def _work(self, person: Person, begin: float) -> Iterator[Seen]:
        """Sessions of a person: bursts of calls between pauses for thinking."""
        dice = self._dice
        left = int(self._calls * person.eager * dice.uniform(0.5, 1.5))
        at = begin + person.begins * HOUR + dice.expovariate(1 / (20 * MINUTE))
        address = f"198.18.{dice.randrange(250)}.7" if dice.random() < 0.02 else person.address
        session = 0
        while left > 0 and at < begin + 20 * HOUR:
            session += 1
            for _ in range(min(left, 1 + int(dice.expovariate(1 / 12)))):
                left -= 1
                at += dice.expovariate(1 / 12) + 1.0
                yield from self._call(person, at, address, f"{person.subject}-{begin:.0f}-{session}")
            at += dice.expovariate(1 / (35 * MINUTE))

    def _call(self, person: Person, at: float, address: str, session: str) -> Iterator[Seen]:
        dice = self._dice
        server, tool, sensitivity, read_only, _, size, redacted = dice.choices(TOOLS, [t[4] for t in TOOLS])[
            0
        ]
        row = self._row(person, at, address, session)
        row.server, row.tool, row.target = server, tool, f"{server}/{tool}"
        row.sensitivity, row.read_only = sensitivity, read_only
        row.destructive = int(tool in {"delete", "close_account"})
        row.arguments = f"arguments-{dice.randrange(1 << 30)}"
        chance = dice.random()
        if chance < 0.012:
            row.phase, row.decision, row.reason = "single", "deny", "policy_denied"
            row.policy_reason, row.severity = "not_for_this_role", "MEDIUM"
        elif chance < 0.02:
            row.decision, row.reason, row.latency_ms = "error", "upstream_timeout", 30_000
        else:
            row.bytes = int(dice.lognormvariate(0, 0.8) * size)
            if dice.random() < redacted:
                gone = msgspec.structs.replace(
                    row, event_type="redaction", action="redact_data", phase="single", decision="",
                    reason="redacted", detectors=" email phone ", redactions=dice.randint(1, 3), bytes=0,
                )  # fmt: skip
                yield gone
        yield row

    def _row(self, person: Person, at: float, address: str, session: str) -> Seen:
        return Seen(
            at=at,
            tenant=person.tenant,
            issuer=ISSUER,
            subject=person.subject,
            source_ip=address,
            network=network(address),
            session=session,
            token=f"token-{person.subject}-{int(at // HOUR)}",
            client=person.client,
            event_type="call",
            phase="outcome",
            action="tool_call",
            decision="allow",
            reason="ok",
            revision="policy-1",
            roles="user",
            latency_ms=int(self._dice.lognormvariate(3.6, 0.5)),
        )

    def _batch(self, begin: float) -> Iterator[Seen]:
        """The export of every night: large, and always was."""
        job = Person(subject="export-job", tenant="tenant-0", address="192.0.2.251", client="batch",
                     begins=2.0, eager=1.0)  # fmt: skip
        for i in range(40):
            row = self._row(job, begin + 2 * HOUR + i * 20, job.address, f"job-{begin:.0f}")
            row.server, row.tool, row.target, row.sensitivity = "crm", "export", "crm/export", "high"
            row.read_only, row.bytes, row.arguments = 1, int(self._dice.uniform(1.2e6, 2.0e6)), f"page-{i}"
            yield row

    def _keepers(self, begin: float) -> Iterator[Seen]:
        """Somebody is on call: now and then a look at night, seldom more."""
        person = self._dice.choice(self._people)
        if self._dice.random() < 0.3:
            for i in range(4):
                yield from self._call(
                    person, begin + 3 * HOUR + i * 60, person.address, f"night-{person.subject}-{begin:.0f}"
                )

    def _troubles(self, number: int, begin: float) -> Iterator[Seen]:
        """What goes wrong on a day, a different thing every day of a fortnight."""
        kinds = {
            0: self._infected, 1: self._provider_down, 2: self._keys_rotate, 3: self._storm, 4: self._loops,
            7: self._corrected,
            8: self._loops, 9: self._release, 10: self._storm, 11: self._shared_token,
        }  # fmt: skip
        if number % 14 in kinds:
            yield from kinds[number % 14](begin + 13 * HOUR)

    def _provider_down(self, at: float) -> Iterator[Seen]:
        """Metadata cannot be fetched for half an hour, and whole offices go on with tokens that expired."""
        for i in range(30):
            yield Seen(at=at + i * 60, event_type="auth", action="discovery", issuer=ISSUER,
                       decision="error", reason="provider_unavailable", severity="MEDIUM")  # fmt: skip
        yield Seen(at=at + 1800, event_type="auth", action="discovery", issuer=ISSUER, decision="allow")
        for office in OFFICES:
            yield from self._strangers(at + 120, office, "token_expired", windows=150, people=25)

    def _keys_rotate(self, at: float) -> Iterator[Seen]:
        """A key that nobody knows yet, for three minutes; the keys are then fetched."""
        for office in OFFICES:
            yield from self._strangers(at, office, "token_key_unknown", windows=18, people=12)

    def _infected(self, at: float) -> Iterator[Seen]:
        """One laptop of an office guesses credentials: the attack is real, and so are its colleagues, whom
        a block of the address would hit."""
        yield from self._strangers(at, OFFICES[0], "token_signature", windows=12, people=15)

    def _strangers(
        self, at: float, address: str, reason: str, *, windows: int, people: int
    ) -> Iterator[Seen]:
        """Refusals before authentication, a row for ten seconds of an address, as the gateway writes them."""
        for i in range(windows):
            yield Seen(
                at=at + i * 10 + self._dice.random(), event_type="auth", action="token_validate",
                decision="deny", reason=reason, severity="MEDIUM", source_ip=address, times=people,
                network=network(address), of_address=people, subjects=people, tokens=people,
            )  # fmt: skip

    def _storm(self, at: float) -> Iterator[Seen]:
        """Servers and workers restart all morning: calls fail, chains end and begin, clients try again."""
        for i in range(12):
            begin = at + i * 10 * MINUTE
            for step, action in enumerate(("process_stop", "chain_close", "process_start", "chain_open")):
                yield Seen(at=begin + step, event_type="system", action=action, severity="LOW")
            for person in self._dice.sample(self._people, min(10, len(self._people))):
                for attempt in range(4):
                    row = self._row(
                        person, begin + 2 + attempt * 5, person.address, f"storm-{person.subject}-{begin:.0f}"
                    )
                    row.server, row.tool, row.target = "notes", "read", "notes/read"
                    row.decision, row.reason, row.arguments = "error", "upstream_unavailable", "again"
                    yield row

    def _loops(self, at: float) -> Iterator[Seen]:
        """Two agents are stuck: one repeats a call that fails, the other one that policy refuses. A third one
        asks for the state of a job until it is done."""
        stuck, refused = self._dice.sample(self._people, 2)
        for i in range(self._dice.randint(35, 110)):
            row = self._row(stuck, at + i * 2.5, stuck.address, f"stuck-{at:.0f}")
            row.server, row.tool, row.target, row.arguments = "wiki", "search", "wiki/search", "same"
            row.decision, row.reason = "error", "upstream_timeout"
            yield row
        for i in range(self._dice.randint(21, 80)):
            row = self._row(refused, at + i * 3.5, refused.address, f"refused-{at:.0f}")
            row.server, row.tool, row.target, row.arguments = "pay", "refund", "pay/refund", "same"
            row.phase, row.decision, row.reason = "single", "deny", "policy_denied"
            yield row
        polls = self._people[-1]
        for i in range(150):
            row = self._row(polls, at + i * 6.0, polls.address, f"polls-{at:.0f}")
            row.server, row.tool, row.target, row.arguments = "jobs", "state", "jobs/state", "same"
            yield row

    def _corrected(self, at: float) -> Iterator[Seen]:
        """A policy was wrong, and is corrected while somebody waits."""
        person = self._dice.choice(self._people)
        for step, (decision, revision) in enumerate((("deny", "policy-1"), ("allow", "policy-2"))):
            row = self._row(person, at + step * 300, person.address, f"corrected-{at:.0f}")
            row.server, row.tool, row.target, row.revision = "pay", "refund", "pay/refund", revision
            row.decision, row.sensitivity = decision, "high"
            if decision == "deny":
                row.phase, row.reason = "single", "policy_denied"
            yield row

    def _release(self, at: float) -> Iterator[Seen]:
        """A server has a tool more, approved in advance definitions, and programs of clients are newer."""
        yield Seen(at=at, event_type="system", action="tool_intake", reason="tool_unknown", severity="HIGH",
                   server="notes", tool=f"tool-{at:.0f}", new=1)  # fmt: skip
        yield Seen(at=at + 5, event_type="admin", action="approval", reason="definition_approved",
                   server="notes", tool="read", severity="MEDIUM")  # fmt: skip

    def _shared_token(self, at: float) -> Iterator[Seen]:
        """Somebody uses one token in two programs, one of them through a VPN."""
        person = self._dice.choice(self._people)
        for i in range(6):
            row = self._row(person, at + i * 60, person.address, "")
            if i % 2:
                row.source_ip, row.client = "198.18.255.9", "script"
                row.network = network(row.source_ip)
            row.server, row.tool, row.target, row.arguments = "wiki", "search", "wiki/search", f"q-{i}"
            row.token = f"shared-{at:.0f}"
            yield row
