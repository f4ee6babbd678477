"""A private key on disk that only its owner can read.

Several processes may start at once: each writes a key of its own beside the final name, one of them wins the
link to that name, and all of them use what stands there. If we crash before the link, a key that never signed
anything is left in a hidden file; after it, the key is whole and durable.
"""

from __future__ import annotations

import os
import stat
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Literal

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from airlock.core.errors import ConfigError


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The private JWK (RFC 8037) as it stands in the file."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    d: str
    kid: str


def load_or_create(path: Path) -> OKPKey:
    """The Ed25519 key in `path`, made on first use. Raises `ConfigError` where it is not safe to use."""
    for folder in (path.parent.parent, path.parent):  # `parents` alone would leave the first open to read
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _refuse_shared(path.parent, path.parent.stat(), "chmod 700")
    if not path.exists():
        _create(path)
    return _load(path)


def _create(path: Path) -> None:
    key = OKPKey.generate_key("Ed25519", private=True, auto_kid=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.encode(key.as_dict(private=True)))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)
        except FileExistsError:
            return  # another process was first: its key counts
    finally:
        Path(name).unlink()
    _flush_directory(path.parent)


def _flush_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _load(path: Path) -> OKPKey:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError as failed:
        raise ConfigError(str(path), f"the key cannot be opened: {failed.strerror}") from failed
    with os.fdopen(handle, "rb") as file:
        _refuse_shared(path, os.fstat(file.fileno()), "chmod 600")
        content = file.read()
    try:
        stored = msgspec.json.decode(content, type=_Stored)
        key = OKPKey.import_key(msgspec.to_builtins(stored))
        _check_halves(key, stored.x)
    except (msgspec.MsgspecError, UnicodeDecodeError, JoseError, ValueError) as broken:
        raise ConfigError(
            str(path), "this is no Ed25519 key", "remove it to make a new one; tokens of the old one end"
        ) from broken
    return key


def _check_halves(key: OKPKey, public: str) -> None:
    """Raises `ValueError` where the public half is another key's: its signatures would never verify.

    The library takes the public half from the private one, and publishes what the file says.
    """
    if urlsafe_b64encode(key.public_key.public_bytes_raw()).rstrip(b"=") != public.encode():
        raise ValueError("the two halves do not belong together")


def _refuse_shared(path: Path, found: os.stat_result, remedy: str) -> None:
    """Who can read the key can be anybody; who can write its directory can put another in its place."""
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigError(str(path), "other users can reach the signing key", f"{remedy} {path}")
    if found.st_uid != os.geteuid():
        raise ConfigError(str(path), "belongs to another user", f"chown it to uid {os.geteuid()}")
