"""No secret leaves through any channel of an answer, and the answer keeps its shape."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Refused
from airlock.gateway.redact_response import WITHHELD
from airlock.model.call import Redacted, Reply
from airlock.model.decision import Obligations
from tests.gateway.parts import (
    LEGACY_CLIENT,
    MODERN_CLIENT,
    allowed,
    answered,
    authenticated,
    definition,
    identified,
    redact_request,
    redact_response,
    redactors,
    registered,
    routed,
    snapshot,
)
from tests.gateway.secrets_parts import AWS, CARD, EMAIL, GITHUB, KINDS, NEEDLES, PEM

ALL = redactors(detectors=("private_key", "aws_key", "github_token", "slack_token", "jwt", "credit_card",
                           "iban", "ssn", "password", "email"))  # fmt: skip
NOTHING = redactors()


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def call(output: dict[str, Any] | None = None, *, modern: bool = False, **obligations: Any) -> Redacted:
    tool = definition() if output is None else definition(outputSchema=output)
    caller = authenticated(at=snapshot(registered("docs", tool)))
    client = MODERN_CLIENT if modern else LEGACY_CLIENT
    of = routed(identified(caller=caller, client=client))
    return redact_request(ALL)(allowed(of, obligations=Obligations(**obligations)))


def reply(of: Redacted, result: dict[str, Any], rules: Any = ALL) -> Reply:
    return redact_response(rules)(of, answered(result))


def told(of: Redacted, result: dict[str, Any], rules: Any = ALL) -> dict[str, Any]:
    return msgspec.json.decode(reply(of, result, rules).body)["result"]


CHANNELS: dict[str, Callable[[str], dict[str, Any]]] = {
    "text": lambda secret: {"content": [text(f"key {secret} end")]},
    "structured": lambda secret: {"content": [], "structuredContent": {"a": [{"b": f"x {secret}"}]}},
    "structured key": lambda secret: {"content": [], "structuredContent": {f"x {secret}": 1}},
    "resource text": lambda secret: {
        "content": [{"type": "resource", "resource": {"uri": "file:///a", "text": f"x {secret}"}}]
    },
    "resource blob": lambda secret: {
        "content": [
            {
                "type": "resource",
                "resource": {"uri": "file:///a", "blob": base64.b64encode(f"x {secret}".encode()).decode()},
            }
        ]
    },
    "resource uri": lambda secret: {
        "content": [{"type": "resource", "resource": {"uri": f"file:///{secret}", "text": "x"}}]
    },
    "link": lambda secret: {
        "content": [{"type": "resource_link", "uri": "file:///a", "name": f"x {secret}", "title": secret}]
    },
    "picture": lambda secret: {
        "content": [
            {"type": "image", "mimeType": "image/png", "data": base64.b64encode(secret.encode()).decode()}
        ]
    },
    "type of a block": lambda secret: {"content": [{"type": f"x {secret}", "text": "x"}]},
    "type of one of many": lambda secret: {"content": [text("x"), {"type": f"x {secret}", "text": "x"}]},
    "annotation": lambda secret: {"content": [text("x", annotations={"note": secret})]},
    "meta": lambda secret: {"content": [], "_meta": {"note": f"x {secret}"}},
    "own field": lambda secret: {"content": [], "note": f"x {secret}"},
    "no list": lambda secret: {"content": f"x {secret}"},
}


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("kind", KINDS)
def test_no_channel_of_a_result_lets_a_secret_through(channel: str, kind: str) -> None:
    of = call()
    body = reply(of, CHANNELS[channel](KINDS[kind])).body.decode()
    decoded = body + "".join(
        base64.b64decode(part).decode() for part in body.split('"') if part.startswith("eCB")
    )
    assert NEEDLES[kind] not in decoded
    assert sum(of.found.counts.values()) >= 1


@pytest.mark.parametrize("modern", [True, False])
def test_the_place_of_a_secret_says_what_it_was(modern: bool) -> None:
    of = call(modern=modern)
    result = told(of, {"content": [text(f"a {GITHUB} b")]})
    assert result["content"] == [text("a [REDACTED:github_token] b")]
    assert of.found.counts == {"github_token": 1}


def test_words_beside_a_secret_hide_nothing() -> None:
    result = told(call(), {"content": [text(f"example sample test: {AWS} (not a real key)")]})
    assert AWS not in json.dumps(result)


def test_a_secret_in_two_blocks_is_found() -> None:
    of = call()
    result = told(of, {"content": [text(f"key {GITHUB[:20]}"), text(f"{GITHUB[20:]} end")]})
    assert GITHUB[20:] not in json.dumps(result)
    assert GITHUB[:20] not in json.dumps(result)
    assert of.found.counts == {"github_token": 1}


def test_a_result_without_secrets_is_passed_on_as_it_came_but_for_uris_of_its_server() -> None:
    result: dict[str, Any] = {
        "content": [
            text("fine", annotations={"audience": ["user"]}),
            {"type": "image", "data": base64.b64encode(bytes(range(256))).decode(), "mimeType": "image/png"},
            {"type": "resource", "resource": {"uri": "file:///a", "blob": "AAEC", "mimeType": "x/y"}},
            {"type": "resource", "resource": {"uri": "file:///a", "text": "fine"}},
            {"type": "audio", "data": "not base64", "mimeType": "audio/wav"},
        ],
        "structuredContent": {"a": [1, 2.5, None, True, "x"]},
        "_meta": {"x": 1},
        "isError": False,
    }
    of = call()
    assert told(of, result) == json.loads(json.dumps(result).replace("file:///a", "mcp+docs:file:///a"))
    assert of.found.counts == {}


@pytest.mark.parametrize("again", [1, 2])
def test_what_stands_around_a_content_is_looked_at_each_time_it_differs(again: int) -> None:
    rules = redactors(detectors=("email",))
    for number in range(again):
        said = told(call(), {"content": [text("x")], "_meta": {"by": f"{number}{EMAIL}"}}, rules)
        assert said["_meta"] == {"by": "[REDACTED:email]"}
        assert told(call(), {"content": [text("x")], "_meta": {"by": "us"}}, rules)["_meta"] == {"by": "us"}
    assert len(rules.rules.harmless) == 1


def test_what_is_harmless_to_one_policy_is_not_to_another() -> None:
    rules = redactors(detectors=("aws_key",))
    result = {"content": [text("x")], "_meta": {"by": EMAIL}}
    assert told(call(), result, rules)["_meta"] == {"by": EMAIL}
    assert told(call(redact=("email",)), result, rules)["_meta"] == {"by": "[REDACTED:email]"}
    assert told(call(), result, rules)["_meta"] == {"by": EMAIL}


def test_a_server_that_makes_up_surroundings_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlock.gateway.redact.MAX_HARMLESS", 3)
    rules = redactors(detectors=("email",))
    for number in range(10):
        told(call(), {"content": [text("x")], "_meta": {"n": number}}, rules)
        told(call(), {"content": [text("x")], "_meta": {"n": "long" * 500}}, rules)
    assert 0 < len(rules.rules.harmless) <= 3
    assert all(len(kept) < 100 for _, kept in rules.rules.harmless)


def test_a_picture_with_a_key_in_it_is_not_passed_on() -> None:
    raw = b"\x89PNG\r\n" + bytes(range(128, 256)) + AWS.encode() + bytes(range(128, 256))
    of = call()
    result = told(of, {"content": [{"type": "image", "data": base64.b64encode(raw).decode()}]})
    assert base64.b64decode(result["content"][0]["data"]) == b"[REDACTED:aws_key]"
    assert of.found.counts == {"aws_key": 1}


def test_a_picture_is_not_read_where_no_such_detector_is_on() -> None:
    picture = {"type": "image", "data": base64.b64encode(b"\xff" + AWS.encode()).decode()}
    assert told(call(), {"content": [picture]}, redactors(detectors=("email",)))["content"] == [picture]


def test_a_block_that_is_no_object_is_looked_at_too() -> None:
    result = told(call(modern=True), {"content": [f"x {AWS}", {"type": "text", "text": 5, "note": AWS}]})
    assert AWS not in json.dumps(result)


def test_a_block_with_text_and_a_resource_is_looked_at_in_full() -> None:
    block = {"type": "text", "text": f"a {AWS}", "resource": {"uri": "x", "text": f"b {GITHUB}"}}
    shown = json.dumps(told(call(), {"content": [block]}))
    assert AWS not in shown
    assert GITHUB not in shown


def test_an_error_of_the_server_is_looked_at() -> None:
    error = {"code": 7, "message": f"no {AWS}", "data": {"deep": [f"x {GITHUB}"]}}
    of = call(modern=True)
    body = msgspec.json.decode(redact_response(ALL)(of, answered(error=error)).body)
    assert body["error"] == {
        "code": 7,
        "message": "no [REDACTED:aws_key]",
        "data": {"deep": ["x [REDACTED:github_token]"]},
    }
    assert of.found.counts == {"aws_key": 1, "github_token": 1}


def test_policy_can_add_a_detector() -> None:
    assert EMAIL in json.dumps(told(call(), {"content": [text(EMAIL)]}, NOTHING))
    demanding = call(redact=("email",))
    assert EMAIL not in json.dumps(told(demanding, {"content": [text(EMAIL)]}, NOTHING))


def test_policy_cannot_take_a_detector_away() -> None:
    assert AWS not in json.dumps(told(call(redact=("email",)), {"content": [text(AWS)]}))


def test_a_detector_that_does_not_exist_refuses_the_call_before_it_is_sent() -> None:
    with pytest.raises(Refused, match="cannot carry out"):
        call(redact=("shoe_size",))


STRING = {"type": "string"}


def of_property(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"key": schema}, "required": ["key"]}


@pytest.mark.parametrize(
    ("schema", "shown"),
    [
        (STRING, "[REDACTED:aws_key]"),
        ({**STRING, "maxLength": 12}, "[REDACTED]"),
        ({**STRING, "maxLength": 4}, ""),
    ],
)
def test_structured_content_still_fits_its_schema(schema: dict[str, Any], shown: str) -> None:
    of = call(of_property(schema))
    result = told(of, {"content": [], "structuredContent": {"key": AWS}})
    assert result["structuredContent"] == {"key": shown}
    assert not of.found.withheld


@pytest.mark.parametrize(
    "schema", [{**STRING, "pattern": "^AKIA"}, {**STRING, "enum": [AWS]}, {**STRING, "minLength": 20}]
)
def test_structured_content_that_cannot_fit_is_left_out_and_that_is_said(schema: dict[str, Any]) -> None:
    of = call(of_property(schema))
    result = told(of, {"content": [text("x")], "structuredContent": {"key": AWS}})
    assert "structuredContent" not in result
    assert result["isError"] is True
    assert result["content"] == [text("x"), text(WITHHELD)]
    assert of.found.withheld


def test_structured_content_is_left_out_also_where_there_is_nothing_else() -> None:
    result = told(call(of_property({"const": AWS})), {"structuredContent": {"key": AWS}})
    assert result["content"] == [text(WITHHELD)]


def test_structured_content_under_a_schema_that_cannot_be_used_is_left_out() -> None:
    output = {"type": "object", "properties": {"key": {"$ref": "https://elsewhere.test/schema"}}}
    result = told(call(output), {"content": [], "structuredContent": {"key": AWS}})
    assert "structuredContent" not in result


def test_what_was_not_touched_is_not_held_to_the_schema() -> None:
    result = {"content": [text(AWS)], "structuredContent": {"key": 5}}
    assert told(call(of_property(STRING)), result)["structuredContent"] == {"key": 5}


def test_lists_and_new_keys_are_filled_as_well() -> None:
    output = {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {**STRING, "maxLength": 10}},
    }
    result = told(call(output), {"content": [], "structuredContent": {"k": ["fine", AWS], "n": ["ok"]}})
    assert result["structuredContent"] == {"k": ["fine", "[REDACTED]"], "n": ["ok"]}


def test_numbers_stay_numbers() -> None:
    card = int(CARD.replace(" ", ""))
    result = told(call(), {"content": [], "structuredContent": {"card": card, "n": 7}})
    assert result["structuredContent"]["n"] == 7
    assert result["structuredContent"]["card"] != card
    assert type(result["structuredContent"]["card"]) is int


def test_addresses_that_are_not_allowed_are_taken_out_and_the_rest_stays() -> None:
    rules = redactors(url_allow=("allowed.test",))
    of = call()
    result = told(
        of, {"content": [text("see ![x](https://evil.test/?d=1) and https://allowed.test/a")]}, rules
    )
    said = result["content"][0]["text"]
    assert "evil.test" not in said
    assert "[REDACTED:url]" in said
    assert "https://allowed.test/a" in said
    assert said.startswith("see ")
    assert of.found.counts == {"url_blocked": 1}
    assert of.found.hosts == {"evil.test"}


def test_a_cut_does_not_uncover_a_secret() -> None:
    of = call(max_result_bytes=600)
    body = reply(of, {"content": [text(f"{'x' * 100} {PEM} {'y' * 5000}")]}).body.decode()
    assert "MIGH" not in body
    assert "Cut by the gateway" in body


def notices(rules: Any, *params: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    of = call()
    clean = redact_response(rules).notices(of)
    return [clean(one) for one in params], of.found.counts


def test_progress_is_looked_at() -> None:
    (shown,), counts = notices(ALL, {"progressToken": "p1", "progress": 1, "message": f"at {AWS}"})
    assert shown == {"progressToken": "p1", "progress": 1, "message": "at [REDACTED:aws_key]"}
    assert counts == {"aws_key": 1}


def test_a_secret_in_two_notifications_is_not_completed() -> None:
    shown, counts = notices(ALL, {"message": f"key {GITHUB[:20]}"}, {"message": f"{GITHUB[20:]} end"})
    assert GITHUB[20:] not in json.dumps(shown)
    assert counts == {"github_token": 1}


def test_other_members_of_progress_are_looked_at() -> None:
    (shown,), _ = notices(ALL, {"progress": 1, "message": {"text": AWS}, "note": [GITHUB]})
    assert AWS not in json.dumps(shown)
    assert GITHUB not in json.dumps(shown)


def test_progress_without_rules_is_passed_on_as_it_came() -> None:
    said = {"progress": 1, "message": AWS}
    assert notices(NOTHING, said)[0] == [said]


def test_a_key_beside_the_content_is_looked_at() -> None:
    result = told(call(), {"content": [text("x")], f"x {AWS}": 1})
    assert result == {"content": [text("x")], "x [REDACTED:aws_key]": 1}


def test_progress_without_a_message_is_passed_on() -> None:
    assert notices(ALL, {"progress": 1, "total": 2})[0] == [{"progress": 1, "total": 2}]


def test_without_a_list_of_hosts_every_address_passes() -> None:
    said = "![x](https://evil.test/?d=1)"
    assert told(call(), {"content": [text(said)]})["content"] == [text(said)]


def test_demands_that_never_end_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airlock.gateway.redact.MAX_MADE", 1)
    rules = redactors(detectors=("aws_key",)).rules
    first = rules.result(("email",))
    assert rules.result(("email",)) is first
    rules.result(("ssn",))
    assert rules.result(("email",)) is not first


def test_keys_of_progress_are_looked_at() -> None:
    (shown,), counts = notices(ALL, {"progressToken": "p1", "progress": 1, GITHUB: "x", "_meta": {AWS: 1}})
    assert shown == {
        "progressToken": "p1",
        "progress": 1,
        "[REDACTED:github_token]": "x",
        "_meta": {"[REDACTED:aws_key]": 1},
    }
    assert counts == {"github_token": 1, "aws_key": 1}
