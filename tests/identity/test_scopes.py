"""Scopes of operations, and what implies what (A-6)."""

from __future__ import annotations

import pytest

from airlock.core.errors import Unauthenticated
from airlock.identity.scopes import missing_scopes, needed_scopes, require_scopes
from airlock.model.principal import Principal


@pytest.mark.parametrize(
    ("method", "server", "needed"),
    [
        ("initialize", "", ()),
        ("notifications/cancelled", "", ()),
        ("tools/list", "", ("mcp.list",)),
        ("tools/list", "notes", ("mcp.list",)),
        ("tools/call", "notes", ("mcp.call.notes",)),
        ("tools/call", "", ("mcp.call",)),
        ("something/unknown", "notes", ("mcp.call.notes",)),
    ],
)
def test_an_operation_needs_scopes(method: str, server: str, needed: tuple[str, ...]) -> None:
    assert needed_scopes(method, server) == needed


@pytest.mark.parametrize(
    ("granted", "needed", "lacks"),
    [
        (("mcp.call",), ("mcp.list", "mcp.call.notes", "mcp.call"), ()),
        (("mcp.call.notes",), ("mcp.list", "mcp.call.notes"), ()),
        (("mcp.call.notes",), ("mcp.call.mail", "mcp.call"), ("mcp.call.mail", "mcp.call")),
        (("mcp.list",), ("mcp.list", "mcp.call.notes"), ("mcp.call.notes",)),
        (("mcp.callx", "mcp"), ("mcp.list", "mcp.call"), ("mcp.list", "mcp.call")),
        ((), ("admin",), ("admin",)),
        ((), (), ()),
    ],
)
def test_a_scope_implies_the_narrower_ones(
    granted: tuple[str, ...], needed: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    assert missing_scopes(granted, needed) == lacks


def test_the_refusal_names_every_scope_of_the_operation() -> None:
    caller = Principal(issuer="i", subject="s", tenant="t", scopes=("mcp.list",), token_id="j", expires_at=1)
    require_scopes(caller, ("mcp.list",))
    with pytest.raises(Unauthenticated) as refused:
        require_scopes(caller, ("mcp.list", "mcp.call.notes"))
    assert (refused.value.http, refused.value.error) == (403, "insufficient_scope")
    assert refused.value.scopes == ("mcp.list", "mcp.call.notes")
