"""Configuration from file and environment: whole or refused, and every value knows where it came from.

1. the file, if one is named, as a tree of nodes with line numbers;
2. the environment: `AIRLOCK__SECTION__KEY`, and `LOG_LEVEL`, as nodes that replace those of the file;
3. the shape: every node against the types, unknown keys refused;
4. coherence: what no single key can tell;
5. all problems at once, or the frozen object.

This is the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
import msgspec.inspect as mi

from airlock.core import document, fragment
from airlock.core.clock import SYSTEM
from airlock.core.coherence import Ground, is_loopback, settle
from airlock.core.config import Config
from airlock.core.document import Node
from airlock.core.errors import ConfigError
from airlock.core.issuers import settle_issuers
from airlock.core.logins import settle_login
from airlock.core.schema import keys
from airlock.core.shape import Reader

PREFIX = "AIRLOCK__"

BASELESS = "fragment without base"
"""Why nothing is served by a file that holds a few keys to lay over a configuration, and none is there."""

LARGEST_FILE = 16 * 1024 * 1024
"""Ten thousand servers fill a tenth of it; more is no configuration file."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that can be used."""

    config: Config
    origins: dict[str, str]
    """From dotted key (`server.port`, `servers.0.url`) to `FILE:LINE`, `environment NAME` or `default`."""
    not_ready: tuple[str, ...]
    """Why a process with this configuration serves no call, as reason words; empty: nothing against it."""
    digest: str
    """SHA-256 of the canonical JSON of `config`, hex. Secrets are in files and variables, not in it."""


def environment() -> Mapping[str, str]:
    """The environment of this process, as it is now."""
    return dict(os.environ)


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Reads, checks and freezes. Raises ConfigError, whose `problems` are all that could be found."""
    schema = _schema()
    known = keys(schema)
    problems: list[ConfigError] = []
    root = _file(path, problems)
    overrides = _overrides(environ, known, problems)
    reader = Reader(overrides=overrides, known=known, problems=problems)
    values = reader.struct(schema, root)
    ground = Ground(folder=_folder(path), environ=environ, blame=reader.blame, now=SYSTEM.wall())
    rows = reader.rows.get("servers", [])
    config = settle(msgspec.convert(values, Config), rows, ground)
    config = settle_issuers(config, reader.rows.get("auth.issuers", []), rows, ground)
    config = settle_login(config, ground)
    if problems:
        raise ConfigError.together(problems)
    return Loaded(
        config=config,
        origins=reader.origins,
        not_ready=_not_ready(config, [key for key, where in reader.origins.items() if _in(path, where)]),
        digest=hashlib.sha256(msgspec.json.encode(config, order="sorted")).hexdigest(),
    )


def variables() -> dict[str, str]:
    """The environment variables that are read, and the dotted key that each of them sets."""
    names = {PREFIX + key.upper().replace(".", "__"): key for key in keys(_schema())}
    return {"LOG_LEVEL": "logging.level"} | names


def _schema() -> mi.StructType:
    return cast("mi.StructType", mi.type_info(Config))


def _folder(path: Path | None) -> Path:
    return Path(os.path.abspath(path)).parent if path else Path.cwd()


def _file(path: Path | None, problems: list[ConfigError]) -> Node:
    if path is None:
        return Node(where="default", kind="mapping")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise ConfigError(str(path), f"larger than {LARGEST_FILE} bytes")
    root = document.parse(data, lambda line: f"{path}:{line}", problems)
    if root.kind == "null":
        raise ConfigError(root.where, "the file is empty", "write {} if you want the defaults")
    if root.kind != "mapping":
        raise ConfigError(root.where, f"found a {root.kind} value", "expected sections, such as `server:`")
    return root


def _overrides(
    environ: Mapping[str, str], known: Mapping[str, object], problems: list[ConfigError]
) -> dict[str, Node]:
    """The nodes that the environment gives, by dotted key. The canonical variable beats LOG_LEVEL."""
    names = variables()
    found: dict[str, Node] = {}
    for name in names:
        if name in environ:
            where = f"environment {name}"
            try:
                found[names[name]] = document.parse(environ[name], lambda _, where=where: where, problems)
            except ConfigError as error:
                problems.append(error)
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"variables are {PREFIX}SECTION__KEY"
            problems.append(ConfigError(f"environment {name}", "unknown variable", hint))
    return found


def _in(path: Path | None, where: str) -> bool:
    return path is not None and where.startswith(f"{path}:")


def _not_ready(config: Config, written: Sequence[str]) -> tuple[str, ...]:
    """`weak_key`: a demo key that whoever reads the data directory can use must not face a network.

    `written` are the keys of the file: one that holds nothing but keys of a fragment was meant to be laid
    over a configuration that is missing.
    """
    exposed = config.auth.local_issuer and not is_loopback(config.server.host)
    lost = bool(written) and fragment.KEYS.issuperset(written)
    return (*(("weak_key",) if exposed else ()), *((BASELESS,) if lost else ()))
