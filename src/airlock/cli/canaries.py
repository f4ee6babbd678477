"""Canaries: one made-up secret for each detector, sent through redaction to see whether it comes out."""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from airlock.cli import api
from airlock.core.errors import ConfigError
from airlock.mcp.strict import is_array, is_object
from airlock.redaction.canary import FORMS, Canary, canary
from airlock.redaction.detectors import NAMES
from airlock.redaction.rewrite import Redactor, placeholder
from airlock.redaction.scan import Scanner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airlock.core.config import Config, Detector, RedactionSection

Result = Literal["redacted", "missed", "undecided", "off"]


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One detector, tried in this process or through the gateway. `missed` names forms that came out."""

    detector: Detector
    way: Literal["here", "gateway"]
    result: Result
    forms: int = 0
    missed: tuple[str, ...] = ()


def here(section: RedactionSection) -> list[Trial]:
    """Every detector with every form, through a redactor made as the gateway makes its own."""
    redactor = Redactor(Scanner(section.detectors))
    return [
        tried(redactor, name) if name in section.detectors else Trial(detector=name, way="here", result="off")
        for name in NAMES
    ]


def tried(redactor: Redactor, name: Detector) -> Trial:
    """One detector with every form."""
    missed: list[str] = []
    for form, write in FORMS.items():
        made = canary(name, SystemRandom())
        written = write(made.text)
        kept, _ = redactor.text(f"an example {written} of a sample")
        if made.secret in kept or written in kept or placeholder(name) not in kept:
            missed.append(form)
    return Trial(
        detector=name,
        way="here",
        result="missed" if missed else "redacted",
        forms=len(FORMS),
        missed=tuple(missed),
    )


def there(config: Config, tool: str, argument: str, *, token: str, environ: Mapping[str, str]) -> list[Trial]:
    """A canary for each detector that is on, through the running gateway to a tool that answers it.

    Raises ConfigError where nothing listens, or where the token does not count.
    """
    trials: list[Trial] = []
    for name in config.redaction.detectors:
        made = canary(name, SystemRandom())
        params = {"name": tool, "arguments": {argument: f"an example {made.text} of a sample"}}
        message = {"jsonrpc": "2.0", "id": f"canary-{name}", "method": "tools/call", "params": params}
        answer = api.send(config, "POST", "/mcp", token=token, environ=environ, body=message)
        if answer is None:
            raise ConfigError(api.address(config, "/mcp"), "nothing listens there", "start the gateway first")
        trials.append(Trial(detector=name, way="gateway", result=_judged(answer.document, name, made)))
    return trials


def _judged(document: dict[str, Any], name: Detector, made: Canary) -> Result:
    texts = list(texts_of(document))
    # A server may write a text of several lines in its own way, with escapes for their ends.
    telling = max(made.secret.splitlines(), key=len)
    if any(telling in text for text in texts):
        return "missed"
    return "redacted" if any(placeholder(name) in text for text in texts) else "undecided"


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names of members too."""
    if isinstance(value, str):
        yield value
    elif is_object(value):
        for key, item in value.items():
            yield key
            yield from texts_of(item)
    elif is_array(value):
        for item in value:
            yield from texts_of(item)
