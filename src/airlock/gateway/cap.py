"""Results no larger than they may be: text is cut and says so, anything else is refused.

A cut result keeps its shape: the blocks that fit, the part of the next one that fits, and a last block that
says how much is missing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from airlock.core.errors import Effect, Fault, Stage
from airlock.mcp import jsonrpc
from airlock.mcp.jsonrpc import Id
from airlock.mcp.strict import is_array, is_object

MAX_RESULT = 16 * 1024 * 1024
"""Bytes of a result that may reach a client, whatever policy says."""

_encode = msgspec.json.encode


def bounded(id: Id, result: dict[str, Any], demanded: int | None) -> bytes:
    """The answer with this result, in at most `demanded` bytes; cut, where that is what it takes.

    Raises `Fault` 50001 where it cannot be cut: structured content, pictures, or no room for a word.
    """
    body = jsonrpc.result(id, result)
    if fits(body, demanded):
        return body
    cut = None if demanded is None or len(body) > MAX_RESULT else _cut(id, result, demanded)
    if cut is None or not fits(cut, demanded):
        raise too_large(demanded)
    return cut


def fits(body: bytes, demanded: int | None) -> bool:
    """Whether an answer may be passed on. `demanded`: bytes that policy allows, None for any."""
    return len(body) <= limit(demanded)


def limit(demanded: int | None) -> int:
    """Bytes that an answer may have."""
    return MAX_RESULT if demanded is None else min(demanded, MAX_RESULT)


def too_large(demanded: int | None) -> Fault:
    """The failure that an answer is which may not be passed on."""
    return Fault(
        Stage.REDACT, 50001, "obligation_failed",
        f"The result is larger than the {limit(demanded)} bytes that may be passed on.",
        effect=Effect.POSSIBLE,
    )  # fmt: skip


def _cut(id: Id, result: dict[str, Any], demanded: int) -> bytes | None:
    """The answer with as much text as there is room for; None where the result is not only text."""
    texts = _only_texts(result)
    if texts is None:
        return None
    whole = sum(len(text.encode()) for text in texts)
    head = jsonrpc.result(id, {**result, "content": [_block(_marker(whole, whole))]})
    room = demanded - len(head)
    kept: list[str] = []
    for text in texts:
        size = len(_encode(_block(text))) + 1
        if size > room:
            kept.append(_prefix(text, room - len(_encode(_block(""))) - 1))
            break
        kept.append(text)
        room -= size
    shown = sum(len(text.encode()) for text in kept)
    blocks = [_block(text) for text in (*filter(None, kept), _marker(shown, whole))]
    return jsonrpc.result(id, {**result, "content": blocks})


def _only_texts(result: dict[str, Any]) -> list[str] | None:
    content = result.get("content")
    if "structuredContent" in result or not is_array(content):
        return None
    texts = [
        block["text"]
        for block in content
        if is_object(block) and block.get("type") == "text" and isinstance(block.get("text"), str)
    ]
    return texts if len(texts) == len(content) else None


def _prefix(text: str, room: int) -> str:
    """The longest beginning of a text that takes at most `room` bytes inside a JSON string."""
    low, high = 0, max(0, min(len(text), room))
    while low < high:
        middle = (low + high + 1) // 2
        if len(_encode(text[:middle])) - 2 <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _marker(shown: int, whole: int) -> str:
    return f"[Cut by the gateway: {shown} of {whole} bytes of text are shown, as policy demands.]"
