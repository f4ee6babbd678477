"""Pages: everything is escaped, nothing is framed, and what a person reads is true."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from airlock.api import pages
from tests.identity.login_parts import request


def body(**changed: object) -> str:
    return pages.consent(request(**changed), "sealed", ()).body.decode()


@pytest.mark.parametrize("place", ["name", "client", "redirect_uri", "resource"])
def test_nothing_that_a_client_chose_is_markup(place: str) -> None:
    text = body(**{place: 'https://x/"><script>alert(1)</script>'})
    assert "<script" not in text


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("https://app.example/callback", "app.example"),
        ("http://127.0.0.1:8123/cb", "an application on this computer"),
        ("vscode://x/cb", "opens vscode: links"),
    ],
)
def test_a_person_reads_where_the_login_goes(uri: str, place: str) -> None:
    assert place in body(redirect_uri=uri)


def test_a_person_reads_who_vouches_for_the_client() -> None:
    assert "its own page at app.example" in body(client="https://app.example/c.json")
    assert "a registration that anybody can make" in body(client="registered-1")
    assert "without a name" in body(name="")


def test_a_person_reads_what_the_client_may_do() -> None:
    text = body(scopes=("mcp.list", "mcp.call.notes"))
    assert "see the tools" in text
    assert "call the tools of notes" in text


def test_the_policy_allows_the_one_style_and_nothing_else() -> None:
    page = pages.page(200, "x", "")
    policy = dict(page.headers)["content-security-policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", page.body.decode())
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert {"default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy.split("; "))


def test_a_browser_is_sent_on_with_the_address_escaped() -> None:
    text = pages.onward("https://a.example/?a=1&b='\"").body.decode()
    assert "0;url=https://a.example/?a=1&amp;b=&#x27;&quot;" in text
