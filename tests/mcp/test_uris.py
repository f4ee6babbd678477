"""URIs of resources on the federated route, and which of them are a template's."""

from __future__ import annotations

import pytest

from airlock.mcp.uris import MAX_TEMPLATE, federated, matcher, narrowness, split


@pytest.mark.parametrize("uri", ["file:///a b", "x", "", "mcp+docs:file:///x", "db://{id}/data"])
def test_f2_a_federated_uri_comes_apart_as_it_was_made(uri: str) -> None:
    assert split(federated("docs", uri)) == ("docs", uri)


@pytest.mark.parametrize("uri", ["file:///x", "mcp+docs", "mcp+Docs:x", "mcp+:x", "mcp+a__b:x", ""])
def test_f2_any_other_uri_has_no_server(uri: str) -> None:
    assert split(uri) == ("", uri)


@pytest.mark.parametrize(
    ("template", "uri", "stands"),
    [
        ("test://template/{id}/data", "test://template/7/data", True),
        ("test://template/{id}/data", "test://template/7/8/data", False),
        ("test://template/{id}/data", "test://template/7/data?x", False),
        ("test://template/{id}/data", "test://other/7/data", False),
        ("a.b/{id}", "axb/1", False),
        ("file:///{+path}", "file:///a/b\nc?d", True),
        ("file:///x{/path*}", "file:///x/a/b", True),
        ("file:///x{/path*}", "file:///x", True),
        ("file:///x{?q,r}", "file:///x?q=1&r=2", True),
        ("file:///x?a=1{&q}", "file:///x?a=1&q=2", True),
        ("file:///x{.kind}", "file:///x.pdf", True),
        ("file:///x{;v}", "file:///x;v=1", True),
        ("file:///x{#part}", "file:///x#top", True),
        ("file:///x{#part}", "file:///xtop", False),
        ("plain", "plain", True),
    ],
)
def test_a_template_stands_for_what_it_can_be_expanded_to(template: str, uri: str, stands: bool) -> None:
    assert matcher(template)(uri) is stands


@pytest.mark.parametrize("template", ["a{", "a}", "{}", "{a b}", "{{a}}", "x" * (MAX_TEMPLATE + 1)])
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="its template"):
        matcher(template)


def test_the_template_that_says_more_is_narrower() -> None:
    assert narrowness("file:///docs/{+path}") > narrowness("file:///{id}") > narrowness("file:///{+path}")
