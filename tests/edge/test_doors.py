"""What is refused before anything else looks at a request: paths, hosts and origins."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import Rejected
from airlock.edge.doors import Doors, plain_path

PUBLIC = Doors(
    host="0.0.0.0",  # noqa: S104 - nothing listens here: the address of a public gateway
    public_url="https://Gate.example:8443",
    hosts=("Other.example",),
    origins=("https://App.example",),
)
LOCAL = Doors(host="127.0.0.1", public_url="http://localhost:8080", hosts=(), origins=())

Fields = list[tuple[bytes, bytes]]


def fields(*hosts: str, origins: tuple[str, ...] = ()) -> Fields:
    return [
        *((b"host", host.encode("latin-1")) for host in hosts),
        *((b"origin", origin.encode("latin-1")) for origin in origins),
    ]


def coded(*codings: str) -> Fields:
    return [*fields("localhost"), *((b"transfer-encoding", coding.encode()) for coding in codings)]


def refused(doors: Doors, headers: Fields) -> tuple[int, str] | None:
    try:
        doors.check(headers)
    except Rejected as rejected:
        return rejected.http, rejected.reason
    return None


@pytest.mark.parametrize("path", ["/", "/mcp", "/mcp/a-b", "/a.b/..c/c.", "/~x/!$&'()*+,;=:@"])
def test_a_plain_path_is_taken_as_it_is(path: str) -> None:
    assert plain_path(path.encode()) == path


def test_a_query_is_no_part_of_the_path() -> None:
    assert plain_path(b"/mcp?x=/../") == "/mcp"


@pytest.mark.parametrize(
    "path",
    [
        b"", b"mcp", b"*", b"//", b"//mcp", b"/mcp//a", b"/mcp/", b"/.", b"/..", b"/mcp/.", b"/mcp/./a",
        b"/mcp/..", b"/mcp/../admin", b"/mcp%2fa", b"/mcp%2Fa", b"/mcp%5ca", b"/%6dcp", b"/mcp/%2e%2e/a",
        b"/mcp\\a", b"/mcp/\x00", b"/mcp/\x1f", b"/mcp/\x7f", b"/mcp\r\n", b"/mcp\n", b"/mcp a", b"/mcp#a",
        b"/mcp/\xc3\xa9", b"http://localhost/mcp", b"http://evil.test/mcp",
    ],
)  # fmt: skip
def test_a_path_that_can_be_read_in_two_ways_is_refused(path: bytes) -> None:
    with pytest.raises(Rejected, check=lambda error: (error.http, error.reason) == (400, "bad_path")):
        plain_path(path)


@settings(max_examples=200)
@given(st.text(alphabet="/.%2fFeE5cC\\a?\x00", max_size=12).map(str.encode))
def test_whatever_passes_has_no_second_reading(raw: bytes) -> None:
    try:
        path = plain_path(raw)
    except Rejected:
        return
    assert path.startswith("/")
    assert not {"%", "\\", "\x00", "?"} & set(path)
    assert path == "/" or not {"", ".", ".."} & set(path[1:].split("/"))


@pytest.mark.parametrize("host", ["gate.example:8443", "GATE.example:8443", "gate.example", "other.EXAMPLE"])
def test_configured_hosts_are_served(host: str) -> None:
    assert refused(PUBLIC, fields(host)) is None


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:1", "127.0.0.1", "127.0.0.1:65535", "[::1]", "[::1]:8080", "localhost:8080"],
)
def test_a_loopback_gateway_is_reached_by_every_name_of_this_machine(host: str) -> None:
    assert refused(LOCAL, fields(host)) is None


@pytest.mark.parametrize(
    ("doors", "hosts"),
    [
        (LOCAL, ()),
        (LOCAL, ("localhost:8080", "localhost:8080")),
        (LOCAL, ("localhost:8080", "evil.test")),
        (LOCAL, ("",)),
        (LOCAL, ("evil.test",)),
        (LOCAL, ("localhost.evil.test",)),
        (LOCAL, ("evil.test:8080",)),
        (LOCAL, ("localhost:",)),
        (LOCAL, ("localhost:80a",)),
        (LOCAL, ("localhost:8080:1",)),
        (LOCAL, ("localhost:\xb2",)),
        (LOCAL, ("localhost:8080@evil.test",)),
        (LOCAL, ("user@localhost",)),
        (LOCAL, ("localhost.",)),
        (LOCAL, ("localhost/x",)),
        (LOCAL, ("127.0.0.2",)),
        (LOCAL, ("::1",)),
        (LOCAL, ("[::1",)),
        (LOCAL, ("[::2]:8080",)),
        (LOCAL, ("127.1",)),
        (PUBLIC, ("localhost",)),
        (PUBLIC, ("127.0.0.1:8443",)),
        (PUBLIC, ("gate.example:443",)),
        (PUBLIC, ("other.example:8443",)),
        (PUBLIC, ("x.gate.example:8443",)),
    ],
)
def test_a_missing_doubled_or_foreign_host_is_refused(doors: Doors, hosts: tuple[str, ...]) -> None:
    assert refused(doors, fields(*hosts)) == (421, "host_not_allowed")


@pytest.mark.parametrize(
    "codings", [("gzip, chunked",), (", chunked",), ("identity", "chunked"), ("chunked", "chunked")]
)
def test_a_body_that_others_may_read_in_another_way_is_refused(codings: tuple[str, ...]) -> None:
    assert refused(LOCAL, coded(*codings)) == (501, "transfer_coding")


@pytest.mark.parametrize("coding", ["chunked", "Chunked"])
def test_chunks_are_a_body(coding: str) -> None:
    assert LOCAL.check(coded(coding)) == ()


@pytest.mark.parametrize(
    ("doors", "origin"),
    [
        (PUBLIC, "https://gate.example:8443"),
        (PUBLIC, "https://app.example"),
        (PUBLIC, "HTTPS://APP.example"),
        (LOCAL, "http://localhost"),
        (LOCAL, "http://localhost:3000"),
        (LOCAL, "http://127.0.0.1:5173"),
        (LOCAL, "http://[::1]:1"),
    ],
)
def test_an_allowed_origin_passes(doors: Doors, origin: str) -> None:
    host = "gate.example" if doors is PUBLIC else "localhost"
    assert refused(doors, fields(host, origins=(origin,))) is None


@pytest.mark.parametrize(
    ("doors", "origins"),
    [
        (LOCAL, ("null",)),
        (LOCAL, ("",)),
        (LOCAL, ("http://evil.test",)),
        (LOCAL, ("http://localhost.evil.test",)),
        (LOCAL, ("http://localhost:80.evil.test",)),
        (LOCAL, ("http://localhost@evil.test",)),
        (LOCAL, ("http://evil.test#localhost",)),
        (LOCAL, ("https://localhost",)),
        (LOCAL, ("localhost",)),
        (LOCAL, ("file://",)),
        (LOCAL, ("http://localhost/",)),
        (LOCAL, ("http://localhost", "http://localhost")),
        (PUBLIC, ("http://localhost",)),
        (PUBLIC, ("http://gate.example:8443",)),
        (PUBLIC, ("https://gate.example",)),
        (PUBLIC, ("https://app.example:8443",)),
        (PUBLIC, ("https://app.example.evil.test",)),
    ],
)
def test_a_foreign_or_repeated_origin_is_refused(doors: Doors, origins: tuple[str, ...]) -> None:
    host = "gate.example" if doors is PUBLIC else "localhost"
    assert refused(doors, fields(host, origins=origins)) == (403, "origin_not_allowed")


def test_the_host_is_looked_at_before_the_origin() -> None:
    assert refused(LOCAL, fields("evil.test", origins=("null",))) == (421, "host_not_allowed")


def test_an_allowed_page_may_read_the_answer() -> None:
    headers = dict(LOCAL.check(fields("localhost", origins=("http://localhost:3000",))))
    assert headers["access-control-allow-origin"] == "http://localhost:3000"
    assert headers["vary"] == "origin"


def test_without_an_origin_there_are_no_cors_headers() -> None:
    assert LOCAL.check(fields("localhost")) == ()


EMBEDDED = [
    (b"sec-fetch-site", b"cross-site"),
    (b"sec-fetch-mode", b"no-cors"),
    (b"sec-fetch-dest", b"image"),
]
FOLLOWED = [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-dest", b"document")]
OURS = [(b"sec-fetch-site", b"same-origin"), (b"sec-fetch-dest", b"image")]


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        (EMBEDDED, (403, "origin_not_allowed")),
        ([*EMBEDDED[:1], (b"sec-fetch-dest", b"iframe")], (403, "origin_not_allowed")),
        (FOLLOWED, None),
        (OURS, None),
        ([(b"sec-fetch-mode", b"cors")], None),
    ],
    ids=["image", "frame", "link", "ours", "no browser"],
)
def test_no_page_elsewhere_makes_browsers_use_up_their_limits(
    told: Fields, answer: tuple[int, str] | None
) -> None:
    """Sixty images with the address of a door would shut out everybody behind that browser's address."""
    assert refused(PUBLIC, [*fields("gate.example"), *told]) == answer


def test_a_page_that_is_allowed_may_ask_from_another_site() -> None:
    assert refused(PUBLIC, [*fields("gate.example", origins=("https://app.example",)), *EMBEDDED]) is None
