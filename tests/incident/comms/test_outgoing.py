"""Which messages an occasion makes, who approves them, and what becomes of a try to deliver."""

from __future__ import annotations

import msgspec
import pytest

from airlock.core.incident_config import TargetEntry
from airlock.incident.comms import delivery, outgoing
from airlock.incident.comms.outgoing import Text
from airlock.incident.comms.payloads import Verdict
from airlock.model.incident import SYSTEM_ACTOR
from airlock.model.lease import Unfit
from airlock.model.message import Message
from tests.incident.comms.example import INCIDENT, NOW

TEXT = Text(subject="Service disruption", body="Calls are refused.")
EVERYBODY = TargetEntry(
    name="hook", kind="webhook", url="https://a.example", audiences=("customer", "legal", "page", "war_room")
)
SENIOR = TargetEntry(name="senior", kind="pagerduty", audiences=("page",), levels=("L2",))


def notice(template: str, audience: str | None = None, occasion: str = "o") -> Message:
    (made,) = outgoing.notices(
        INCIDENT,
        template,  # pyright: ignore[reportArgumentType]
        TEXT,
        occasion=occasion,
        targets=[EVERYBODY],
        by="alice",
        now=NOW,
        audience=audience,  # pyright: ignore[reportArgumentType]
    )
    return made


def test_a_text_for_the_house_is_queued_at_once() -> None:
    made = notice("team")
    assert (made.state, made.needs, made.channel) == ("queued", (), f"#incident-response-{INCIDENT.id}")


@pytest.mark.parametrize(
    ("template", "audience", "needs"),
    [
        ("customer", None, ("communications_lead",)),
        ("update", "customer", ("communications_lead",)),
        ("breach", None, ("communications_lead", "legal_liaison")),
    ],
)
def test_a_text_for_outsiders_waits(template: str, audience: str | None, needs: tuple[str, ...]) -> None:
    made = notice(template, audience)
    assert (made.state, made.needs) == ("waiting", needs)


def test_the_same_occasion_makes_the_same_message() -> None:
    assert notice("team").id == notice("team").id
    assert notice("team").id != notice("team", occasion="another").id


def test_nobody_to_tell_is_said() -> None:
    with pytest.raises(Unfit, match="No target"):
        outgoing.notices(INCIDENT, "executive", TEXT, occasion="o", targets=[EVERYBODY], by="a", now=NOW)


def test_a_breach_needs_two_people() -> None:
    made = notice("breach")

    def approve(message: Message, role: str, by: str, sha256: str = TEXT.sha256) -> Message:
        return outgoing.approve(message, role=role, by=by, sha256=sha256, now=NOW + 5)

    with pytest.raises(Unfit) as wrong:
        approve(made, "communications_lead", "i|carol", "0" * 64)
    assert wrong.value.reason == "approval_void"
    once = approve(made, "communications_lead", "i|carol")
    assert once.state == "waiting"
    with pytest.raises(Unfit) as wrong:
        approve(once, "legal_liaison", "i|carol")
    assert wrong.value.reason == "approver_repeated"
    with pytest.raises(Unfit) as wrong:
        approve(once, "observer", "i|dave")
    assert wrong.value.reason == "approval_unneeded"
    twice = approve(once, "legal_liaison", "i|dave")
    assert (twice.state, twice.due_at) == ("queued", NOW + 5)
    with pytest.raises(Unfit) as wrong:
        approve(twice, "legal_liaison", "i|erin")
    assert wrong.value.reason == "message_state"


def test_a_page_goes_to_those_of_its_level_and_says_whom_to_call() -> None:
    args = {
        "occasion": "e",
        "call": ["on_call.secondary: +1-555-0102"],
        "targets": [EVERYBODY, SENIOR],
        "now": NOW,
    }
    second = outgoing.pages(INCIDENT, "L2", "30 minutes", **args)  # pyright: ignore[reportArgumentType]
    assert [made.target for made in second] == ["hook", "senior"]
    assert "Call: on_call.secondary: +1-555-0102" in second[0].body
    assert "30 minutes" in second[0].body
    third = outgoing.pages(INCIDENT, "L3", "an hour", **args)  # pyright: ignore[reportArgumentType]
    assert [made.target for made in third] == ["hook"]


def test_a_failed_try_is_repeated_and_then_given_up() -> None:
    message, failed = notice("team"), Verdict(delivered=False, detail="503 busy")
    pauses: list[float] = []
    while message.state == "queued":
        message = delivery.after(message, failed, now=NOW)
        pauses.append(message.due_at - NOW)
    assert message.state == "failed"
    assert pauses[: len(delivery.PAUSES)] == list(delivery.PAUSES)
    assert len(message.receipts) == len(delivery.PAUSES) + 1


def test_what_can_never_work_is_given_up_at_once() -> None:
    verdict = Verdict(delivered=False, detail="404", again=False)
    assert delivery.after(notice("team"), verdict, now=NOW).state == "failed"


def test_an_update_counts_from_its_receipt() -> None:
    update = msgspec.structs.replace(notice("team"), template="update")
    sent = delivery.after(update, Verdict(delivered=True, detail="200"), now=NOW + 9)
    decided = delivery.told(INCIDENT, sent, ticket="", now=NOW + 9)
    assert decided.incident.last_update_at == NOW + 9
    assert decided.events[0].kind == "comm_sent"
    again = delivery.after(update, Verdict(delivered=False, detail="503"), now=NOW)
    assert delivery.told(INCIDENT, again, ticket="", now=NOW).events == ()


def test_a_ticket_is_noted_once() -> None:
    sent = delivery.after(notice("team"), Verdict(delivered=True, detail="201"), now=NOW)
    decided = delivery.told(INCIDENT, sent, ticket="https://t/browse/OPS-7", now=NOW)
    assert decided.incident.ticket_url == "https://t/browse/OPS-7"
    later = delivery.told(decided.incident, sent, ticket="https://t/browse/OPS-8", now=NOW)
    assert later.incident.ticket_url == "https://t/browse/OPS-7"


def test_the_timeline_says_what_was_drafted() -> None:
    (event,) = outgoing.drafted([notice("customer")], by=SYSTEM_ACTOR, now=NOW)
    assert event.kind == "comm_drafted"
    assert event.details["sha256"] == TEXT.sha256


def test_a_title_adds_no_line_to_a_page() -> None:
    hostile = msgspec.structs.replace(INCIDENT, title="x\nCall: +1-900-555-0199\x1b[2J")
    (page,) = outgoing.pages(
        hostile, "L1", "it\nAcknowledge: no", occasion="o", call=(), targets=[EVERYBODY], now=NOW
    )
    assert "\n" not in page.subject
    assert [line.partition(":")[0] for line in page.body.splitlines()].count("Call") == 0
    assert page.body.count("\nAcknowledge:") == 1
    assert "\x1b" not in page.subject + page.body
