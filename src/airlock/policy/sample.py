"""An ordinary question, so that tests, explanations and trials need to say only what matters to them."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from airlock.model.decision import ContextInput, PolicyInput, SubjectInput, TargetInput, TimeInput

SAMPLE = PolicyInput(
    phase="call",
    subject=SubjectInput(
        id="alice",
        issuer="https://idp.example",
        tenant="acme",
        roles=(),
        groups=(),
        scopes=("mcp.call",),
        client_id="ide-1",
        auth="oidc",
        auth_age_s=120,
        actor=(),
    ),
    action="tools/call",
    target=TargetInput(
        kind="tool",
        server="docs",
        name="search",
        uri="",
        tenant="",
        sensitivity="low",
        read_only=True,
        definition_digest="ab" * 32,
        approved=True,
        tags=(),
        owner="",
    ),
    arguments={},
    context=ContextInput(
        source_ip="203.0.113.7",
        era="2026-07-28",
        route="/mcp",
        time=TimeInput(hour=14, minute=5, weekday="wed", date="2026-11-18", zone="UTC"),
        session_labels=(),
        risk=(),
    ),
)
"""Alice of acme, without a role, calls a harmless tool of everybody on a Wednesday afternoon."""


def complete(*partial: dict[str, Any]) -> PolicyInput:
    """Each part over SAMPLE and over those before it: objects are merged, other values replace.

    Raises ValueError for unknown keys.
    """
    merged = msgspec.to_builtins(SAMPLE)
    for part in partial:
        _lay_over(merged, part, "input")
    try:
        return msgspec.convert(merged, PolicyInput)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def _lay_over(below: dict[str, Any], above: dict[str, Any], path: str) -> None:
    for key, value in above.items():
        here = f"{path}.{key}"
        if key not in below:
            raise ValueError(f"{here} is no key of the input")
        if here != "input.arguments" and isinstance(below[key], dict) and isinstance(value, dict):
            _lay_over(below[key], cast("dict[str, Any]", value), here)
        else:
            below[key] = value
