"""URIs of a server in what it answers, as they are on `/mcp`: whoever reads one there comes back to it.

Rewritten where the protocol says that a URI stands: contents, embedded resources, links. Text is never
rewritten, nor is an `https:` link, which clients fetch themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import is_
from typing import Any

from airlock.mcp import uris
from airlock.mcp.strict import is_array, is_object


def result(server: str, result: dict[str, Any]) -> dict[str, Any]:
    """The result of any call of this server; the same object where it holds no URI."""
    for key in _PARTS.keys() & result.keys():
        held = result[key]
        new = _PARTS[key](server, held)
        if new is not held:
            result = {**result, key: new}
    return result


def error(server: str, error: dict[str, Any]) -> dict[str, Any]:
    """An error object; servers name in its data the URI that they do not know."""
    data = error.get("data")
    return {**error, "data": _located(server, data)} if is_object(data) else error


def _each(one: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """Rewrites what a list holds; the same list where nothing of it changes."""

    def rewritten(server: str, held: Any) -> Any:
        if not is_array(held):
            return held
        found = list(map(partial(one, server), held))
        return held if all(map(is_, found, held)) else found

    return rewritten


def _block(server: str, block: Any) -> Any:
    if not is_object(block):
        return block
    if "resource" in block:
        return {**block, "resource": _located(server, block["resource"])}
    if block.get("type") != "resource_link" or str(block.get("uri")).startswith("https:"):
        return block
    return _located(server, block)


def _message(server: str, message: Any) -> Any:
    if not is_object(message):
        return message
    content: Any = message.get("content")
    new = _blocks(server, content) if is_array(content) else _block(server, content)
    return message if new is content else {**message, "content": new}


def _located(server: str, holder: Any) -> Any:
    if not is_object(holder) or not isinstance(holder.get("uri"), str):
        return holder
    return {**holder, "uri": uris.federated(server, holder["uri"])}


_blocks = _each(_block)
_PARTS = {"content": _blocks, "contents": _each(_located), "messages": _each(_message)}
"""The members of results that hold URIs."""
