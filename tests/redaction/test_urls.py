"""Addresses: found wherever somebody would follow them, and held to the list by their real host."""

from __future__ import annotations

import time

import pytest

from airlock.redaction.rewrite import Redactor
from airlock.redaction.scan import Scanner
from airlock.redaction.urls import UrlRule, hosts
from tests.redaction.made import tell

RULE = UrlRule(("allowed.test", "*.docs.test", "[::1]"))
REDACTOR = Redactor(Scanner(()), RULE)


def written(text: str) -> tuple[str, set[str]]:
    """The text as it leaves, and the hosts that were blocked."""
    blocked: set[str] = set()
    return REDACTOR.text(text, blocked)[0], blocked


BLOCKED = [
    ("![x](https://evil.test/?d=SECRET)", "![x]([REDACTED:url])"),
    ("![x](<https://evil.test/?d=SECRET>)", "![x](<[REDACTED:url]>)"),
    ('[x](https://evil.test/ "title")', '[x]([REDACTED:url] "title")'),
    ("[x][r]\n\n[r]: https://evil.test/x 'title'", "[x][r]\n\n[r]: [REDACTED:url] 'title'"),
    ("[r]:\n  //evil.test/x", "[r]:\n  [REDACTED:url]"),
    ("<https://evil.test/x>", "<[REDACTED:url]>"),
    ('<img src="https://evil.test/x.png">', '<img src="[REDACTED:url]">'),
    ("<img src='//evil.test/x.png'>", "<img src='[REDACTED:url]'>"),
    ("<img src=//evil.test/x.png>", "<img src=[REDACTED:url]>"),
    ('<IMG SRC = "\\\\evil.test/x">', '<IMG SRC = "[REDACTED:url]">'),
    ('<img src="ht\ntps://evil.test/a b">', '<img src="[REDACTED:url]">'),
    ('<img srcset="https://evil.test/a 1x">', '<img srcset="[REDACTED:url]">'),
    ('<a href="https&#58;//evil.test/">', '<a href="[REDACTED:url]">'),
    ("background: url(https://evil.test/x)", "background: url([REDACTED:url])"),
    ("style='background:url(//evil.test/x)'", "style='background:url([REDACTED:url])'"),
    ("see https://evil.test/a?b=c.", "see [REDACTED:url]."),
    ("(https://evil.test)", "([REDACTED:url])"),
    ("HTTPS://EVIL.TEST/x", "[REDACTED:url]"),
    ("wss://evil.test/s and ftp://evil.test/f", "[REDACTED:url] and [REDACTED:url]"),
    ("file://evil.test/share", "[REDACTED:url]"),
    ("https://allowed.test@evil.test/", "[REDACTED:url]"),
    ("https://allowed.test:443@evil.test/", "[REDACTED:url]"),
    ("https://evil.test#@allowed.test/", "[REDACTED:url]"),
    ("https://evil.test?@allowed.test/", "[REDACTED:url]"),
    ("https://evil.test\\.allowed.test/", "[REDACTED:url]"),
    ("https:\\\\evil.test/x", "[REDACTED:url]"),
    ("https:/evil.test/x", "[REDACTED:url]"),
    ("[x](https:evil.test)", "[x]([REDACTED:url])"),
    ("https://evil.test:443/", "[REDACTED:url]"),
    ("https://%65vil.test/", "[REDACTED:url]"),
    ("https://\uff45vil.test/", "[REDACTED:url]"),
    ("https\\u003a//evil.test/", "[REDACTED:url]"),
    ("https%3A%2F%2Fevil.test%2Fx", "[REDACTED:url]"),
]


@pytest.mark.parametrize(("text", "kept"), BLOCKED)
def test_an_address_that_leads_elsewhere_goes_and_the_rest_stays(text: str, kept: str) -> None:
    assert written(text) == (kept, {"evil.test"})


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://\u0430llowed.test/", "xn--llowed-2nf.test"),
        ("https://xn--llowed-2nf.test/", "xn--llowed-2nf.test"),
        ("https://allowed.test\\@evil.test/", "evil.test"),
        ("go to www.evil.test/x", "www.evil.test"),
        ("https://allowed.test.evil.test/", "allowed.test.evil.test"),
        ("http://2130706433/", "127.0.0.1"),
        ("https://" + "a." * 600 + "allowed.test/", ""),
        ("http://[::2]/", "[::2]"),
        ("https://docs.test/", "docs.test"),
        ("https://notdocs.test/", "notdocs.test"),
        ("https://a b.test/".replace(" ", "%20"), ""),
        ("https://evil.test:99999/", ""),
        ("http://[::1/", ""),
        ("https://allowed.test\\[x", ""),
        ("git+ssh://evil.test/r [x](git+ssh://other.test/r)", "other.test"),
    ],
)
def test_the_host_is_the_one_that_a_browser_would_ask(text: str, host: str) -> None:
    kept, blocked = written(text)
    assert "[REDACTED:url]" in kept
    assert blocked == {host}


@pytest.mark.parametrize(
    "text",
    [
        "nothing here",
        "https://allowed.test/a?b=c#d and https://allowed.test:8443/",
        "https://user@allowed.test/ and HTTPS://ALLOWED.TEST./",
        "https://a.docs.test/ and https://a.b.docs.test/",
        "http://[::1]:8080/x",
        "![x](https://allowed.test/x.png) [y](/relative/path) [z](#fragment) [m](mailto:a@b)",
        "<img src='data:image/png;base64,AAAA'> <a href='page.html'>",
        "// see foo.bar, http: and https:// alone, C:\\dir\\file, a // b",
        "https: yes",
        "javascript:alert(1)",
    ],
)
def test_what_leads_to_the_list_or_to_no_host_stays(text: str) -> None:
    assert written(text) == (text, set())


def test_every_spelling_of_a_listed_host_is_the_host() -> None:
    rule = UrlRule(("M\u00fcnchen.test", "*.Sub.test"))
    assert rule.allows("xn--mnchen-3ya.test")
    assert rule.allows("m\u00fcnchen.test.")
    assert rule.allows("x.sub.test")
    assert not rule.allows("sub.test")
    assert not rule.allows("")


def test_an_entry_that_is_no_host_is_refused() -> None:
    with pytest.raises(ValueError, match="is no host"):
        UrlRule(("https://allowed.test",))


def test_positions_are_kept_where_text_is_no_unicode() -> None:
    assert written("\ud83d é https://evil.test/ \ud83d")[0] == "\ud83d é [REDACTED:url] \ud83d"


@pytest.mark.parametrize(
    ("url", "seen"), [("", []), ("x", []), ("mailto:a@b", []), ("https://", [""]), ("git:a/b", [])]
)
def test_hosts_of_what_is_hardly_an_address(url: str, seen: list[str]) -> None:
    assert hosts(url) == seen


@pytest.mark.parametrize(
    "unit", ["https://", "https://a.test ", "](", 'src="', "[a]:", "www.", "//", "url(", "\\\\"]
)
def test_no_text_takes_more_than_linear_time(unit: str) -> None:
    text = unit * (262_144 // len(unit))
    start = time.perf_counter()
    RULE.find(text)
    taken = time.perf_counter() - start
    tell(f"{unit!r}: {taken:.2f} s")
    assert taken < 20
