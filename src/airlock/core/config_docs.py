"""`docs/configuration.md`, made from the types: a key without a description cannot be documented, and fails.

Write it with `python -c "from airlock.core.config_docs import render; print(render(), end='')"`.
"""

from __future__ import annotations

import inspect
from typing import cast

import msgspec.inspect as mi
from msgspec import NODEFAULT, structs

from airlock.core.config import Config
from airlock.core.programs import SYSTEM_PATH
from airlock.core.schema import ALIASES, bare, describe, shown

_INTRODUCTION = """\
# Configuration

One YAML file, named with `--config`, and variables of the environment over it. Without a file the defaults
apply. The configuration is whole or refused: an unknown key, a value of another type or out of range, a key
that is given twice, and a file or program that does not exist stop the start, each with its file and line.
`airlock check --config FILE` says the same without starting.

- **Durations** are written `30s`, `5m`, `1h`, `30d`; a bare number is seconds. **Sizes** are written `64KiB`,
  `8MiB`, `1GiB`; a bare number is bytes. **Rates** are written `10/s`, `200/min`, `1000/h`, `5/d`.
- **Relative paths** start at the directory of the configuration file, or without a file at the directory in
  which Airlock was started.
- **Environment:** `AIRLOCK__SECTION__KEY` beats the file, in the spelling of YAML:
  `AIRLOCK__SERVER__PORT=8443`, `AIRLOCK__SERVER__ALLOWED_HOSTS='[gate.example]'`. `LOG_LEVEL` sets
  `logging.level` unless `AIRLOCK__LOGGING__LEVEL` does. An unknown variable with this prefix is refused.
- **Programs** of stdio servers are searched in `{path}`
  only. Name others by their full path.
- **Secrets** are never in this file: `credential` and `env_from` name files or variables. Aliases and tags of
  YAML are refused.
- **Not ready:** with `auth.local_issuer` on and a `server.host` other than loopback Airlock starts, answers
  `/ready` with 503 and the reason `weak_key`, and serves no call.
"""


def render() -> str:
    """The page. Raises ValueError for a key or section that says nothing of itself."""
    schema = cast("mi.StructType", mi.type_info(Config))
    parts = [_INTRODUCTION.replace("{path}", SYSTEM_PATH)]
    alone = [field for field in schema.fields if not isinstance(bare(field.type)[0], mi.StructType)]
    parts.append("## Top level\n\n" + _table(alone, "", environment=True))
    for field in schema.fields:
        kind, _ = bare(field.type)
        if isinstance(kind, mi.StructType):
            parts.append(section(kind, f"`{field.name}`", f"{field.name}.", environment=True))
    for field in schema.fields:
        for name, kind in _inner(field.name, field):
            parts.append(section(kind, f"`{name}`", f"{name}.", environment="[]" not in name))
    parts.append("## Other spellings\n\n| Accepted | Key |\n|---|---|\n" + _aliases())
    return "\n".join(parts)


def _aliases() -> str:
    return "".join(f"| `{alias}` | `{key}` |\n" for alias, key in ALIASES.items())


def _inner(path: str, field: mi.Field) -> list[tuple[str, mi.StructType]]:
    """The mappings that lists, names and optional keys hold, with the path by which people know them."""
    kind, _ = bare(field.type)
    if isinstance(kind, mi.VarTupleType):
        kind, path = bare(kind.item_type)[0], f"{path}[]"
    elif isinstance(kind, mi.DictType):
        kind, path = bare(kind.value_type)[0], f"{path}.NAME"
    if not isinstance(kind, mi.StructType):
        return []
    own = [(path, kind)] if "." in path or "[]" in path else []
    return own + [found for inner in kind.fields for found in _inner(f"{path}.{inner.name}", inner)]


def section(kind: mi.StructType, title: str, prefix: str, *, environment: bool) -> str:
    purpose = inspect.getdoc(kind.cls)
    if not purpose:
        raise ValueError(f"{title} is not documented")
    return f"## {title}\n\n{purpose}\n\n" + _table(kind.fields, prefix, environment=environment)


def _table(fields: list[mi.Field] | tuple[mi.Field, ...], prefix: str, *, environment: bool) -> str:
    lines = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for field in fields:
        key = f"`{prefix}{field.name}`"
        if environment and not isinstance(bare(field.type)[0], mi.StructType):
            key += f"<br>`AIRLOCK__{(prefix + field.name).upper().replace('.', '__')}`"
        value = "see below" if _inner(f"{field.name}[]", field) else describe(field.type)
        cells = (key, value.replace("|", "\\|"), _default(field), _meaning(prefix, field))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _meaning(prefix: str, field: mi.Field) -> str:
    kind = field.type
    extra: dict[str, str] | None = (
        structs.asdict(kind)["extra_json_schema"] if isinstance(kind, mi.Metadata) else None
    )
    if not extra or not extra.get("description"):
        raise ValueError(f"{prefix}{field.name} is not documented")
    return extra["description"]


def _default(field: mi.Field) -> str:
    if field.required:
        return "required"
    if field.default is NODEFAULT or field.default == ():
        return "none"
    if field.default is None or field.default == "":
        return "none" if field.default is None else "empty"
    if isinstance(bare(field.type)[0], mi.StructType):
        return "see below"
    return f"`{_spelled(cast('object', field.default), bare(field.type)[1])}`"


def _spelled(value: object, unit: str) -> str:
    """A default as YAML has it."""
    if isinstance(value, tuple):
        return f"[{', '.join(cast('tuple[str, ...]', value))}]"
    return str(value).lower() if isinstance(value, bool) else shown(cast("float", value), unit)
