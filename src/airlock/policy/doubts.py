"""What a person should look at before a suggested rule counts: it was seen, which does not make it right.

Only names and places are judged, never what a server says of itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from airlock.model.decision import TargetInput
from airlock.policy.shapes import Shape

_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")

_DELETES = frozenset(
    [
        "delete",
        "remove",
        "drop",
        "destroy",
        "purge",
        "erase",
        "truncate",
        "wipe",
        "revoke",
        "kill",
        "terminate",
        "unlink",
    ]
)
_RUNS = frozenset(
    ["exec", "execute", "run", "shell", "command", "eval", "bash", "script", "spawn", "terminal"]
)
_SENDS = frozenset(
    [
        "send",
        "post",
        "publish",
        "share",
        "upload",
        "email",
        "mail",
        "invite",
        "tweet",
        "message",
        "comment",
        "push",
        "notify",
    ]
)
_SECRETS = frozenset(
    [
        "secret",
        "secrets",
        "password",
        "passwd",
        "passphrase",
        "token",
        "tokens",
        "credential",
        "credentials",
        "apikey",
        "key",
        "auth",
    ]
)
_SECRET_PLACES = frozenset(
    [
        ".env",
        ".ssh",
        ".aws",
        ".gnupg",
        ".netrc",
        ".kube",
        ".docker",
        ".git-credentials",
        "id_rsa",
        "id_ed25519",
        "secret",
        "secrets",
    ]
)
_HOME = re.compile(r"/(?:home|Users)/[^/]+")
"""A home directory holds far more than work. So does every folder of a single part."""


def words(name: str) -> frozenset[str]:
    """The words of a name in any of the usual spellings, in lower case."""
    return frozenset(part.lower() for part in _PART.findall(name))


def of_tool(target: TargetInput) -> Iterator[str]:
    """Doubts about the tool itself."""
    said = words(target.name)
    if said & _DELETES:
        yield "it deletes"
    if said & _RUNS:
        yield "it runs commands"
    if said & _SENDS:
        yield "it reaches people outside"
    if said & _SECRETS:
        yield "it deals with secrets"
    if target.sensitivity in {"high", "critical"}:
        yield f"its sensitivity is {target.sensitivity}: should somebody approve each call?"


def of_arguments(shapes: Mapping[str, Shape] | None) -> Iterator[str]:
    """Doubts about what it was called with."""
    if shapes is None:
        yield "its arguments have too many names to list: any is let through"
        return
    for name, shape in shapes.items():
        if words(name) & _SECRETS:
            yield f"{name} may carry a secret"
        if shape.redacted:
            yield f"{name} held something that redaction took out"
        yield from _of_places(name, shape)


def _of_places(name: str, shape: Shape) -> Iterator[str]:
    for folder in shape.seen:
        if _SECRET_PLACES & set(folder.lower().split("/")):
            yield f"{name} reaches {folder}, where secrets are kept"
    for folder in shape.folders:
        if "/" not in folder.strip("/") or _HOME.fullmatch(folder):
            yield f"{name} may be anything below {folder}"
    for origin in shape.origins:
        if not _is_inside(origin):
            yield f"{name} leads outside, to {origin}"


def _is_inside(origin: str) -> bool:
    host = urlsplit(origin).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"
