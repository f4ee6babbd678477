"""OAuth scopes of operations, and which ones a token lacks. A scope opens the door, then policy decides.

Hierarchy: `mcp.call` implies `mcp.call.{server}` and `mcp.list`; `mcp.call.{server}` implies `mcp.list`.
"""

from __future__ import annotations

from airlock.identity.refusals import insufficient
from airlock.model.principal import Principal

LIST = "mcp.list"
CALL = "mcp.call"

SUPPORTED = (LIST, CALL)
"""What clients are told to ask for."""

_FREE = frozenset(("initialize", "ping", "server/discover", "logging/setLevel"))
"""Any accepted token may shake hands. What has no method answers a request that was allowed."""


def needed_scopes(method: str, server: str = "") -> tuple[str, ...]:
    """Every scope that an MCP method needs; `server` is the canonical server it acts on, where there is one.

    An unknown method needs what a call needs.
    """
    if method in _FREE or not method or method.startswith("notifications/"):
        return ()
    if method.endswith("/list") or method == "subscriptions/listen":
        return (LIST,)
    return (f"{CALL}.{server}",) if server else (CALL,)


def missing_scopes(granted: tuple[str, ...], needed: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `needed` that `granted` neither holds nor implies, in their order."""
    return tuple(scope for scope in needed if scope not in granted and not _implied(scope, granted))


def require_scopes(principal: Principal, needed: tuple[str, ...]) -> None:
    """Raises `Unauthenticated` (403) naming all scopes of the operation, so that one step-up is enough."""
    if missing_scopes(principal.scopes, needed):
        raise insufficient(needed)


def _implied(scope: str, granted: tuple[str, ...]) -> bool:
    if scope == LIST:
        return any(held == CALL or held.startswith(CALL + ".") for held in granted)
    return scope.startswith(CALL + ".") and CALL in granted
