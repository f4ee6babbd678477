"""What becomes a row, in which words, and what stays out of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import (
    AuditFault,
    Effect,
    Fault,
    PolicyFault,
    Refused,
    Rejected,
    Stage,
    Unauthenticated,
    UpstreamFault,
)
from airlock.gateway import marks
from airlock.gateway.record import Record
from airlock.gateway.strangers import Strangers
from airlock.gateway.words import reason_of
from airlock.model.call import Admitted, Authenticated, Findings, Identified, Reached, Redacted, Reply
from airlock.model.decision import Obligations
from airlock.model.entry import Event, Personal
from airlock.model.principal import Principal
from airlock.policy.facts import Facts
from tests.gateway.parts import (
    MODERN_CLIENT,
    NOW,
    FakeLog,
    HandClock,
    House,
    allowed,
    authenticated,
    call_message,
    identified,
    inbound,
    redacted,
    redactors,
    registered,
    routed,
    sealer,
    snapshot,
)
from tests.gateway.secrets_parts import EMAIL, GITHUB

DENIED = Refused(Stage.AUTHORIZE, 40301, "policy_denied", "No.", policy_reason="not_today")
REPLY = Reply(body=b'{"jsonrpc":"2.0"}', upstream_bytes=123)


class Desk:
    """A record with its log."""

    def __init__(self, *, intent: str = "effects", inputs: str = "full") -> None:
        self.clock = HandClock()
        self.announced: list[tuple[dict[str, int], str, str]] = []
        self.log = FakeLog([])
        self.record = Record(
            log=self.log,
            strangers=Strangers(log=self.log, clock=self.clock),
            clock=self.clock,
            sealer=sealer(),
            intent=cast("Any", intent),
            inputs=cast("Any", inputs),
            all_requests=False,
            redactors=redactors(),
            announce=self.announce,
        )

    def announce(self, found: Findings, tool: str, request_id: str) -> None:
        self.announced.append((found.counts, tool, request_id))

    def refuse(self, reached: Reached, failure: Refused | Fault = DENIED) -> Event:
        asyncio.run(self.record.refuse(reached, failure))
        return self.log.events[-1]


def sensitive(**more: Any) -> Any:
    at = snapshot(registered("docs", **more))
    return redacted(allowed(routed(identified(caller=authenticated(at=at)))))


@pytest.mark.parametrize(
    ("entry", "intent", "written"),
    [
        ({"sensitivity": "low", "read_only": True}, "effects", 0),
        ({"sensitivity": "low", "read_only": False}, "effects", 1),
        ({"sensitivity": "medium", "read_only": True}, "effects", 1),
        ({"sensitivity": "low", "read_only": True}, "all", 1),
    ],
)
def test_which_calls_have_an_intent(entry: dict[str, Any], intent: str, written: int) -> None:
    desk = Desk(intent=intent)
    asyncio.run(desk.record.intend(sensitive(**entry)))
    assert [event.phase for event in desk.log.events] == ["intent"] * written
    assert all(event.decision is None and event.latency_ms is None for event in desk.log.events)


def test_policy_can_demand_an_intent() -> None:
    desk = Desk()
    of = sensitive(sensitivity="low", read_only=True)
    decision = msgspec.structs.replace(
        of.allowed.decision,
        obligations=msgspec.structs.replace(of.allowed.decision.obligations, audit="intent"),
    )
    of = msgspec.structs.replace(of, allowed=msgspec.structs.replace(of.allowed, decision=decision))
    asyncio.run(desk.record.intend(of))
    assert len(desk.log.events) == 1


def test_no_call_is_sent_while_the_log_could_not_take_its_outcome() -> None:
    desk = Desk()
    desk.log.trouble = "less than 2 % of the audit volume is free"
    with pytest.raises(AuditFault) as fault:
        asyncio.run(desk.record.intend(sensitive(sensitivity="low", read_only=True)))
    assert fault.value.effect is Effect.NONE


def test_an_outcome_has_the_canonical_identity_and_sizes() -> None:
    desk, of = Desk(), redacted()
    desk.clock.seconds += 0.25
    asyncio.run(desk.record.seal(of, REPLY))
    row = desk.log.events[0]
    tool = of.allowed.admitted.routed.item
    assert (row.phase, row.decision, row.reason, row.action) == ("outcome", "allow", "yes", "tool_call")
    assert (row.resource, row.definition_digest) == ("mcp://docs/echo", tool.digest)
    assert (row.metadata["result_bytes"], row.metadata["upstream_bytes"]) == (len(REPLY.body), 123)
    assert "is_error" not in row.metadata
    assert row.latency_ms == 250
    assert row.personal.result == REPLY.body


def test_an_error_of_the_tool_is_an_allowed_call_with_that_mark() -> None:
    desk = Desk()
    asyncio.run(desk.record.seal(redacted(), msgspec.structs.replace(REPLY, is_error=True)))
    assert desk.log.events[0].metadata["is_error"] is True
    assert desk.log.events[0].decision == "allow"


@pytest.mark.parametrize(
    ("reached", "phase"),
    [
        (authenticated(), "single"),
        (identified(), "single"),
        (routed(), "single"),
        (Admitted(routed=routed()), "single"),
        (allowed(), "single"),
        (redacted(), "outcome"),
    ],
)
def test_a_refusal_is_recorded_from_wherever_the_call_came(reached: Reached, phase: str) -> None:
    row = Desk().refuse(reached)
    assert (row.phase, row.decision, row.reason) == (phase, "deny", "policy_denied: not_today")
    assert (row.severity, row.personal.subject, row.tenant) == ("MEDIUM", "alice", "acme")
    assert row.metadata["code"] == 40301


def test_a_refusal_before_authentication_names_nobody() -> None:
    row = Desk().refuse(inbound(b""), Unauthenticated(401, "token_missing", "No."))
    assert (row.event_type, row.action, row.reason) == ("auth", "token_validate", "token_missing")
    assert (row.personal.subject, row.tenant) == ("", "")


@pytest.mark.parametrize(
    ("failure", "decision", "severity"),
    [
        (Rejected(200, -32602, "unknown_tool", "x"), "deny", "LOW"),
        (Rejected(200, -32602, "cross_tenant_attempt", "x"), "deny", "CRITICAL"),
        (Rejected(404, -32600, "session_hijack_attempt", "x"), "deny", "CRITICAL"),
        (Refused(Stage.ADMIT, 40901, "definition_not_approved", "x"), "deny", "CRITICAL"),
        (UpstreamFault.protocol("x"), "error", "MEDIUM"),
        (Fault(Stage.FORWARD, -32603, "internal_error", "x"), "error", "HIGH"),
        (AuditFault("x"), "error", "CRITICAL"),
    ],
)
def test_the_severity_follows_the_reason(failure: Refused | Fault, decision: str, severity: str) -> None:
    row = Desk().refuse(routed(), failure)
    assert (row.decision, row.severity) == (decision, severity)


@pytest.mark.parametrize(
    "reason", ["duplicate_key", "case_collision", "case_variant_key", "case_variant_argument"]
)
def test_what_two_parsers_read_differently_has_one_word(reason: str) -> None:
    row = Desk().refuse(identified(), Rejected(400, -32600, reason, "x"))
    assert (row.action, row.reason) == ("security_violation", f"parser_differential: {reason}")
    assert row.severity == "HIGH"


def test_a_plain_reason_is_its_own_word() -> None:
    assert reason_of(Rejected(400, -32600, "bad_id", "x")) == "bad_id"


def test_an_intent_that_could_not_be_written_is_not_followed_by_an_outcome() -> None:
    desk = Desk()
    asyncio.run(desk.record.refuse(redacted(), AuditFault("full", effect=Effect.NONE)))
    assert desk.log.events == []


def test_a_method_that_nobody_knows_is_a_violation_and_is_not_named() -> None:
    unknown = identified("mail/alice@example.com", {})
    row = Desk().refuse(unknown, Rejected(404, -32601, "method_not_found", "x"))
    assert (row.action, row.metadata["method"]) == ("security_violation", "unknown")


def test_before_the_body_was_read_there_is_no_method_to_name() -> None:
    row = Desk().refuse(authenticated(), Rejected(400, -32700, "parse_error", "x"))
    assert (row.action, row.metadata["method"], row.resource) == ("security_violation", "", "")


def secret(name: str) -> str:
    return f"canary-{name}"


PERSON = Principal(
    issuer=secret("issuer"),
    subject=secret("subject"),
    tenant="acme",
    roles=("developer",),
    groups=(secret("group"),),
    client_id=secret("client"),
    token_id=secret("token"),
    audience=("http://localhost:8080/mcp",),
    actor=(secret("actor"),),
    expires_at=int(NOW) + 60,
)
CLIENT = msgspec.structs.replace(
    MODERN_CLIENT,
    capabilities={secret("capability"): {}},
    info={"name": secret("client-info")},
    session=secret("session"),
)
PARAMS = call_message(
    arguments={"text": secret("argument")}, _meta={"progressToken": secret("progress"), "x": secret("meta")}
)["params"]
HEADERS = {"user-agent": secret("agent"), "authorization": secret("bearer"), "x-own": secret("header")}


def private_way() -> dict[str, Reached]:
    """Every stage of one call, with a canary in each place that a person could be found by."""
    peer = inbound(secret("body").encode(), headers=HEADERS, source_ip=secret("address"), source_port=47110)
    peer = msgspec.structs.replace(peer, request_id="the-request")
    caller = msgspec.structs.replace(authenticated(who=PERSON), inbound=peer)
    asked = identified(params=PARAMS, caller=caller, client=CLIENT)
    found = routed(asked)
    yes = msgspec.structs.replace(allowed(found), question=secret("question").encode())
    return {
        "inbound": peer,
        "authenticated": caller,
        "identified": asked,
        "unknown method": identified(secret("method"), {}, caller=caller, client=CLIENT),
        "routed": found,
        "admitted": Admitted(routed=found),
        "allowed": yes,
        "redacted": redacted(yes),
    }


WAY = private_way()
SENT = cast("Redacted", WAY["redacted"])
GUESSABLE = [
    hashlib.sha256(value).hexdigest().encode()
    for value in (secret("session").encode(), secret("question").encode(), SENT.arguments)
]
"""Plain digests of what could be guessed: personal like the values themselves."""


def check_private(row: Event) -> None:
    public = msgspec.json.encode(msgspec.structs.replace(row, personal=Personal()))
    for found in (b"canary", b"47110", *GUESSABLE):
        assert found not in public


FAILURES: list[Refused | Fault] = [
    DENIED,
    Refused(Stage.ADMIT, 40901, "definition_not_approved", secret("text")),
    Rejected(400, -32602, "case_variant_argument", secret("text"), data={"x": secret("data")}),
    Rejected(404, -32600, "session_hijack_attempt", secret("text")),
    Unauthenticated(403, "scope_missing", secret("text")),
    UpstreamFault.protocol(secret("detail")),
    PolicyFault("policy_error", secret("detail")),
    AuditFault(secret("detail"), effect=Effect.POSSIBLE),
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(WAY)), st.sampled_from(FAILURES), st.sampled_from(["full", "none"]))
def test_personal_values_of_a_refusal_stand_among_the_personal_ones_only(
    stage: str, failure: Refused | Fault, inputs: str
) -> None:
    row = Desk(inputs=inputs).refuse(WAY[stage], failure)
    check_private(row)
    assert row.personal.source_ip == secret("address")


ACTS: dict[str, Callable[[Record], Awaitable[None]]] = {
    "intend": lambda record: record.intend(SENT),
    "seal": lambda record: record.seal(SENT, Reply(body=secret("result").encode())),
    "listed": lambda record: record.listed(cast("Identified", WAY["identified"]), {"count": 1}),
    "started": lambda record: record.session_started(
        cast("Identified", WAY["identified"]), secret("session")
    ),
    "ended": lambda record: record.session_ended(
        cast("Authenticated", WAY["authenticated"]), secret("session")
    ),
}


@pytest.mark.parametrize("act", ACTS)
def test_personal_values_of_what_was_allowed_stand_among_the_personal_ones_only(act: str) -> None:
    desk = Desk(intent="all")
    desk.record.all_requests = True

    async def scenario() -> None:
        await ACTS[act](desk.record)

    asyncio.run(scenario())
    check_private(desk.log.events[0])


def test_every_personal_value_is_kept_where_it_can_be_erased() -> None:
    desk = Desk(inputs="none")
    asyncio.run(desk.record.seal(SENT, Reply(body=secret("result").encode())))
    session, question, arguments = (digest.decode() for digest in GUESSABLE)
    assert desk.log.events[0].personal == Personal(
        issuer=secret("issuer"),
        subject=secret("subject"),
        actor=(secret("actor"),),
        source_ip=secret("address"),
        source_port=47110,
        user_agent=secret("agent"),
        token_id=secret("token"),
        session_digest=session,
        client_info='{"name":"canary-client-info"}',
        arguments=SENT.arguments,
        arguments_digest=arguments,
        result=secret("result").encode(),
        input_digest=question,
    )


@pytest.mark.parametrize(("inputs", "kept"), [("full", True), ("none", False)])
def test_the_question_is_kept_sealed_where_that_is_configured(inputs: str, kept: bool) -> None:
    desk = Desk(inputs=inputs)
    asyncio.run(desk.record.seal(redacted(), REPLY))
    personal = desk.log.events[0].personal
    assert personal.input_digest == hashlib.sha256(b"{}").hexdigest()
    if kept:
        assert personal.inputs is not None
        assert sealer().open("inputs", personal.inputs.decode()) == b"{}"
    else:
        assert personal.inputs is None


@pytest.mark.parametrize(
    ("inputs", "proved", "kept"),
    [
        ("footprint", True, b'{"subject":{"tenant":"acme"},"phase":"call"}'),
        ("footprint", False, None),
        ("full", True, None),
    ],
)
def test_of_the_question_is_kept_what_policy_can_read(inputs: str, proved: bool, kept: bytes | None) -> None:
    desk = Desk(inputs=inputs)
    question = b'{"phase":"call","subject":{"tenant":"acme","id":"alice"}}'
    facts = Facts([("phase",)]) if proved else None
    call = redacted(msgspec.structs.replace(allowed(), question=question, facts=facts))
    asyncio.run(desk.record.seal(call, REPLY))
    personal = desk.log.events[0].personal
    assert personal.inputs is not None
    opened = sealer().open("inputs", personal.inputs.decode())
    assert msgspec.json.decode(opened) == msgspec.json.decode(kept or question)
    assert personal.input_digest == hashlib.sha256(opened).hexdigest()


def test_the_rows_of_one_call_share_its_id(tmp_path: Path) -> None:
    house = House(tmp_path)
    request = house.inbound(call_message())
    asyncio.run(house.govern(request))
    assert {(event.request_id, event.correlation_id) for event in house.log.events} == {
        (request.request_id, request.request_id)
    }


def test_what_is_no_stage_of_a_call_has_no_row() -> None:
    with pytest.raises(TypeError):
        asyncio.run(Desk().record.refuse(cast("Any", "nonsense"), DENIED))


SECRETS = redactors(detectors=("github_token", "email"))


def secretive() -> Desk:
    desk = Desk()
    desk.record = Record(
        log=desk.log,
        strangers=Strangers(log=desk.log, clock=desk.clock),
        clock=desk.clock,
        sealer=sealer(),
        intent="effects",
        inputs="full",
        all_requests=False,
        redactors=SECRETS,
        announce=desk.announce,
    )
    return desk


def personal_text(event: Event) -> str:
    told = msgspec.structs.asdict(event.personal)
    told["inputs"] = sealer().open("inputs", told["inputs"].decode()) if told["inputs"] else None
    return str(told)


@pytest.mark.parametrize("stage", ["routed", "allowed"])
def test_a_refused_call_is_recorded_without_its_secrets(stage: str) -> None:
    of = routed(identified(params=call_message(arguments={"text": f"x {GITHUB}"})["params"]))
    reached: Reached = of if stage == "routed" else allowed(of)
    desk = secretive()
    event = desk.refuse(reached)
    assert event.personal.arguments == b'{"text":"x [REDACTED:github_token]"}'
    assert GITHUB not in personal_text(event)


def test_what_policy_masks_is_masked_also_where_the_call_is_refused_later() -> None:
    of = allowed(obligations=Obligations(mask_arguments=("text",)))
    assert secretive().refuse(of).personal.arguments == b'{"text":"[MASKED]"}'


def test_what_a_client_says_of_itself_is_recorded_without_secrets() -> None:
    client = msgspec.structs.replace(MODERN_CLIENT, info={"name": GITHUB})
    agent = {"user-agent": f"me <{EMAIL}>"}
    desk = secretive()
    for _ in range(2):
        event = desk.refuse(routed(identified(caller=authenticated(headers=agent), client=client)))
        assert event.personal.user_agent == "me <[REDACTED:email]>"
        assert GITHUB not in event.personal.client_info


def test_what_was_taken_out_is_one_row_before_the_one_that_decides() -> None:
    desk, of = secretive(), redacted()
    of.found.add({"email": 2, "url_blocked": 1})
    of.found.hosts.update({"data.evil.test", "evil.test"})
    of.found.withheld = True
    asyncio.run(desk.record.seal(of, REPLY))
    row, outcome = desk.log.events
    assert (row.action, row.event_type, row.phase, row.decision) == (
        "redact_data", "redaction", "single", None,
    )  # fmt: skip
    assert (row.reason, row.redaction_count, row.tool_name) == ("url_blocked", 3, "echo")
    assert row.metadata["detectors"] == {"email": 2, "url_blocked": 1}
    assert row.metadata["hosts"] == ["*.evil.test", "evil.test"]
    assert row.metadata["structured_content"] == "left_out"
    assert row.correlation_id == outcome.correlation_id
    assert outcome.redaction_count == 0
    assert desk.announced == [({"email": 2, "url_blocked": 1}, "docs/echo", row.request_id)]


def test_what_was_taken_out_of_a_call_that_failed_is_recorded_too() -> None:
    desk, of = secretive(), redacted()
    of.found.add({"email": 1})
    desk.refuse(of, UpstreamFault.timeout("late", effect=Effect.POSSIBLE))
    assert [(event.action, event.reason) for event in desk.log.events] == [
        ("redact_data", "redacted"),
        ("tool_call", "upstream_timeout"),
    ]


def test_a_call_whose_redaction_cannot_be_recorded_may_have_had_its_effect() -> None:
    desk, of = secretive(), redacted()
    of.found.add({"email": 1})
    desk.log.broken = lambda event: event.action == "redact_data"
    with pytest.raises(AuditFault) as fault:
        asyncio.run(desk.record.seal(of, REPLY))
    assert fault.value.effect is Effect.POSSIBLE


def test_a_secret_for_another_server_is_a_reason_of_its_own() -> None:
    word = "secret_to_wrong_destination"
    event = secretive().refuse(allowed(), Refused(Stage.REDACT, 40301, word, "No.", policy_reason=word))
    assert (event.reason, event.severity, event.decision) == (word, "HIGH", "deny")


def refused_with(text: str, **obligations: Any) -> dict[str, Any]:
    """The question that the record of a call keeps which was refused before its arguments were changed."""
    desk, caller = Desk(), authenticated(headers={"authorization": f"Bearer header.payload.{SIGNATURE}"})
    of = allowed(
        routed(identified(params=call_message(arguments={"text": text})["params"], caller=caller)),
        obligations=Obligations(**obligations),
    )
    personal = desk.refuse(of).personal
    assert personal.inputs is not None
    return msgspec.json.decode(sealer().open("inputs", personal.inputs.decode()))


SIGNATURE = "s1G" * 30


def test_a_refused_call_leaves_nothing_that_policy_wanted_taken_out() -> None:
    assert refused_with(f"mail {EMAIL}", redact=("email", "unknown")) == {
        "arguments": {"text": "mail [REDACTED:email]"}
    }


def test_a_refused_call_leaves_nothing_of_the_callers_token() -> None:
    assert refused_with(f"it ends in {SIGNATURE}") == {"arguments": {}}


def test_a_refused_call_leaves_its_other_arguments() -> None:
    assert refused_with("hello", redact=("email",)) == {}  # the question as it was asked


def test_a_row_says_which_shapes_it_saw_and_who_owns_the_tool() -> None:
    desk = Desk()
    desk.record.decoys = frozenset({"docs/echo"})
    row = desk.refuse(sensitive())
    assert row.metadata["marks"] == ["decoy"]
    assert "asked" not in row.metadata


def test_a_name_that_leads_nowhere_is_only_marked() -> None:
    row = Desk().refuse(identified())
    assert row.metadata["asked"] == marks.short("docs__echo")
    assert "docs__echo" not in str(row.metadata)
