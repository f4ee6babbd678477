"""The templates: in a sandbox, every name known, every value made harmless on its way into the text.

Jinja loads with the first document, not with this module. Templates are part of the package; there are no
others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from airlock.incident.render import words

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment


def fill(template: str, facts: Mapping[str, object]) -> str:
    """The text of a template. Raises `jinja2.UndefinedError` for a name that `facts` lacks."""
    return _environment().get_template(template).render(facts)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    from jinja2 import FunctionLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(_source),
        undefined=StrictUndefined,
        finalize=_value,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.globals = {name: getattr(words, name) for name in ("day", "length", "moment")}
    return environment


def _source(name: str) -> str:
    return files("airlock.incident.render").joinpath("templates", f"{name}.j2").read_text(encoding="utf-8")


def _value(value: object) -> str:
    """What an expression of a template becomes. HTML is what only a function here can make."""
    return value if isinstance(value, words.Safe) else words.told(value)
