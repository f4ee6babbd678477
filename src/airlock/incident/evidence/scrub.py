"""Nothing secret goes into a bag: what a configuration holds of secrets is replaced by keyed digests, and
every text that others may have written passes the detectors of secrets.

Pure, apart from reading the files that a configuration names. A keyed digest is the same for the same secret
in every bundle of one gateway, so that a change shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from airlock.core.config import Config, Detector
from airlock.redaction.rewrite import Redactor
from airlock.redaction.scan import Scanner

SECRETS: tuple[Detector, ...] = ("private_key", "aws_key", "github_token", "slack_token", "jwt", "password")
"""Detectors of what opens something. Personal data is part of evidence, and stays."""

Digest = Callable[[bytes], str]
"""The keyed digest of a secret."""

_CREDENTIALS = re.compile(r"(?<=://)[^/\s]+(?=@)")
_QUERY = re.compile(r"(?<=\?)[^\s#]+")
_FLAG = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*")
_PACKAGE = re.compile(r"@[a-z0-9-]+/[a-z0-9._-]+")
_LARGEST = 1024 * 1024
"""Bytes of a secret file that are looked at."""


class Scrubber:
    """Takes secrets out, and counts what it took by the name of the file that it is for."""

    def __init__(self) -> None:
        self._redactor = Redactor(Scanner(SECRETS))
        self.replaced: dict[str, dict[str, int]] = {}

    def text(self, name: str, text: str) -> str:
        """A text of the file `name`, without secrets."""
        clean, counts = self._redactor.text(text)
        self._count(name, counts)
        return clean

    def value(self, name: str, value: object) -> Any:
        """The same of a value of JSON."""
        clean, counts = self._redactor.value(value)
        self._count(name, counts)
        return clean

    def _count(self, name: str, counts: Mapping[str, int]) -> None:
        found = self.replaced.setdefault(name, {}) if counts else {}
        for detector, number in counts.items():
            found[detector] = found.get(detector, 0) + number


def configuration(config: Config, environ: Mapping[str, str], digest: Digest) -> dict[str, Any]:
    """The effective configuration without its secrets, and keyed digests of those that it names."""
    document = cast("dict[str, Any]", _urls(msgspec.to_builtins(config), digest))
    for server in document["servers"]:
        server["env"] = {name: digest(str(value).encode()) for name, value in server["env"].items()}
        server["command"] = _command(server["command"], digest)
    for target in document["incident"]["targets"]:
        target["url"] = _target(target["url"], digest)
    return {
        "configuration": document,
        "files": {path: _file(Path(path), digest) for path in sorted(set(_paths(document)))},
        "variables": {
            name: digest(environ[name].encode()) for name in sorted(_variables(document)) if name in environ
        },
    }


def _target(url: str, digest: Digest) -> str:
    """Where a notice goes, without its path: that of a webhook is often its only secret. What is no plain
    address, such as those of Apprise, may be secret in whole."""
    scheme, found, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if not found:
        return url
    if scheme not in ("http", "https"):
        return f"{scheme}://{digest(rest.encode())}"
    return f"{scheme}://{host}{slash}{digest(path.encode()) if path else ''}"


def _urls(value: object, digest: Digest) -> object:
    """Every address without what stands before its host, and without its question."""
    if isinstance(value, str):
        if "://" not in value:
            return value
        bare = _CREDENTIALS.sub(lambda found: digest(found[0].encode()).replace(":", "-"), value)
        return _QUERY.sub(lambda found: digest(found[0].encode()), bare)
    if isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return {key: _urls(member, digest) for key, member in members.items()}
    if isinstance(value, (list, tuple)):
        return [_urls(member, digest) for member in cast("list[object]", value)]
    return value


def _command(command: list[str], digest: Digest) -> list[str]:
    """The program, its flags, packages and paths that exist; every other argument may be a secret."""
    return command[:1] + [_argument(argument, digest) for argument in command[1:]]


def _argument(argument: str, digest: Digest) -> str:
    flag, is_set, value = argument.partition("=")
    if _FLAG.fullmatch(flag):
        return f"{flag}={_argument(value, digest)}" if is_set else argument
    if _PACKAGE.fullmatch(argument) or (argument.startswith("/") and Path(argument).exists()):
        return argument
    return digest(argument.encode())


def _paths(value: object) -> list[str]:
    """The files that a configuration names: values of keys that end with `file`, and of `env_from`."""
    found: list[str] = []
    if isinstance(value, dict):
        for key, member in cast("dict[str, object]", value).items():
            if key == "env_from" and isinstance(member, dict):
                found += [str(path) for path in cast("dict[str, object]", member).values()]
            elif key.endswith("file") and isinstance(member, str):
                found.append(member)
            else:
                found += _paths(member)
    elif isinstance(value, list):
        for member in cast("list[object]", value):
            found += _paths(member)
    return found


def _variables(document: dict[str, Any]) -> set[str]:
    return {
        server["credential"]["env"]
        for server in document["servers"]
        if server.get("credential") and server["credential"].get("env")
    }


def _file(path: Path, digest: Digest) -> str:
    try:
        with path.open("rb") as file:
            return digest(file.read(_LARGEST))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
