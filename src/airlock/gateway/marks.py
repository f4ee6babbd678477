"""What a row says of texts that it does not hold: shapes of attacks, and short marks by which distinct texts
are counted.

A mark has 12 bits: enough to tell thirty texts apart, far too few to find one again. A shape is a word, never
the text. Patterns are RE2: no text makes more than a linear effort.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any

from airlock.mcp.strict import is_object
from airlock.model.call import Identified, Reached, Round
from airlock.model.server import Item
from airlock.redaction.pattern import any_of

MARKS = 4096
"""Different marks."""

LONGEST = 256 * 1024
"""Bytes of a message that are looked at for shapes, from its beginning."""

COMMAND = "command"
INJECTION = "injection"
DECOY = "decoy"

_SHELL = r"(?:sudo\s+)?(?:/(?:usr/)?bin/)?(?:ba|z|da|k)?sh\b"
_GAP = r"(?:\s|\\[nrt])+"

_command = any_of(
    (
        rf"(?i)\b(?:curl|wget)\s[^|\"]*\|\s*{_SHELL}",
        rf"(?i)\bbase64\s+(?:-d|-D|--decode)\b[^|\"]*\|\s*{_SHELL}",
        r"(?i)/dev/(?:tcp|udp)/[0-9a-z]",
        r"(?i)\b(?:ba|z|da|k)?sh\s+-i\b[^\"]*>&",
        r"(?i)\bnc(?:at)?\s+(?:-\w+\s+)*-\w*e\s",
        r"(?i)[;&|]\s*(?:cat|less|head|tail)\s+/etc/(?:passwd|shadow)\b",
        r"(?i)\$\(\s*(?:curl|wget|id|whoami|cat)\b",
        r"(?i)`\s*(?:curl|wget|id|whoami|cat)\b[^`\"]*`",
        r"(?i)(?:;|&&|\|\|)\s*rm\s+-[a-z]*r[a-z]*\s+(?:-\w+\s+)*/",
        r"(?i)\bpython[0-9.]*\s+-c\b[^|]*\b(?:socket|subprocess|os\.system)\b",
        r"(?i)\bmkfifo\s+/tmp\b",
    )
)
"""What makes a command of an argument: load and run, connect back, break out."""

_injection = any_of(
    (
        rf"(?i)\b(?:ignore|disregard|forget){_GAP}(?:(?:all|any|of|the|your|these|those){_GAP}){{0,3}}"
        rf"(?:previous|prior|above|earlier|preceding){_GAP}(?:instruction|prompt|rule|direction|message)",
        rf"(?i)\bdo{_GAP}not{_GAP}(?:tell|inform|alert|notify|mention{_GAP}(?:this|it){_GAP}to){_GAP}the{_GAP}user\b",
        rf"(?i)\b(?:new|updated|real){_GAP}(?:system{_GAP})?instructions\s*:",
        rf"(?i)\b(?:begin|start){_GAP}(?:of{_GAP})?system{_GAP}(?:prompt|override|message)\b",
        rf"(?i)\byou{_GAP}are{_GAP}now{_GAP}(?:in{_GAP})?(?:developer{_GAP}mode|dan\b|an?{_GAP}unrestricted)",
    )
)
"""Sentences in a result that speak to the model instead of the reader."""


def short(text: str) -> int:
    """The mark of a text: one of `MARKS`."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:2]) % MARKS


def of_call(
    tool: Item | None, arguments: bytes | None, result: bytes | None, decoys: Collection[str]
) -> dict[str, object]:
    """`marks`: `command` for a shape in the canonical JSON of arguments, `injection` for one in a result,
    `decoy` for a tool (`server/name`) that nobody has a reason to call."""
    found: list[str] = []
    if arguments and _command(arguments[:LONGEST]):
        found.append(COMMAND)
    if result and _injection(result[:LONGEST]):
        found.append(INJECTION)
    if tool is not None and decoys and f"{tool.server}/{tool.name}" in decoys:
        found.append(DECOY)
    return {"marks": found} if found else {}


def standing(tool: Item) -> dict[str, object]:
    """What a row says of a tool: its risk, whether it says that it destroys, and whose it is."""
    found: dict[str, object] = {"sensitivity": tool.sensitivity, "read_only": tool.read_only}
    if not tool.read_only:
        annotations: Any = tool.definition.get("annotations")
        if is_object(annotations) and annotations.get("destructiveHint") is True:
            found["destructive"] = True
    if tool.tenant:
        found["server_tenant"] = tool.tenant
    return found


def of_round(said: Round) -> dict[str, object]:
    """What a row says of a request that goes on with a call."""
    told: dict[str, object] = {"mrtr_round": said.number}
    if said.digest:
        told["request_state_digest"] = said.digest
    if said.park:
        told["park"] = said.park
    return told


def asked(reached: Reached) -> dict[str, object]:
    """The mark of a name or a URI for which nothing was found: it is the caller's own text."""
    params = reached.message.params if isinstance(reached, Identified) else {}
    named = params.get("name", params.get("uri"))
    return {} if named is None else {"asked": short(str(named))}
