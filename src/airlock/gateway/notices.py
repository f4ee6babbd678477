"""What a server says while a call of it runs, as the client of that call hears it.

Progress passes under the client's own token, log messages to a client that wants them, and nothing else; less
what may not leave, while nothing contains the call, and not too much of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from airlock.mcp.methods import LOG_LEVELS
from airlock.model.call import Redacted
from airlock.model.upstream import Notify

NOTICE_MOST, NOTICES_MOST = 16 * 1024, 1024 * 1024
"""Bytes of one notification and of all of a call; what is more is dropped, and costs nothing."""

PROGRESS, LOGGED = "notifications/progress", "notifications/message"

Clean = Callable[[Redacted], Callable[[dict[str, Any]], dict[str, Any]]]
"""Takes out of the params of the progress of a call what may not leave."""

Logged = Callable[[Redacted, dict[str, Any]], dict[str, Any] | None]
"""The same for a log message; None: nothing of it may leave."""


def everything(call: Redacted, params: dict[str, Any]) -> dict[str, Any] | None:
    """Nothing is looked for in log messages."""
    del call
    return params


def silent(call: Redacted) -> bool:
    """Whether the client wants to hear of nothing, as most do: neither of progress nor of log messages."""
    client = call.allowed.admitted.routed.identified.client
    return not (client.log_level or client.session or "_meta" in call.request.params)


def hearing(
    call: Redacted, notify: Notify, *, clean: Clean, logged: Logged, passing: Callable[[], bool]
) -> Notify | None:
    """What to call with each notification of the server; None where the client wants none. `passing` says
    whether the call may still be heard of."""
    progress, log = _progress(call, notify, clean), _log(call, notify, logged)
    if progress is None and log is None:
        return None
    left = NOTICES_MOST

    def heard(method: str, params: dict[str, Any]) -> None:
        nonlocal left
        tell = progress if method == PROGRESS else log if method == LOGGED else None
        if tell is None:
            return
        size = len(msgspec.json.encode(params))
        left -= size
        if size <= NOTICE_MOST and left >= 0 and passing():
            tell(params)

    return heard


def _progress(call: Redacted, notify: Notify, clean: Clean) -> Callable[[dict[str, Any]], None] | None:
    meta = call.request.params.get("_meta")
    if meta is None or "progressToken" not in meta:
        return None
    ours = meta["progressToken"]
    theirs = call.allowed.admitted.routed.identified.message.params["_meta"]["progressToken"]
    less = clean(call)

    def tell(params: dict[str, Any]) -> None:
        if params.get("progressToken") == ours:
            notify(PROGRESS, {**less(params), "progressToken": theirs})

    return tell


def _log(call: Redacted, notify: Notify, logged: Logged) -> Callable[[dict[str, Any]], None] | None:
    """A modern client hears what it asked for in its request; a legacy one, in its session, what it set or
    everything."""
    client = call.allowed.admitted.routed.identified.client
    if not client.log_level and (client.modern or not client.session):
        return None
    least = LOG_LEVELS.index(client.log_level) if client.log_level else 0

    def tell(params: dict[str, Any]) -> None:
        level = params.get("level")
        if level not in LOG_LEVELS or LOG_LEVELS.index(level) < least:
            return
        less = logged(call, params)
        if less is not None:
            notify(LOGGED, less)

    return tell
