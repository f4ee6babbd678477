"""Header fields, their values, and the annotation that mirrors arguments into them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared import inbound as sdk

from airlock.core.errors import Rejected
from airlock.mcp import headers
from airlock.mcp.headers import (
    MAX_BLOCK,
    MAX_VALUE,
    Accept,
    Headers,
    accepts,
    check_content,
    decode_value,
    encode_value,
    find_defects,
    param_headers,
    render_param_headers,
)


def fields(**values: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()])


def rejection(raw: list[tuple[bytes, bytes]]) -> tuple[int, str]:
    with pytest.raises(Rejected) as caught:
        Headers(raw)
    return caught.value.http, caught.value.reason


def test_names_have_no_case_and_absent_fields_are_none() -> None:
    headers = Headers([(b"MCP-Method", b"ping")])
    assert (headers.get("mcp-method"), headers.get("mcp-name")) == ("ping", None)


def test_repeated_ordinary_fields_are_joined() -> None:
    assert Headers([(b"accept", b"a"), (b"Accept", b"b")]).get("accept") == "a, b"


@pytest.mark.parametrize(
    "name",
    ["Authorization", "MCP-Protocol-Version", "Mcp-Method", "Mcp-Name", "Mcp-Session-Id", "Content-Length",
     "Host", "Mcp-Param-Region"],
)  # fmt: skip
def test_h8_routing_fields_may_not_repeat(name: str) -> None:
    raw = [(name.encode(), b"1"), (name.lower().encode(), b"1")]
    assert rejection(raw) == (400, "duplicate_header")


def test_h8_two_lengths_close_the_connection() -> None:
    with pytest.raises(Rejected) as caught:
        Headers([(b"transfer-encoding", b"chunked"), (b"content-length", b"3")])
    assert (caught.value.http, caught.value.headers) == (400, (("connection", "close"),))


def test_h15_a_value_is_bounded() -> None:
    assert Headers([(b"a", b"x" * MAX_VALUE)]).get("a") == "x" * MAX_VALUE
    assert rejection([(b"a", b"x" * (MAX_VALUE + 1))]) == (431, "headers_too_large")


def test_h15_all_fields_together_are_bounded() -> None:
    assert rejection([(b"a%d" % n, b"x" * 1024) for n in range(MAX_BLOCK // 1024)]) == (
        431,
        "headers_too_large",
    )


def test_params_are_those_with_the_prefix() -> None:
    assert fields(Mcp_Param_Region="eu", mcp_name="x").params == {"region": "eu"}


@pytest.mark.parametrize(
    "kind",
    ["application/json", "Application/JSON", "application/json; charset=utf-8",
     'application/json;charset="UTF-8"'],
)  # fmt: skip
def test_h6_json_passes(kind: str) -> None:
    check_content(fields(content_type=kind, content_encoding="identity"))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"content_type": "text/plain"},
        {"content_type": "application/json; charset=latin-1"},
        {"content_type": "application/json, application/json"},
        {"content_type": "application/json-patch"},
        {"content_type": "application/json", "content_encoding": "gzip"},
    ],
)
def test_h6_other_content_is_415(values: dict[str, str]) -> None:
    with pytest.raises(Rejected) as caught:
        check_content(fields(**values))
    assert caught.value.http == 415


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, (True, True)),
        ("*/*", (True, True)),
        ("application/json, text/event-stream", (True, True)),
        ("text/event-stream,application/json;q=0.5", (True, True)),
        ("application/json", (True, False)),
        ("Application/*", (True, False)),
        ("text/event-stream", (False, True)),
        ("text/*;q=0.1", (False, True)),
        ("*/*, text/event-stream;q=0", (True, False)),
        ("application/json ; q=0.000, */*;q=0.1", (False, True)),
    ],
)
def test_h7_accept_is_read(accept: str | None, expected: tuple[bool, bool]) -> None:
    headers = fields() if accept is None else fields(accept=accept)
    assert accepts(headers) == Accept(*expected)


@pytest.mark.parametrize("accept", ["text/html", "", "*/*;q=0", "application/json;q=0"])
def test_h7_nothing_of_ours_is_406(accept: str) -> None:
    with pytest.raises(Rejected) as caught:
        accepts(fields(accept=accept))
    assert caught.value.http == 406


@settings(max_examples=200, deadline=None)
@given(st.text() | st.from_regex(r"=\?base64\?[A-Za-z=]*\?=", fullmatch=True))
def test_h9_values_survive_and_are_written_as_the_sdk_does(text: str) -> None:
    assert encode_value(text) == sdk.encode_header_value(text)
    assert decode_value(encode_value(text)) == text


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF))
    | st.from_regex(r"=\?base64\?[A-Za-z0-9+/]{0,8}={0,3}\?=", fullmatch=True)
    | st.sampled_from(["=?base64?=", "=?base64??=", "=?BASE64?eA==?=", "=?base64?eB==?=", "=?base64?/w==?="])
)
def test_h9_values_are_read_as_the_sdk_does(value: str) -> None:
    try:
        decoded = decode_value(value)
    except ValueError:
        decoded = None
    assert decoded == sdk.decode_header_value(value)


def annotated(token: Any, kind: Any = "string") -> dict[str, Any]:
    return {"type": kind, "x-mcp-header": token}


PLAIN: list[Any] = [True, {}, {"type": "string"}, {"default": {"x-mcp-header": "Data"}}]
SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.builds(annotated, st.sampled_from(["Region", "region", "Zone", "a b", "", 7]),
              st.sampled_from(["string", "integer", "boolean", "number", ["string"]]))
    | st.sampled_from(PLAIN),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "$defs": st.dictionaries(st.sampled_from("de"), inner, max_size=1),
            "x-mcp-header": st.just("Odd"),
        },
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(SCHEMAS)
def test_annotations_are_judged_as_by_the_sdk(schema: Any) -> None:
    defect = find_defects(schema)
    assert bool(defect) == (sdk.find_invalid_x_mcp_header(schema) is not None)
    if not defect:
        assert dict(param_headers(schema)) == sdk.x_mcp_header_map(schema)


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        (annotated("Region"), "no chain"),
        ({"items": annotated("Region")}, "no chain"),
        ({"properties": {"a": annotated("two words")}}, "not a token"),
        ({"properties": {"a": annotated(7)}}, "not a token"),
        ({"properties": {"a": annotated("A", "number")}}, "needs the type"),
        ({"properties": {"a": annotated("A", ["string"])}}, "needs the type"),
        ({"properties": {"a": annotated("A"), "b": annotated("a")}}, "used twice"),
    ],
)
def test_defects_of_annotations_say_what_is_wrong(schema: Any, what: str) -> None:
    assert what in find_defects(schema)


DECLARED = ((("region",), "Region"), (("at", "line"), "Line"), (("dry",), "Dry"))


@pytest.mark.parametrize(
    ("arguments", "rendered"),
    [
        ({"region": "eu", "at": {"line": 3}, "dry": True}, {"Region": "eu", "Line": "3", "Dry": "true"}),
        ({"region": " é", "dry": False}, {"Region": "=?base64?IMOp?=", "Dry": "false"}),
        ({"region": None, "at": 7, "dry": []}, {}),
        ({"region": 42.0}, {"Region": "42"}),
    ],
)
def test_e10_headers_are_computed_from_the_arguments(
    arguments: dict[str, Any], rendered: dict[str, str]
) -> None:
    expected = {f"Mcp-Param-{token}": value for token, value in rendered.items()}
    assert dict(render_param_headers(DECLARED, arguments)) == expected


def test_e10_headers_that_a_tool_does_not_declare_can_be_sent_on() -> None:
    sent = Headers(
        [
            (b"mcp-param-region", b"eu"),
            (b"Mcp-Param-Other", b"x y"),
            (b"mcp-param-odd", "\xe9".encode("latin-1")),
            (b"mcp-param-no token", b"x"),
            (b"accept", b"*/*"),
        ]
    )
    assert headers.undeclared(((("region",), "Region"),), sent) == (("Mcp-Param-other", "x y"),)
