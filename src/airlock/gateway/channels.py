"""Every place of a result, an error or a notification where a server can put text, less what may not pass.

Kinds stay what they are, so the message keeps its shape: text stays text, and the data of a picture or of
a resource stays base64. Neighbouring texts are looked at together, because a secret may be cut in two. What
holds nothing comes back as the same object.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

import msgspec

from airlock.gateway.redact import Rules
from airlock.mcp.strict import is_array, is_object
from airlock.model.call import Findings
from airlock.redaction.rewrite import Redactor

TAIL = 512
"""Characters of earlier notifications that a later one is looked at together with."""

_SHAPED = bytes(byte if 32 <= byte < 127 and byte not in b"%&\\" else 10 for byte in range(256))
"""What sure shapes are made of: random bytes are full of escapes that would be decoded for nothing."""

LONGEST_KEPT = 1024
"""Bytes of what stands around a content and is remembered to hold nothing."""

_AROUND = {"resultType", "_meta", "isError"}
"""Members that say how to read a result, and no more."""

_PLAIN = {"type", "text"}
"""Keys of a block that has nothing but its text."""


class Cleaner:
    """Takes out of the messages of one call, and counts what it took."""

    def __init__(self, rules: Rules, redactor: Redactor, found: Findings) -> None:
        self._rules = rules
        self._redactor = redactor
        self._found = found

    def value(self, value: Any) -> Any:
        """Any JSON value."""
        less, counts = self._redactor.value(value, self._found.hosts)
        self._found.add(counts)
        return less

    def texts(self, texts: list[str]) -> list[str]:
        """Neighbouring texts."""
        less, counts = self._redactor.texts(texts, self._found.hosts)
        self._found.add(counts)
        return less

    def result(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result of a call."""
        content = result.get("content")
        if not is_array(content):
            return self._parts(result)
        rest = {key: value for key, value in result.items() if key != "content"}
        less = self._envelope(rest) if rest else rest
        blocks = self._content(content)
        if less is rest and blocks is content:
            return result
        order = [key if key in less or key == "content" else None for key in result]
        if None in order:  # a key was taken out as well: its place does not matter
            return {"content": blocks, **less}
        return {key: blocks if key == "content" else less[key] for key in result}

    def _parts(self, result: dict[str, Any]) -> dict[str, Any]:
        """A result whose content is that of resources, or of the messages of a prompt."""
        for key, part in (("contents", self._contents), ("messages", self._messages)):
            held = result.get(key)
            if is_array(held):
                return self._around(result, key, part(held))
        return self.value(result)

    def _contents(self, contents: list[Any]) -> list[Any]:
        """Contents of resources, each as it is in a block of content."""
        blocks: list[Any] = [{"resource": one} if is_object(one) else one for one in contents]
        found = self._content(blocks)
        if found is blocks:
            return contents
        return [new["resource"] if is_object(old) else new for new, old in zip(found, contents, strict=True)]

    def _messages(self, messages: list[Any]) -> list[Any]:
        blocks: list[Any] = [one.get("content") if is_object(one) else one for one in messages]
        cleaned = self._content(blocks)
        found = [
            self._around(old, "content", new) if is_object(old) and "content" in old else new
            for new, old in zip(cleaned, messages, strict=True)
        ]
        return messages if all(new is old for new, old in zip(found, messages, strict=True)) else found

    def progress(self) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """For the params of the progress notifications of one call, in their order."""
        before = ""

        def clean(params: dict[str, Any]) -> dict[str, Any]:
            nonlocal before
            ours = ("message", "progressToken")
            less = self.value({key: value for key, value in params.items() if key not in ours})
            less |= {key: params[key] for key in params if key == "progressToken"}
            message = params.get("message")
            if isinstance(message, str):
                less["message"] = self.texts([before, message])[1]
                before = (before + less["message"])[-TAIL:]
            elif "message" in params:
                less["message"] = self.value(message)
            return less

        return clean

    def _envelope(self, envelope: dict[str, Any]) -> dict[str, Any]:
        """What stands around the content: the same with every result of a server, so it is looked at once."""
        if not envelope.keys() <= _AROUND:
            return self.value(envelope)
        key = (self._redactor, msgspec.json.encode(envelope))
        if key in self._rules.harmless:
            return envelope
        less = self.value(envelope)
        if less is envelope and len(key[1]) <= LONGEST_KEPT:
            self._rules.remember(key)
        return less

    def _content(self, blocks: list[Any]) -> list[Any]:
        if len(blocks) == 1 and _is_plain(blocks[0]):  # the usual content, by the shortest way
            text = blocks[0]["text"]
            less = self.texts([text])[0]
            return blocks if less is text else [{**blocks[0], "text": less}]
        parts = [_text_of(block) for block in blocks]
        texts = [text for text in parts if text is not None]
        cleaned = iter(self.texts(texts) if texts else texts)
        found = [
            self._block(block, None if text is None else next(cleaned))
            for block, text in zip(blocks, parts, strict=True)
        ]
        return blocks if all(new is old for new, old in zip(found, blocks, strict=True)) else found

    def _block(self, block: Any, text: str | None) -> Any:
        """One content block; `text` is its text, already looked at."""
        if not is_object(block):
            return self.value(block)
        if text is not None and isinstance(block.get("text"), str):
            if _is_plain(block):
                return block if text is block["text"] else {**block, "text": text}
            return self._around(block, "text", text)
        resource: Any = block.get("resource")
        if is_object(resource):
            return self._around(block, "resource", self._resource(resource, text))
        if isinstance(block.get("data"), str):
            return self._around(block, "data", self._data(block["data"]))
        return self.value(block)

    def _resource(self, resource: dict[str, Any], text: str | None) -> dict[str, Any]:
        """An embedded resource; `text` is its text, already looked at."""
        if text is not None:
            return self._around(resource, "text", text)
        if isinstance(resource.get("blob"), str):
            return self._around(resource, "blob", self._data(resource["blob"]))
        return self.value(resource)

    def _around(self, holder: dict[str, Any], key: str, done: Any) -> dict[str, Any]:
        """The holder with `done` under `key`, everything else looked at."""
        rest = {name: value for name, value in holder.items() if name != key}
        less = self.value(rest)
        if less is rest and done is holder[key]:
            return holder
        return (
            {name: done if name == key else less[name] for name in holder}
            if less.keys() == rest.keys()
            else {
                **less,
                key: done,
            }
        )

    def _data(self, data: str) -> str:
        """Base64 of a picture, a sound or a file: read as text where it is text, else by sure shapes only."""
        try:
            raw = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return self.texts([data])[0]
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            return self._binary(raw, data)
        less = self.texts([text])[0]
        return data if less is text else base64.b64encode(less.encode()).decode()

    def _binary(self, raw: bytes, data: str) -> str:
        scanner = self._rules.binary
        hits = scanner.find(raw.translate(_SHAPED).decode("ascii")) if scanner else []
        if not hits:
            return data
        for hit in hits:
            self._found.add({hit.detector: 1})
        return base64.b64encode(f"[REDACTED:{hits[0].detector}]".encode()).decode()


def _is_plain(block: Any) -> bool:
    """Whether a block has nothing but its text. Another type is the server's own word, to be looked at."""
    return (
        is_object(block)
        and block.keys() == _PLAIN
        and block["type"] == "text"
        and isinstance(block["text"], str)
    )


def _text_of(block: Any) -> str | None:
    """The text of a text block, or of a resource that a block holds."""
    if not is_object(block):
        return None
    resource: Any = block.get("resource")
    for holder in (block, resource):
        if is_object(holder) and isinstance(holder.get("text"), str):
            return holder["text"]
    return None
