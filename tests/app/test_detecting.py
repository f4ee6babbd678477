"""The engine over a real log: from rows to alerts, incidents and leases; over crashes and another log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from airlock.app import alerting as module
from airlock.app.alerting import Alerting
from airlock.app.detecting import Detecting
from airlock.app.incident_facts import gather
from airlock.core import log as logs
from airlock.core.config import Config, IssuerEntry
from airlock.core.errors import Fault, Stage
from airlock.incident import alerts as states
from airlock.incident import declaring, lifecycle
from airlock.incident.detect import facts
from airlock.incident.occasion import Facts, Occasion
from airlock.incident.orders import Declare, Mitigate, Open
from airlock.model.detection import Setting
from airlock.model.entry import Event, Personal
from airlock.model.incident import Actor, Alert, Finding, Incident
from airlock.model.lease import Lease, Selector
from airlock.store import alerts, cursors, incidents, leases, rule_settings
from airlock.store import proposals as kept
from airlock.store.changes import INCIDENTS
from airlock.store.database import Store, open_store
from tests.audit.conftest import Log
from tests.gateway.parts import until

ATTACKER = "203.0.113.7"
PROVIDER = "https://id.example"
CHANGED = Event(event_type="admin", action="config_change", reason="rule_changed")


def stuffing(subjects: range = range(12), address: str = ATTACKER, reason: str = "token_signature") -> Event:
    marks = list(subjects)
    return Event(
        event_type="auth", action="token_validate", decision="deny", reason=reason,
        metadata={
            "count": len(marks), "prefix": 24, "of_address": len(marks), "subjects": len(marks),
            "tokens": len(marks), "subject_marks": marks, "token_marks": marks,
        },
        personal=Personal(source_ip=address),
    )  # fmt: skip


def served(subject: str, address: str) -> Event:
    return Event(
        event_type="call", phase="outcome", action="tool_call", decision="allow", reason="ok", tenant="acme",
        server_id="notes", tool_name="read", metadata={"read_only": True, "sensitivity": "low"},
        personal=Personal(subject=subject, issuer="https://id.example", source_ip=address),
    )  # fmt: skip


class House:
    """An engine's follower over a log that a test writes."""

    def __init__(self, path: Path, **incident: Any) -> None:
        self.path = path
        self.log = Log(path)
        self.log.fill(0)
        self.log.project()
        self.store: Store = open_store(path / "store.db")
        section = msgspec.structs.replace(Config().incident, **incident)
        auth = msgspec.structs.replace(Config().auth, issuers=(IssuerEntry(issuer=PROVIDER),))
        self.config = Config(data_dir=str(path), incident=section, auth=auth)
        self.looks = 0
        self.again()

    def again(self) -> None:
        """Another process takes over."""
        self.alerting = Alerting(
            config=self.config, store=self.store, tell_look=self._look, clock=self.log.clock,
            log=logs.get("incident"),
        )  # fmt: skip
        self.loop = Detecting(
            data=self.path, store=self.store, alerting=self.alerting, clock=self.log.clock,
            log=logs.get("incident"),
        )  # fmt: skip

    def _look(self) -> None:
        self.looks += 1

    def happen(self, *events: Event) -> None:
        """Rows are written, and the engine follows."""
        self.log.clock.forward(1)
        self.log.append(*events)
        self.log.project()
        asyncio.run(self.follow())

    async def follow(self) -> None:
        """Until nothing is left to read."""
        while True:
            wait = await self.loop.step()
            if wait:
                return

    def alerts(self) -> list[Alert]:
        return alerts.listing(self.store)

    def leases(self) -> list[Lease]:
        return leases.listing(self.store, now=self.log.clock.wall())

    def incident(self) -> Incident:
        (found,) = incidents.listing(self.store)
        return found

    def set(self, rule: str, setting: Setting) -> None:
        now = self.log.clock.wall()
        rule_settings.put(self.store, rule=rule, tenant="", setting=setting, event=CHANGED, now=now)

    def close(self) -> None:
        asyncio.run(self.loop.close())
        self.store.close()
        self.log.release()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


def test_an_attack_is_an_alert_an_incident_and_a_block(house: House) -> None:
    house.happen(stuffing())
    (alert,) = [each for each in house.alerts() if each.finding.rule == "MCP-002"]
    assert alert.state == "DECLARED"
    assert alert.event_ids
    record = house.incident()
    assert (record.id, record.status, record.severity) == (alert.incident, "TRIAGE", "P1")
    (lease,) = house.leases()
    assert (lease.selector.cidr, lease.origin, lease.actor) == (f"{ATTACKER}/32", "detector", "MCP-002")
    assert lease.incident == record.id
    assert house.looks == 1


def test_what_goes_on_folds_and_contains_once(house: House) -> None:
    for n in range(3):
        house.log.clock.forward(11)
        house.happen(stuffing(range(n, n + 12)))
    assert {each.finding.rule: each.count for each in house.alerts()}["MCP-002"] == 3
    assert len(house.leases()) == 1
    assert len(incidents.listing(house.store)) == 1


def test_an_address_with_people_behind_it_is_proposed_once(house: House) -> None:
    house.happen(served("ada", ATTACKER), served("bob", ATTACKER), stuffing())
    house.log.clock.forward(11)
    house.happen(stuffing(range(5, 20)))
    assert house.leases() == []
    waiting = [each for each in kept.listing(house.store) if each.order.action == "ip.block"]
    assert len(waiting) == 1
    assert "2 principals called from this address within 24 h" in waiting[0].order.reason
    assert waiting[0].by == Actor(type="detector", id="MCP-002")


def test_an_agent_in_a_loop_is_proposed_to_be_slowed_and_is_once_it_runs_away(house: House) -> None:
    looping = served("loop", "192.0.2.9")
    house.happen(*([looping] * 40))
    assert house.leases() == []
    (waiting,) = [each for each in kept.listing(house.store) if each.state == "PROPOSED"]
    assert "the confidence is medium" in waiting.order.reason
    assert waiting.needs == "B"

    house.happen(*([looping] * 120))
    (lease,) = house.leases()
    assert (lease.action, lease.origin, lease.actor) == ("ratelimit.tighten", "detector", "MCP-020")
    assert lease.selector == Selector(
        per_token="10/min", tenant="acme", issuer="https://id.example", subject="loop"
    )
    assert house.looks == 1
    house.log.clock.forward(11)
    house.happen(*([looping] * 40))
    assert len(house.leases()) == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [({"auto_contain": ()}, "not approved in advance"), ({}, "mode monitor")],
)
def test_an_unprepared_or_watching_rule_only_proposes(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    house = House(tmp_path, **more)
    if not more:
        house.set("MCP-002", Setting(mode="monitor"))
        house.set("MCP-003", Setting(mode="inactive"))
    house.happen(stuffing())
    assert house.leases() == []
    assert why in kept.listing(house.store)[0].order.reason
    house.close()


def test_a_rule_that_is_inactive_says_nothing(house: House) -> None:
    for rule in ("MCP-002", "MCP-003"):
        house.set(rule, Setting(mode="inactive"))
    house.happen(stuffing(range(40)))
    assert house.alerts() == []


def test_thresholds_of_an_operator_count_without_a_restart(house: House) -> None:
    house.happen(stuffing(range(5)))
    assert house.alerts() == []
    house.set("MCP-002", Setting(thresholds={"subjects": 3}))
    house.happen(stuffing(range(4)))
    assert [each.finding.rule for each in house.alerts()] == ["MCP-002"]


def test_while_keys_cannot_be_fetched_nothing_is_contained_by_itself(house: House) -> None:
    failing = Event(
        event_type="auth", action="discovery", decision="error", reason="provider_timeout",
        metadata={"issuer": PROVIDER},
    )  # fmt: skip
    house.happen(failing)
    asyncio.run(house.loop.close())
    house.again()
    house.happen(stuffing())
    assert house.leases() == []
    assert any("MCP-026" in each.order.reason for each in kept.listing(house.store))


def test_a_provider_that_was_given_up_while_it_failed_stops_no_containment(house: House) -> None:
    failing = Event(
        event_type="auth", action="discovery", decision="error", reason="provider_timeout",
        metadata={"issuer": "https://given-up.example"},
    )  # fmt: skip
    house.happen(failing, stuffing())
    assert [lease.origin for lease in house.leases()] == ["detector"]


@pytest.mark.parametrize(
    "change",
    [
        "metadata = '{\"count\": 99999999999999999999999}'",
        "metadata = '{\"of_address\": -9223372036854775808}'",
        "latency_ms = 9223372036854775807, timestamp = '9999-12-31T23:59:59.999999'",
        "metadata = CAST(x'ff7b' AS TEXT), reason = CAST(x'80' AS TEXT), tool_name = x'00'",
    ],
)
def test_a_row_that_a_foreign_hand_spoilt_stops_nobody(house: House, change: str) -> None:
    house.log.append(served("ann", "198.51.100.9"), stuffing(range(4), "198.51.100.8"))
    house.log.project()
    house.log.tamper(f"UPDATE audit_log SET {change}")  # noqa: S608 - a test that plays a foreign hand
    house.happen(stuffing())
    assert "MCP-002" in {each.finding.rule for each in house.alerts()}
    assert len(house.leases()) == 1


def test_a_row_at_which_a_rule_breaks_is_left_and_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = facts.fact

    def broken(row: Sequence[Any]) -> facts.Fact | None:
        found = usual(row)
        if found is not None and found.seen.subject == "ann":
            raise RuntimeError("of this row")
        return found

    monkeypatch.setattr(facts, "fact", broken)
    with capture_logs() as lines:
        house.happen(served("ann", "198.51.100.9"), stuffing())
    assert [line["detail"] for line in lines if line["event"] == "detection_row_left"] == [
        "RuntimeError('of this row')"
    ]
    assert len(house.leases()) == 1


def test_an_alert_that_cannot_be_answered_keeps_no_other_from_its_answer(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = declaring.placed

    def broken(store: Store, alert: Alert, *rest: Any, **more: Any) -> Alert:
        if alert.finding.rule == "MCP-002":
            raise KeyError("unforeseen")
        return usual(store, alert, *rest, **more)

    monkeypatch.setattr(module.declaring, "placed", broken)
    with capture_logs() as lines:
        house.happen(stuffing(range(40)))
    assert {line["detail"] for line in lines if line["event"] == "alert_unanswered"} == {
        "KeyError('unforeseen')"
    }
    assert {each.finding.rule for each in house.alerts()} == {"MCP-002", "MCP-003"}
    assert [lease.actor for lease in house.leases()] == ["MCP-003"]


def test_without_a_log_detection_says_so_and_goes_on_when_it_is_there(house: House) -> None:
    """The loop itself, ended and begun again as the engine does with one that failed."""
    path = house.path / "audit.db"

    async def run(condition: Callable[[], bool]) -> None:
        running = asyncio.create_task(house.loop.run())
        await until(condition, within=30)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    path.rename(house.path / "elsewhere.db")
    asyncio.run(run(lambda: house.loop.trouble != ""))
    assert house.loop.trouble == "there is no audit.db"
    (house.path / "elsewhere.db").rename(path)
    asyncio.run(run(lambda: house.loop.trouble == ""))


def test_the_gateways_own_machine_is_not_blocked(house: House) -> None:
    house.happen(stuffing(address="127.0.0.1"))
    assert house.leases() == []
    assert any("loopback" in each.order.reason for each in kept.listing(house.store))


def test_without_leave_no_incident_begins(tmp_path: Path) -> None:
    house = House(tmp_path, auto_open=False)
    house.happen(stuffing())
    assert incidents.listing(house.store) == []
    assert {each.state for each in house.alerts()} == {"NEW"}
    assert len(house.leases()) == 1
    house.close()


def test_a_crash_repeats_nothing_and_forgets_nothing(house: House) -> None:
    house.happen(stuffing(range(6)))
    house.happen(stuffing(range(20, 40), address="198.51.100.9"))
    before = {each.id: each.count for each in house.alerts()}
    asyncio.run(house.loop.close())
    house.again()
    house.happen(served("ada", "192.0.2.1"))
    assert {each.id: each.count for each in house.alerts()} == before
    house.happen(stuffing(range(6, 12)))  # with what was there before the crash it is enough
    assert ATTACKER in {each.finding.group["source_ip"] for each in house.alerts()}


def test_an_alert_that_nobody_answered_is_answered_by_the_next_start(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crash:
        crash.setattr(module.declaring, "placed", _dies)
        with pytest.raises(Fault):
            house.happen(stuffing())
    assert [each.state for each in house.alerts() if each.finding.rule == "MCP-002"] == ["NEW"]
    asyncio.run(house.loop.close())
    house.again()
    asyncio.run(house.alerting.catch_up())
    assert house.incident().rules[0] in ("MCP-002", "MCP-003")
    assert len(house.leases()) == 1


def _dies(*_: object, **__: object) -> Alert:
    raise Fault(Stage.ADMIT, 50302, "control_unavailable", "No.")


def test_another_log_is_read_from_its_own_last_minutes_on(house: House) -> None:
    house.happen(stuffing())
    known = {each.id: each.count for each in house.alerts()}
    content = house.log.path.read_bytes()
    house.log.path.unlink()
    for each in ("-wal", "-shm"):
        Path(f"{house.log.path}{each}").unlink(missing_ok=True)
    assert asyncio.run(house.loop.step()) > 0.5
    house.log.path.write_bytes(content)
    asyncio.run(house.follow())
    assert {each.id for each in house.alerts()} >= known.keys()


def test_a_quiet_log_moves_the_place_now_and_then(house: House) -> None:
    house.happen(served("ada", "192.0.2.1"))
    first = cursors.cursor(house.store, cursors.DETECT)
    house.log.clock.forward(10)
    house.happen(served("ada", "192.0.2.1"))
    second = cursors.cursor(house.store, cursors.DETECT)
    assert first is not None
    assert second is not None
    assert second.n > first.n
    assert second.at > first.at


def test_the_loop_survives_a_log_that_cannot_be_read_and_says_it_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    (tmp_path / "audit.db").unlink(missing_ok=True)
    (tmp_path / "audit.db").write_bytes(b"this is no database" * 100)

    async def scenario() -> None:
        running = asyncio.create_task(house.loop.run())
        async with asyncio.timeout(30):
            while not [each for each in said if each["event"] == "detection_stale"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    with capture_logs() as said:
        asyncio.run(scenario())
    assert len([each for each in said if each["event"] == "detection_stale"]) == 1
    house.store.close()
    house.log.release()


def found(house: House, **more: Any) -> Finding:
    now = house.log.clock.wall()
    told: dict[str, Any] = {
        "rule": "MCP-002", "severity": "P1", "group": {"source_ip": ATTACKER}, "summary": "stuffing",
        "since": now - 1, "until": now, **more,
    }  # fmt: skip
    return Finding(**told)


def hand_over(house: House, *findings: Finding) -> Sequence[Alert]:
    asyncio.run(house.alerting.found(findings))
    return house.alerts()


def test_a_label_attaches_and_opens_again(house: House) -> None:
    (alert,) = hand_over(house, found(house))
    now = house.log.clock.wall()
    who = Occasion(actor=Actor(type="human", id="bob"), now=now, facts=Facts(containments=1))
    with house.store.change(INCIDENTS) as change:
        incidents.change(
            change, alert.incident, lambda it: lifecycle.declare(it, Declare(commander="bob"), who)
        )
        incidents.change(
            change, alert.incident, lambda it: lifecycle.mitigate(it, Mitigate(action="blocked"), who)
        )
    labelled = found(house, rule="DiskFull", group={"instance": "a"}, labels={"incident": alert.incident})
    hand_over(house, labelled)
    assert house.incident().status == "INVESTIGATING"
    unknown = found(house, rule="Other", confidence="medium", group={}, labels={"incident": "INC-0"})
    hand_over(house, unknown)
    assert {each.finding.rule: each.state for each in house.alerts()}["Other"] == "NEW"


def mitigated(house: House, id: str) -> None:
    now = house.log.clock.wall()
    who = Occasion(actor=Actor(type="human", id="bob"), now=now, facts=Facts(containments=1))
    with house.store.change(INCIDENTS) as change:
        incidents.change(change, id, lambda it: lifecycle.declare(it, Declare(commander="bob"), who))
        incidents.change(change, id, lambda it: lifecycle.mitigate(it, Mitigate(action="blocked"), who))


def test_somebody_else_opens_no_incident_again_of_which_the_harm_is_over(house: House) -> None:
    hand_over(house, found(house))
    first = house.incident()
    mitigated(house, first.id)
    house.log.clock.forward(1)
    hand_over(house, found(house, group={"source_ip": "192.0.2.99"}))
    status = {each.id: each.status for each in incidents.listing(house.store)}
    assert status.pop(first.id) == "MONITORING"
    assert list(status.values()) == ["TRIAGE"]
    hand_over(house, found(house, rule="MCP-003", group={"source_ip": ATTACKER}))
    assert {each.id: each.status for each in incidents.listing(house.store)}[first.id] == "INVESTIGATING"


@pytest.mark.parametrize("how", ["declare", "attach"])
def test_what_was_contained_before_belongs_to_the_incident_that_the_alert_joins(
    house: House, how: str
) -> None:
    mine = found(house, severity="P2")  # not grave enough to begin an incident by itself
    (alert,) = hand_over(house, mine)
    (lease,) = house.leases()
    assert (alert.incident, lease.incident) == ("", "")
    other = leases.activate(
        house.store, action="ip.block", selector=Selector(cidr="192.0.2.50/32"), ttl=600, reason="r",
        actor="MCP-002", origin="detector", now=house.log.clock.wall(),
    ).lease  # fmt: skip
    bob, now = Actor(type="human", id="bob"), house.log.clock.wall()
    if how == "declare":
        after = declaring.declare(house.store, alert.id, "Stuffing", bob, now=now)
    else:
        order = Open(type="security_incident", detection_source="user_report")
        with house.store.change(INCIDENTS) as change:
            record = declaring.begun(change, order, Occasion(actor=bob, now=now))
        after = declaring.attach(house.store, alert.id, record.id, bob, now=now)
    assert {each.id: each.incident for each in house.leases()} == {lease.id: after.incident, other.id: ""}
    record = house.incident()
    facts = gather(house.store, record, house.log.clock.wall(), data=house.path)
    assert [each.id for each in facts.leases] == [lease.id]  # the guards count it


def test_an_alert_that_gets_graver_takes_its_incident_along(house: House) -> None:
    hand_over(house, found(house))
    hand_over(house, found(house, severity="P0"))
    assert house.incident().severity == "P0"


def test_without_a_log_to_ask_nothing_is_contained_by_itself(house: House) -> None:
    house.log.path.unlink()
    hand_over(house, found(house))
    assert house.leases() == []
    assert "the audit log cannot be asked" in kept.listing(house.store)[0].order.reason


def test_a_suppressed_alert_is_not_answered(house: House) -> None:
    (alert,) = hand_over(house, found(house, confidence="low"))
    until = house.log.clock.wall() + 60
    alerts.change(
        house.store, alert.id, lambda it: states.suppress(it, until, "bob", until - 60), actor="bob",
        word="alert_suppressed", now=until - 60,
    )  # fmt: skip
    hand_over(house, found(house))
    assert incidents.listing(house.store) == []
    assert house.leases() == []


def test_a_second_one_in_the_same_second_has_an_id_of_its_own(house: House) -> None:
    hand_over(house, found(house), found(house, rule="MCP-024", group={"component": "policy"}, tenant="x"))
    assert len({each.id for each in incidents.listing(house.store)}) == 2


def test_a_hundred_thousand_findings_are_few_alerts(house: House) -> None:
    flood = [found(house, rule="MCP-018", group={"subject": f"s-{n}"}) for n in range(100_000)]
    with house.store.change(INCIDENTS) as change:
        made = alerts.fold(
            change, flood, lambda before, it: states.folded(before, it, 0.0, it.group.get("subject", "o")),
            states.fingerprint, now=house.log.clock.wall(),
        )  # fmt: skip
    assert len(made) == alerts.MOST_NEW + 1


def test_an_alert_that_ended_meanwhile_stays_where_it_is(house: House) -> None:
    (alert,) = hand_over(house, found(house, confidence="low"))
    now = house.log.clock.wall()
    alerts.change(
        house.store, alert.id, lambda it: states.dismiss(it, "benign", "bob", now), actor="bob",
        word="alert_dismissed", now=now,
    )  # fmt: skip
    dismissed = alerts.get(house.store, alert.id)
    assert dismissed is not None
    who = Actor(type="detector", id="MCP-002")
    placed = declaring.placed(house.store, dismissed, lambda rule: rule, begin=True, actor=who, now=now)
    assert placed == dismissed
