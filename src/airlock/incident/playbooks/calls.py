"""The calls in a playbook: `name(key=value, ...)` with JSON values, and `${variable}` in texts.

A literal grammar: there is nothing in it to evaluate. What looks like code or a template in an argument is
refused rather than passed on, because somebody meant it to be run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from airlock.model.playbook import Call

LONGEST = 4096
"""Characters of a call."""

DEEPEST = 8
"""Levels of an argument."""

_NAME = re.compile(r"\s*([a-z]+(?:\.[a-z_]+)?)\s*\(\s*")
_KEY = re.compile(r"([a-z][a-z0-9_]*)\s*=\s*")
_NEXT = re.compile(r"\s*(,\s*|\)\s*)")
_VARIABLE = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")
_CODE = re.compile(r"\$\{|\$\(|\{\{|\{%|`|<%")


class CallError(ValueError):
    """A call that is none. `offset`: lines from its beginning."""

    def __init__(self, text: str, offset: int = 0) -> None:
        super().__init__(text)
        self.offset = offset


def read_call(text: str) -> Call:
    """The call that a fence holds. Raises `CallError`."""
    if len(text) > LONGEST:
        raise CallError(f"a call has {LONGEST} characters at most")
    name = _NAME.match(text)
    if name is None:
        _wrong(text, 0, "a call is written NAME(KEY=VALUE, ...)")
    params, at = _arguments(text, name.end())
    if text[at:].strip():
        _wrong(text, at, "one fence holds one call, and nothing after it")
    return Call(action=name[1], params=params)


def _arguments(text: str, at: int) -> tuple[dict[str, Any], int]:
    params: dict[str, Any] = {}
    if text.startswith(")", at):
        return params, at + 1
    while True:
        key = _KEY.match(text, at)
        if key is None:
            _wrong(text, at, "arguments are written KEY=VALUE: no code, and none without a name")
        if key[1] in params:
            _wrong(text, at, f"{key[1]} is given twice")
        params[key[1]], at = _value(text, key.end())
        following = _NEXT.match(text, at)
        if following is None:
            _wrong(text, at, "after a value comes a comma or the closing bracket")
        at = following.end()
        if following[1].startswith(")"):
            return params, at


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as wrong:
        raise CallError("a value is JSON: a text in double quotes, a number, true, false, a list, an object",
                        text.count("\n", 0, at)) from wrong  # fmt: skip
    if not _shallow(value, DEEPEST):
        _wrong(text, at, f"a value has {DEEPEST} levels at most")
    for found in texts(value):
        if _CODE.search(_VARIABLE.sub("", found)):
            _wrong(text, at, "an argument holds no code and no template: ${name} is all that is replaced")
    return value, end


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys of objects too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in _items(value):
            yield from texts(each)
    elif isinstance(value, dict):
        for key, each in _pairs(value):
            yield key
            yield from texts(each)


def variables(value: Any) -> list[str]:
    """The names that stand as `${name}` in a JSON value."""
    return [name for text in texts(value) for name in _VARIABLE.findall(text)]


def resolve(value: Any, given: Mapping[str, str]) -> Any:
    """The value with the variables replaced, once: what a variable holds is not looked at again.

    Raises `KeyError` for one that is not given.
    """
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: given[found[1]], value)
    if isinstance(value, list):
        return [resolve(each, given) for each in _items(value)]
    if isinstance(value, dict):
        return {key: resolve(each, given) for key, each in _pairs(value)}
    return value


def show(call: Call) -> str:
    """The spelling that `read_call` reads."""
    given = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in call.params.items())
    return f"{call.action}({given})"


def _items(value: Any) -> list[Any]:
    return value


def _pairs(value: Any) -> list[tuple[str, Any]]:
    return list(value.items())


def _shallow(value: Any, left: int) -> bool:
    """Whether a value has so many levels at most. Looks no deeper than that."""
    if not isinstance(value, (list, dict)):
        return True
    inner = _items(value) if isinstance(value, list) else [each for _, each in _pairs(value)]
    return left > 0 and all(_shallow(each, left - 1) for each in inner)


def _wrong(text: str, at: int, why: str) -> NoReturn:
    raise CallError(why, text.count("\n", 0, at))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key is given twice")
    return made


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_constant)
