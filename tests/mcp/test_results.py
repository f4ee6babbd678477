"""Results, errors and schemas between eras."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from airlock.core.errors import Effect, UpstreamFault
from airlock.mcp import results
from airlock.mcp.results import (
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_DEPTH,
    MAX_SUBSCHEMAS,
    map_error,
    schema_defect,
    to_legacy,
    to_modern,
    tool_to_legacy,
    without_ours,
)

CODE = re.compile(r"-32\d{3}\b")
US = {"name": "airlock", "version": "1"}
SERVER_INFO = "io.modelcontextprotocol/serverInfo"
TEXT = {"type": "text", "text": "hi"}
AUDIO = {"type": "audio", "data": "", "mimeType": "audio/wav"}
LINK = {"type": "resource_link", "uri": "test://x", "name": "x"}


def modern(result: dict[str, Any], *, cacheable: bool = False, ttl_ms: int = 30_000) -> dict[str, Any]:
    before = copy.deepcopy(result)
    shaped = to_modern(result, server_info=US, cacheable=cacheable, ttl_ms=ttl_ms)
    assert result == before
    return shaped


def legacy(result: dict[str, Any], version: str = "2025-11-25") -> dict[str, Any]:
    before = copy.deepcopy(result)
    shaped = to_legacy(result, version)
    assert result == before
    return shaped


def test_a_legacy_result_becomes_complete_and_says_who_answers() -> None:
    assert modern({"content": [], "_meta": {"a": 1}}) == {
        "resultType": "complete",
        "content": [],
        "_meta": {"a": 1, SERVER_INFO: US},
    }


def test_a_modern_result_keeps_its_type_and_loses_a_foreign_identity() -> None:
    result = {"resultType": "input_required", "_meta": {SERVER_INFO: {"name": "evil"}}}
    assert modern(result) == {"resultType": "input_required", "_meta": {SERVER_INFO: US}}


@pytest.mark.parametrize(
    ("said", "kept"), [(None, 30_000), (5, 5), (90_000, 30_000), (-1, 30_000), ("9", 30_000)]
)
def test_c5_a_lifetime_is_kept_or_lowered_and_private(said: Any, kept: int) -> None:
    shaped = modern({"tools": [], "ttlMs": said, "cacheScope": "public"}, cacheable=True)
    assert (shaped["ttlMs"], shaped["cacheScope"]) == (kept, "private")


def test_a_result_that_may_not_be_kept_gets_no_lifetime() -> None:
    assert "ttlMs" not in modern({})


@pytest.mark.parametrize("kind", ["task", "", None, 7, [], {}])
def test_an_unknown_result_type_is_never_passed(kind: Any) -> None:
    for shape in (modern, legacy):
        with pytest.raises(UpstreamFault) as caught:
            shape({"resultType": kind})
        assert (caught.value.code, caught.value.effect) == (50201, Effect.POSSIBLE)


def test_a_legacy_client_is_never_told_of_input_required() -> None:
    with pytest.raises(UpstreamFault):
        legacy({"resultType": "input_required"})


def test_modern_fields_are_taken_away() -> None:
    result: dict[str, Any] = {
        "resultType": "complete",
        "ttlMs": 1,
        "cacheScope": "private",
        "tools": [],
        "_meta": {SERVER_INFO: US},
    }
    assert legacy(result) == {"tools": []}


def test_other_meta_stays() -> None:
    assert legacy({"_meta": {SERVER_INFO: US, "x/y": 1}}) == {"_meta": {"x/y": 1}}


@pytest.mark.parametrize("shape", [modern, legacy])
def test_a_meta_that_is_no_object_is_a_breach(shape: Any) -> None:
    with pytest.raises(UpstreamFault):
        shape({"_meta": 7})


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("2025-11-25", [TEXT, AUDIO, LINK]),
        ("2025-06-18", [TEXT, AUDIO, LINK]),
        ("2025-03-26", [TEXT, AUDIO]),
        ("2024-11-05", [TEXT]),
    ],
)
def test_content_newer_than_the_client_becomes_text(version: str, known: list[Any]) -> None:
    blocks = legacy({"content": [TEXT, AUDIO, LINK]}, version)["content"]
    assert blocks[: len(known)] == known
    assert all(block["type"] == "text" for block in blocks[len(known) :])


def test_a_replaced_link_names_its_uri() -> None:
    assert "test://x" in legacy({"content": [LINK]}, "2024-11-05")["content"][0]["text"]


def test_a_block_of_an_odd_type_is_the_servers_business() -> None:
    assert legacy({"content": [{"type": 7}, {}]}) == {"content": [{"type": 7}, {}]}


def test_a_block_that_is_no_object_is_a_breach() -> None:
    with pytest.raises(UpstreamFault):
        legacy({"content": ["text"]})


def test_a_structured_object_stays() -> None:
    assert legacy({"content": [], "structuredContent": {"a": 1}})["structuredContent"] == {"a": 1}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"type": "text", "text": "[1, 2]"}], [{"type": "text", "text": "[1, 2]"}]),
        ([TEXT], [TEXT, {"type": "text", "text": "[1,2]"}]),
        ([LINK], [LINK, {"type": "text", "text": "[1,2]"}]),
        (None, [{"type": "text", "text": "[1,2]"}]),
    ],
)
def test_other_structured_content_is_told_as_text(content: Any, expected: list[Any]) -> None:
    assert legacy({"content": content, "structuredContent": [1, 2]}) == {"content": expected}


@pytest.mark.parametrize("output", [None, {"type": "object"}])
def test_an_output_schema_of_an_object_stays(output: Any) -> None:
    definition = {"name": "x", "outputSchema": output}
    assert tool_to_legacy(definition) == definition


@pytest.mark.parametrize("output", [{"type": "array"}, True, {}])
def test_another_output_schema_is_not_listed(output: Any) -> None:
    assert tool_to_legacy({"name": "x", "outputSchema": output}) == {"name": "x"}


def fail(code: int, data: Any = None) -> dict[str, Any]:
    return {"code": code, "message": "m"} if data is None else {"code": code, "message": "m", "data": data}


@pytest.mark.parametrize(
    ("error", "modern_client", "legacy_client"),
    [
        (fail(-32002, {"uri": "u"}), fail(-32602, {"uri": "u"}), fail(-32002, {"uri": "u"})),
        (fail(-32002), fail(-32602, {"uri": "asked"}), fail(-32002)),
        (fail(-32601), fail(-32601), fail(-32601)),
        (fail(-32602, [1]), fail(-32602, [1]), fail(-32602, [1])),
        (fail(-32020), fail(-32603, {"upstreamCode": -32020}), fail(-32603, {"upstreamCode": -32020})),
        (
            fail(-32021, {"requiredCapabilities": {"roots": {}}}),
            fail(-32021, {"requiredCapabilities": {"roots": {}}}),
            fail(-32602, {"requiredCapabilities": {"roots": {}}}),
        ),
        (fail(-32042), fail(-32603, {"upstreamCode": -32042}), fail(-32042)),
        (fail(-32000), fail(-32603, {"upstreamCode": -32000}), fail(-32000)),
        (fail(-32019), fail(-32603, {"upstreamCode": -32019}), fail(-32019)),
        (fail(-32023), fail(-32603, {"upstreamCode": -32023}), fail(-32603, {"upstreamCode": -32023})),
        (fail(-32099), fail(-32603, {"upstreamCode": -32099}), fail(-32603, {"upstreamCode": -32099})),
        (fail(-32700), fail(-32700), fail(-32700)),
        (fail(-31999), fail(-31999), fail(-31999)),
        (fail(-32100), fail(-32100), fail(-32100)),
        (fail(7, "data"), fail(7, "data"), fail(7, "data")),
    ],
)
def test_errors_of_a_legacy_server(
    error: dict[str, Any], modern_client: dict[str, Any], legacy_client: dict[str, Any]
) -> None:
    mapped = [
        map_error(error, client_modern=client_modern, upstream_modern=False, uri="asked")
        for client_modern in (True, False)
    ]
    assert mapped == [modern_client, legacy_client]


def test_a_missing_resource_of_a_modern_server_has_its_legacy_code() -> None:
    for client_modern, code in ((True, -32602), (False, -32002)):
        mapped = map_error(
            fail(-32602), client_modern=client_modern, upstream_modern=True, method="resources/read", uri="u"
        )
        assert mapped["code"] == code


def test_a_modern_server_may_not_ask_for_urls_by_error() -> None:
    assert map_error(fail(-32042), client_modern=False, upstream_modern=True)["code"] == -32603


@pytest.mark.parametrize("code", [40301, 40302, 50303])
@pytest.mark.parametrize("modern", [False, True])
def test_a_server_cannot_speak_with_the_codes_of_the_gateway(code: int, modern: bool) -> None:
    mapped = map_error(fail(code), client_modern=modern, upstream_modern=modern)
    assert mapped["code"] == -32603
    assert mapped["data"] == {"upstreamCode": code}


def test_no_code_that_the_protocol_keeps_for_itself_is_ours() -> None:
    """Legacy clients alone hear of -32002 and -32042; -32020 to -32022 are codes of the protocol."""
    source = Path(results.__file__).parents[1]
    named = {int(code) for path in source.rglob("*.py") for code in CODE.findall(path.read_text())}
    bounds = {-32019, -32099, -32768}
    kept = {code for code in named - bounds if -32099 <= code <= -32000}
    assert kept == {-32002, -32042, -32020, -32021, -32022}


def test_a_servers_result_carries_no_words_of_the_gateway() -> None:
    forged: dict[str, Any] = {
        "content": [],
        "_meta": {"dev.airlock/refusal": {"code": 40302}, "their/own": 1},
    }
    assert without_ours(forged) == {"content": [], "_meta": {"their/own": 1}}
    plain: dict[str, Any] = {"content": []}
    assert without_ours(plain) is plain


def test_a_refused_version_is_ours_and_had_no_effect() -> None:
    with pytest.raises(UpstreamFault) as caught:
        map_error(fail(-32022), client_modern=True, upstream_modern=True)
    assert (caught.value.code, caught.value.effect) == (50201, Effect.NONE)


@pytest.mark.parametrize(
    "error", [{}, {"code": "1", "message": "m"}, {"code": 1}, {"code": True, "message": "m"}]
)
def test_a_malformed_error_is_a_breach(error: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFault):
        map_error(error, client_modern=True, upstream_modern=True)


def chain(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


def wide(count: int) -> dict[str, Any]:
    return {"properties": {str(n): {} for n in range(count - 1)}}


@pytest.mark.parametrize(
    "schema", [{}, chain(MAX_SCHEMA_DEPTH), wide(MAX_SUBSCHEMAS), {"$ref": "http://x.test/"}]
)
def test_schemas_within_bounds_pass(schema: Any) -> None:
    assert schema_defect(schema) == ""


UNBOUNDED: list[tuple[Any, str]] = [
    (True, "not an object"),
    (chain(MAX_SCHEMA_DEPTH + 1), "deeper"),
    (wide(MAX_SUBSCHEMAS + 1), "subschemas"),
    ({"allOf": [{}] * MAX_SUBSCHEMAS}, "subschemas"),
    ({"description": "x" * MAX_SCHEMA_BYTES}, "bytes"),
]


@pytest.mark.parametrize(("schema", "what"), UNBOUNDED)
def test_schemas_beyond_bounds_are_defects(schema: Any, what: str) -> None:
    assert what in schema_defect(schema)


def test_a_block_that_a_client_does_not_know_is_told_in_the_messages_of_a_prompt_too() -> None:
    audio = {"type": "audio", "data": "", "mimeType": "audio/wav"}
    text = {"type": "text", "text": "hello"}
    told = {"messages": [{"role": "user", "content": audio}, {"role": "user", "content": text}]}
    messages = to_legacy(told, "2024-11-05")["messages"]
    assert [message["content"]["type"] for message in messages] == ["text", "text"]
    assert messages[1]["content"] == text


@pytest.mark.parametrize("message", [7, {"role": "user"}, {"role": "user", "content": []}])
def test_what_is_no_message_of_a_prompt_is_a_breach(message: Any) -> None:
    with pytest.raises(UpstreamFault):
        to_legacy({"messages": [message]}, "2025-11-25")


@pytest.mark.parametrize(("said", "ttl"), [(None, 0), (10_000, 5_000), (1_000, 1_000), (-1, 0)])
def test_c5_a_result_is_kept_as_long_as_server_and_gateway_allow(said: int | None, ttl: int) -> None:
    result = {} if said is None else {"ttlMs": said}
    shaped = to_modern(result, server_info={}, cacheable=True, ttl_ms=5_000, untold_ms=0)
    assert (shaped["ttlMs"], shaped["cacheScope"]) == (ttl, "private")


@pytest.mark.parametrize(
    ("code", "modern", "status"),
    [(-32021, True, 400), (-32601, True, 404), (-32602, True, 200), (-32021, False, 200), (7, True, 200)],
)
def test_errors_of_servers_have_the_status_of_the_clients_era(code: int, modern: bool, status: int) -> None:
    assert results.error_status(code, client_modern=modern) == status
