"""XD-5: one message that two parsers understand differently, so that policy sees one call and the server
another.

Control: strict JSON, in which a key stands once and in one case; what is forwarded is written anew from what
policy saw. With the pairs of an object read without the check for doubles, the cases below fail.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.system.deployment import META, MODERN, Deployment
from tests.system.recorder import Recorder
from tests.system.wire import Heard, bearer, message, routing, send

WAYS = [(modern, path) for modern in (False, True) for path in ("/mcp", "/mcp/low")]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, upstream: Recorder) -> Iterator[Deployment]:
    low = {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
    with Deployment(tmp_path_factory.mktemp("xd5"), [low]) as deployment:
        yield deployment


class Case(msgspec.Struct, frozen=True):
    """A call in pieces. `{echo}` and `{fail}` stand for the names of two tools on the route."""

    code: int
    reason: str
    name: str = '"name":"{echo}"'
    arguments: str = '"arguments":{{"text":"x"}}'
    id: str = '"id":1'
    method: str = '"method":"tools/call"'
    more: str = ""
    before: bytes = b""
    after: bytes = b""
    encoding: str = "utf-8"

    def body(self, *, modern: bool, path: str, marker: str) -> bytes:
        prefix = "low__" if path == "/mcp" else ""
        names = {"echo": f"{prefix}echo", "fail": f"{prefix}fail"}
        text = message(
            modern=modern,
            name=self.name.format(**names),
            arguments=self.arguments.format(**names).replace('"x"', f'"{marker}"'),
            id=self.id,
            method=self.method,
            more=self.more,
        ).decode()
        return self.before + text.encode(self.encoding) + self.after


TWICE, ENCODING = "parser_differential: duplicate_key", "parse_error"
COLLISION, VARIANT = "parser_differential: case_collision", "parser_differential: case_variant_key"
PARAMS = '"params":{"name":"low__fail","arguments":{}}'

CASES = {
    "name and Name": Case(-32600, COLLISION, name='"name":"{echo}","Name":"{fail}"'),
    "Name alone": Case(-32600, VARIANT, name='"Name":"{echo}"'),
    "name twice": Case(-32600, TWICE, name='"name":"{echo}","name":"{fail}"'),
    "name escaped": Case(-32600, TWICE, name='"name":"{echo}","\\u006eame":"{fail}"'),
    "name escaped in upper case": Case(-32600, TWICE, name='"name":"{echo}","n\\u0061m\\u0065":"{fail}"'),
    "arguments twice": Case(-32600, TWICE, arguments='"arguments":{{}},"arguments":{{"text":"x"}}'),
    "arguments and Arguments": Case(
        -32600, COLLISION, arguments='"arguments":{{}},"Arguments":{{"text":"x"}}'
    ),
    "Arguments alone": Case(-32600, VARIANT, arguments='"Arguments":{{"text":"x"}}'),
    "method twice": Case(-32600, TWICE, more='"method":"tools/list"'),
    "METHOD": Case(-32600, COLLISION, more='"METHOD":"tools/list"'),
    "params twice": Case(-32600, TWICE, more=PARAMS),
    "Params": Case(-32600, COLLISION, more=PARAMS.replace("params", "Params")),
    "id twice": Case(-32600, TWICE, more='"id":2'),
    "an argument twice": Case(-32600, TWICE, arguments='"arguments":{{"text":"x","text":"y"}}'),
    "an argument escaped": Case(-32600, TWICE, arguments='"arguments":{{"text":"x","t\\u0065xt":"y"}}'),
    "deep in an argument": Case(
        -32600, TWICE, arguments='"arguments":{{"o":[{{"a":{{"b":1,"b":2}}}}],"text":"x"}}'
    ),
    "an argument in other case": Case(
        -32602, "parser_differential: case_variant_argument", arguments='"arguments":{{"Text":"x"}}'
    ),
    "byte order mark": Case(-32700, ENCODING, before=b"\xef\xbb\xbf"),
    "UTF-16": Case(-32700, ENCODING, encoding="utf-16"),
    "UTF-16 without a mark": Case(-32700, ENCODING, encoding="utf-16-le"),
    "UTF-32": Case(-32700, ENCODING, encoding="utf-32"),
    "a second message behind": Case(-32700, ENCODING, after=b'{"jsonrpc":"2.0"}'),
    "a byte behind": Case(-32700, ENCODING, after=b"x"),
    "a null behind": Case(-32700, ENCODING, after=b"\x00"),
    "NaN": Case(-32700, ENCODING, arguments='"arguments":{{"n":NaN,"text":"x"}}'),
    "Infinity": Case(-32700, ENCODING, arguments='"arguments":{{"n":-Infinity,"text":"x"}}'),
    "1e400": Case(-32600, "number_out_of_range", arguments='"arguments":{{"n":1e400,"text":"x"}}'),
    "half a character": Case(-32700, ENCODING, arguments='"arguments":{{"o":"\\ud800","text":"x"}}'),
    "half a character in a key": Case(-32700, ENCODING, arguments='"arguments":{{"\\udfff":1,"text":"x"}}'),
    "a comment": Case(-32700, ENCODING, arguments='"arguments":{{"text":"x"}}/* */'),
    "a comma too many": Case(-32700, ENCODING, arguments='"arguments":{{"text":"x",}}'),
}  # fmt: skip


def ask(gateway: Deployment, body: bytes, subject: str, *, modern: bool, path: str) -> Heard:
    tool = "low__echo" if path == "/mcp" else "echo"
    fields = [*bearer(gateway.token(subject)), *(routing(tool) if modern else [])]
    return send(gateway, fields, body, target=path)


def heard(upstream: Recorder, marker: str) -> int:
    return sum(marker in str(call) for call in upstream.calls())


@pytest.mark.parametrize(("modern", "path"), WAYS)
def test_xd5_twin_the_same_call_without_the_trick(
    gateway: Deployment, upstream: Recorder, modern: bool, path: str
) -> None:
    marker = f"plain {path} {modern}"
    body = Case(0, "").body(modern=modern, path=path, marker=marker)
    assert ask(gateway, body, "plain", modern=modern, path=path).status == 200
    assert heard(upstream, marker) == 1


@pytest.mark.parametrize(("modern", "path"), WAYS)
def test_xd5_what_can_be_read_twice_is_refused(
    gateway: Deployment, upstream: Recorder, modern: bool, path: str
) -> None:
    subjects = {f"xd5 {case} {modern} {path}": trick for case, trick in CASES.items()}
    for subject, trick in subjects.items():
        body = trick.body(modern=modern, path=path, marker=subject)
        answer = ask(gateway, body, subject, modern=modern, path=path)
        assert (answer.status, answer.code) == (400, trick.code), subject
        assert heard(upstream, subject) == 0
    rows = gateway.recorded("subject LIKE ?", f"xd5 % {modern} {path}", count=len(CASES))
    found = {row["subject"]: (row["action"], row["decision"], row["reason"]) for row in rows}
    assert len(rows) == len(CASES)
    assert found == {
        subject: ("security_violation", "deny", trick.reason) for subject, trick in subjects.items()
    }


KEYS = st.sampled_from(["name", "arguments", "jsonrpc", "method", "params", "id"])
PATTERN = st.lists(st.sampled_from("lue"), min_size=12, max_size=12)
"""For each letter: as it is, in upper case, as an escape."""


def letter(how: str, plain: str) -> str:
    return {"l": plain, "u": plain.upper(), "e": f"\\u{ord(plain):04x}"}[how]


@st.composite
def doubled(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A key of the protocol, another spelling of it, and whether that comes first."""
    key, pattern = draw(KEYS), draw(PATTERN)
    return key, "".join(map(letter, pattern, key)), draw(st.booleans())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spelled=doubled(), way=st.sampled_from(WAYS))
def test_xd5_a_second_spelling_of_a_key_wherever_it_stands(
    gateway: Deployment, upstream: Recorder, spelled: tuple[str, str, bool], way: tuple[bool, str]
) -> None:
    (key, other, first), (modern, path) = spelled, way
    tool = "low__echo" if path == "/mcp" else "echo"
    meta: dict[str, Any] = {f"{META}protocolVersion": MODERN, f"{META}clientCapabilities": {}}
    params: dict[str, Any] = {"name": tool, "arguments": {"text": "second"}}
    if modern:
        params["_meta"] = meta
    whole: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    inside = key in params
    of = params if inside else whole
    pair = f'"{other}":{json.dumps(of[key])}'
    text = json.dumps(of)[1:-1]
    text = f"{pair},{text}" if first else f"{text},{pair}"
    if inside:
        rest = json.dumps({name: value for name, value in whole.items() if name != "params"})[1:-1]
        text = f'{rest},"params":{{{text}}}'
    answer = ask(gateway, f"{{{text}}}".encode(), "second", modern=modern, path=path)
    assert (answer.status, answer.code) == (400, -32600)
    assert heard(upstream, "second") == 0
