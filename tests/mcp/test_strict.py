"""Strict JSON against the standard library's decoder with every check made the slow way."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import Rejected
from airlock.mcp.strict import (
    MAX_DEPTH,
    MAX_VALUES,
    KnownKeys,
    canonical,
    check_known_keys,
    ecma_number,
    parse,
    shown,
)

CALL = (
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":[1,{"b":null}]}}}'
)


def verdict(raw: bytes) -> tuple[int, str]:
    with pytest.raises(Rejected) as caught:
        parse(raw)
    assert caught.value.http == 400
    return caught.value.code, caught.value.reason


def test_plain_json_is_read_as_it_is() -> None:
    assert parse(CALL) == json.loads(CALL)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        "{}".encode("utf-16-le"),
        b'"\xff"',
        b'{"\xff":1}',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'{"\xed\xa0\x80":1}',
        b'"\xf4\x90\x80\x80"',
        b'"\\ud800"',
        b'"\\udc00"',
        b'"\\ud800\\u0041"',
        b'{"\\ud800":1}',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'{"a":NaN}',
        b"{} x",
        b"{}{}",
        b"{}\x00",
        b'{"a":1,}',
        b"[1,]",
        b'{"a" 1}',
        b"{a:1}",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"0x10",
        b"tru",
        b"True",
        b"/**/1",
        b"'a'",
        b'"\n"',
        b'"a\x00"',
        b'"\\x"',
        b'"abc',
        b"[[]",
        b"]]][[[",
    ],
)
def test_j1_what_is_no_json_text_is_a_parse_error(raw: bytes) -> None:
    assert verdict(raw) == (-32700, "parse_error")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"ok","name":"evil"}',
        b'{"name":"ok","\\u006eame":"evil"}',
        b'{"a":1,"a":1}',
        b'{"":1,"":2}',
        b'{"a" : 1, "b":":", "a"\n:2}',
        b'[{"x":{"y":[{"k":0,"z":1,"k":0}]}}]',
        b'{"a\\"":1,"a\\u0022":2}',
        b'{"\\\\":1,"\\u005c":2}',
        b'{"a":{"deep":1},"a":{"deep":1}}',
        '{"é":1,"\\u00e9":2}'.encode(),
        '{"😀":1,"\\ud83d\\ude00":2}'.encode(),
    ],
)
def test_j2_a_key_written_twice_is_refused(raw: bytes) -> None:
    assert verdict(raw) == (-32600, "duplicate_key")


def test_j2_the_duplicate_is_named() -> None:
    with pytest.raises(Rejected, match='The key "name" is written twice'):
        parse(b'{"other":1,"name":1,"\\u006eame":2}')


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":"x\\":1,\\"a\\":2"}',
        b'{"a":":::","b":"{[:"}',
        b'{"a":[{"k":1},{"k":2}],"k":3}',
        b'{"a\\\\":1,"a":2}',
        b'{"\\\\\\"":1,":":"\\\\"}',
    ],
)
def test_j2_text_that_looks_like_keys_is_none(raw: bytes) -> None:
    assert parse(raw) == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"name":"ok","Name":"secret"}',
        b'{"params":[{"a":{"x":1,"X":2}}]}',
        '{"straße":1,"STRASSE":2}'.encode(),
        b'{"\\u212a":1,"k":2}',
    ],
)
def test_j3_keys_of_one_object_that_differ_only_in_case_are_refused(raw: bytes) -> None:
    assert verdict(raw) == (-32600, "case_collision")


def test_j3_the_same_key_in_other_case_in_another_object_is_fine() -> None:
    raw = b'{"name":{"Name":[{"NAME":1},2]}}'
    assert parse(raw) == json.loads(raw)


def test_answers_of_servers_may_hold_keys_that_differ_in_case() -> None:
    assert parse(b'{"a":1,"A":2}', case_collisions=True) == {"a": 1, "A": 2}


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def nested_objects(depth: int) -> bytes:
    return b'{"[":' * depth + b"1" + b"}" * depth


@pytest.mark.parametrize("make", [nested, nested_objects])
def test_j5_64_levels_pass(make: Callable[[int], bytes]) -> None:
    assert parse(make(MAX_DEPTH)) is not None


def test_j5_many_brackets_in_a_flat_text_pass() -> None:
    assert len(parse(b"[" + b"[],{}," * 500 + b'"[[[["]')) == 1001


@pytest.mark.parametrize(
    "raw",
    [
        nested(65),
        nested(100_000),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        nested_objects(65),
        b"[" + nested(32) + b"," + nested(64) + b"]",
        b'["]]]]]]",' * 65 + b"1" + b"]" * 65,
    ],
)
def test_j5_deeper_is_refused_before_the_decoder_recurses(raw: bytes) -> None:
    assert verdict(raw) == (-32600, "too_deep")


@pytest.mark.parametrize(
    "raw",
    [
        b"[" + b"0," * MAX_VALUES + b"0]",
        b"[" + b"0," * (MAX_VALUES - 1) + b"0]",
        b"[" + b",".join([b"[]"] * MAX_VALUES) + b"]",
        b"[" + b"[[]]," * 60_000 + b"0]",
    ],
)
def test_j5_too_many_values_are_refused(raw: bytes) -> None:
    assert verdict(raw) == (-32600, "too_many_values")


def test_j5_as_many_values_as_allowed_pass() -> None:
    assert len(parse(b"[" + b"0," * (MAX_VALUES - 2) + b"0]")) == MAX_VALUES - 1


@pytest.mark.parametrize(
    ("key", "passes"), [("k" * 1024, True), ("k" * 1025, False), ("é" * 512, True), ("é" * 513, False)]
)
def test_j5_a_key_has_1024_bytes_at_most(key: str, passes: bool) -> None:
    raw = json.dumps({key: 1}, ensure_ascii=False).encode()
    if passes:
        assert parse(raw) == {key: 1}
    else:
        assert verdict(raw) == (-32600, "key_too_long")


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0])
def test_j5_integers_of_64_bits_pass(number: int) -> None:
    assert parse(str(number).encode()) == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**64, 10**30])
def test_j5_wider_integers_are_refused(number: int) -> None:
    assert verdict(b'{"a":[%d]}' % number) == (-32600, "integer_out_of_range")


@pytest.mark.parametrize("raw", [b"1e400", b"[-1e400]", b"1.8e308", b"9" * 5000, b"1" * 400 + b".5"])
def test_j5_numbers_that_no_binary64_holds_are_refused(raw: bytes) -> None:
    assert verdict(raw) == (-32600, "number_out_of_range")


def reference(raw: bytes) -> Any:
    """Every rule, made the slow and obvious way. Raises `ValueError` where `parse` must refuse."""
    value = json.loads(
        raw.decode(),
        object_pairs_hook=_pairs,
        parse_int=_integer,
        parse_float=_real,
        parse_constant=_constant,
    )
    json.dumps(value, ensure_ascii=False).encode()  # lone surrogates
    return value


def _pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in members]
    if len({name.casefold() for name in names}) != len(names):
        raise ValueError(names)
    return dict(members)


def _integer(text: str) -> int:
    if not -(2**63) <= int(text) < 2**63:
        raise ValueError(text)
    return int(text)


def _real(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(text)
    return float(text)


def _constant(text: str) -> float:
    raise ValueError(text)


def accepted_by_reference(raw: bytes) -> tuple[bool, Any]:
    try:
        return True, reference(raw)
    except ValueError:
        return False, None


def accepted(raw: bytes) -> tuple[bool, Any]:
    try:
        return True, parse(raw)
    except Rejected:
        return False, None


KEYS = st.sampled_from(['"a"', '"A"', '"b"', '"\\u0061"', '"a\\""', '"\\\\"', '"ß"', '"SS"', '":"', '"{"'])
SPACE = st.sampled_from(["", "", " ", "\n", "\t "])
SCALARS = st.sampled_from(
    ["1", "-0", "1.5", "1e5", "true", "null", '"x"', '"\\":"', '"a:b"', '"\\\\"', '"\\ud83d\\ude00"', '"é"',
     "9223372036854775807", "9223372036854775808", "1e309", '"\\ud800"', '"[{"', "NaN", "tru"]
)  # fmt: skip


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(KEYS, SPACE, SPACE, inner).map(lambda part: f"{part[0]}{part[1]}:{part[2]}{part[3]}")
    objects = st.lists(member, max_size=4).map(lambda parts: "{" + ",".join(parts) + "}")
    arrays = st.lists(inner, max_size=3).map(lambda parts: "[" + ", ".join(parts) + "]")
    return objects | arrays


@settings(max_examples=200, deadline=None)
@given(st.recursive(SCALARS, containers, max_leaves=12))
def test_j2_every_text_gets_the_verdict_of_the_reference(text: str) -> None:
    assert accepted(text.encode()) == accepted_by_reference(text.encode())


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(CALL) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_damaged_bytes_get_the_verdict_of_the_reference(at: int, inserted: bytes, removed: int) -> None:
    raw = CALL[:at] + inserted + CALL[at + removed :]
    assert accepted(raw) == accepted_by_reference(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_j7_canonical_form_is_that_of_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**64 - 1).map(float))
def test_numbers_are_written_as_ecmascript_does(number: float) -> None:
    assert ecma_number(number).encode() == rfc8785.dumps(number)


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x8000000000000001, "-5e-324"),
        (0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44B52D02C7E14AF5, "9.999999999999997e+22"),
        (0x444B1AE4D6E2EF50, "1e+21"),
        (0x3EB0C6F7A0B5ED8D, "0.000001"),
        (0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"),
        (0x41B3DE4355555553, "333333333.3333332"),
        (0xBECBF647612F3696, "-0.0000033333333333333333"),
    ],
)
def test_numbers_of_rfc_8785_appendix_b(bits: int, text: str) -> None:
    assert ecma_number(struct.unpack(">d", struct.pack(">Q", bits))[0]) == text


def test_j7_integers_beyond_2_to_53_keep_their_digits() -> None:
    assert canonical({"b": 2**63 - 1, "a": -(2**63)}) == b'{"a":-9223372036854775808,"b":9223372036854775807}'


KNOWN = KnownKeys("name", "_meta")


def test_j3_known_and_unknown_keys_pass() -> None:
    check_known_keys({"name": 1, "_meta": 2, "other": 3}, KNOWN, "`params`")


@pytest.mark.parametrize("key", ["Name", "NAME", "_Meta"])
def test_j3_a_known_key_in_other_case_is_refused(key: str) -> None:
    with pytest.raises(Rejected, match="must be written") as caught:
        check_known_keys({"name": 1, key: 1}, KNOWN, "`params`")
    assert (caught.value.code, caught.value.reason) == (-32600, "case_variant_key")


def test_long_text_of_a_caller_is_cut_when_shown() -> None:
    assert shown("x" * 100) == '"' + "x" * 61 + '..."'
