"""Values that we hand out and take back: nobody else can read, change, make or move them.

AES-256-GCM (NIST SP 800-38D). A sealed text is `KEYID.BASE64URL(nonce || ciphertext || tag)`, visible ASCII.
Key id, purpose and context are associated data: a value sealed for one use opens for no other. Several keys
may open, one seals, so keys change without breaking what is in flight. A text has one spelling: a change of
any character, also of unused bits of the encoding, is refused.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from airlock.core.errors import ConfigError
from airlock.core.ids import Randomness

KEY_BYTES = 32

NONCE_BYTES = 12
"""Random: at most 2^32 values under one key (SP 800-38D section 8.3), so keys are changed before that."""

_TAG_BYTES = 16

_URL_SAFE = bytes.maketrans(b"+/", b"-_")

_nonce = Randomness(NONCE_BYTES)


class SealBroken(ValueError):
    """Not sealed by us, for this purpose and context, with a key that we still have. It never says which."""


class Sealer:
    """Seals with one key and opens with several."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        for key_id, key in keys.items():
            if not (key_id.isascii() and key_id.isalnum()) or len(key) != KEY_BYTES:
                raise ValueError("a key id is letters and digits, a key is 32 bytes")
        if current not in keys:
            raise ValueError("the current key is not among the keys")
        self._keys = dict(keys)
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current

    def derived(self, use: str) -> Sealer:
        """A sealer with keys of its own for one use (HKDF, RFC 5869): what it seals, this one cannot open."""
        info = b"airlock derived 1\0" + use.encode()
        keys = {
            key_id: HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)
            for key_id, key in self._keys.items()
        }
        return Sealer(keys, self._current)

    def seal(self, purpose: str, payload: bytes, context: bytes = b"") -> str:
        """The payload as text that only `open` with the same purpose and context reads."""
        nonce = _nonce()
        bound = _bound(self._current, purpose, context) if context else _unbound(self._current, purpose)
        body = nonce + self._ciphers[self._current].encrypt(nonce, payload, bound)
        return f"{self._current}.{_encode(body)}"

    def open(self, purpose: str, text: str, context: bytes = b"") -> bytes:
        """The payload. Raises SealBroken for everything that this sealer's keys did not seal so."""
        key_id, _, encoded = text.partition(".")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SealBroken("not a sealed value")
        try:
            body = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        except ValueError as error:
            raise SealBroken("not a sealed value") from error
        if _encode(body) != encoded or len(body) < NONCE_BYTES + _TAG_BYTES:
            raise SealBroken("not a sealed value")
        try:
            return cipher.decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], _bound(key_id, purpose, context))
        except InvalidTag as error:
            raise SealBroken("not a sealed value") from error


def _encode(body: bytes) -> str:
    return binascii.b2a_base64(body, newline=False).translate(_URL_SAFE, b"=").decode("ascii")


@lru_cache(maxsize=64)
def _unbound(key_id: str, purpose: str) -> bytes:
    """Associated data without a context: the same for every value of a purpose."""
    return _bound(key_id, purpose, b"")


def _bound(key_id: str, purpose: str, context: bytes) -> bytes:
    """Associated data: each part with its length before it, so that no two uses share a spelling."""
    parts = (b"airlock seal 1", key_id.encode(), purpose.encode(), context)
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


class _KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`keys/seal.json`: keys in base64, by id."""

    current: str
    keys: dict[str, bytes]


def load_keys(data_dir: Path) -> Sealer | None:
    """The sealer of `data_dir/keys/seal.json`, for who only opens; None where there is no such file."""
    try:
        return _load(data_dir / "keys" / "seal.json")
    except FileNotFoundError:
        return None


def load_or_create_keys(data_dir: Path) -> Sealer:
    """The sealer of `data_dir/keys/seal.json`, which is made with a fresh key where it is missing.

    Processes that start at the same time end up with the same keys. Raises ConfigError where the file is
    readable by others or damaged: a new key in its place would hide the mistake and end every session.
    """
    path = data_dir / "keys" / "seal.json"
    try:
        return _load(path)
    except FileNotFoundError:
        for folder in (data_dir, path.parent):  # `parents` alone would leave the first open to read
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
        return _load(path)


def _load(path: Path) -> Sealer:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if mode & 0o077:
            raise ConfigError(str(path), f"mode {mode & 0o777:04o}: others can use the keys", "chmod 600")
        data = file.read()
    try:
        stored = msgspec.json.decode(data, type=_KeyFile)
        return Sealer(stored.keys, stored.current)
    except ValueError as error:
        raise ConfigError(str(path), "not a key file", "restore it, or remove it for a new key") from error


def _create(path: Path) -> None:
    """Writes the whole file under another name and then links it: whoever links first wins.

    If we crash before the link there is no key file, after it there is a complete one.
    """
    key_id = secrets.token_hex(4)
    content = msgspec.json.encode(_KeyFile(current=key_id, keys={key_id: os.urandom(KEY_BYTES)}))
    draft = path.with_name(f".seal-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
