"""The credential of a server: which keys belong together, and files that must be there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import structs

if TYPE_CHECKING:
    from airlock.core.coherence import Ground
    from airlock.core.config import CredentialEntry

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

ANY = "*"

_LOGIN = ("client_id", "key_file", "issuers", "register", "scopes", "client_metadata_url", "allow_private")
_HEADERS = ("header", "prefix")


def settle_credential(credential: CredentialEntry, key: str, ground: Ground) -> CredentialEntry:
    """The credential with absolute paths."""
    foreign = _LOGIN if credential.mode == "static" else _HEADERS
    for field in structs.fields(type(credential)):
        if field.name in foreign and getattr(credential, field.name) != field.default:
            hint = f"mode: {credential.mode} has no use for it"
            ground.blame(f"{key}.{field.name}", "not used by this mode", hint)
    if credential.mode == "static":
        _static(credential, key, ground)
    else:
        _login(credential, key, ground)
    if credential.env is not None and not ground.environ.get(credential.env):
        ground.blame(f"{key}.env", f"no variable {credential.env} in the environment", "set it")
    return structs.replace(
        credential,
        file=credential.file and ground.file(credential.file, f"{key}.file"),
        key_file=credential.key_file and ground.file(credential.key_file, f"{key}.key_file"),
    )


def _static(credential: CredentialEntry, key: str, ground: Ground) -> None:
    if not _HEADER.fullmatch(credential.header):
        ground.blame(f"{key}.header", "not the name of a header", "such as Authorization or X-Api-Key")
    if not _PRINTABLE.fullmatch(credential.prefix):
        ground.blame(f"{key}.prefix", "not printable ASCII", "such as `Bearer `")
    if (credential.file is None) == (credential.env is None):
        ground.blame(key, "file and env", "give one of the two")


def _login(credential: CredentialEntry, key: str, ground: Ground) -> None:
    _client(credential, key, ground)
    if credential.mode == "client_credentials":
        _own(credential, key, ground)
    for name in ("issuers", "register"):
        for index, issuer in enumerate(getattr(credential, name)):
            if not (name == "register" and issuer == ANY):
                _issuer(issuer, f"{key}.{name}.{index}", ground, private=credential.allow_private)
    for index, scope in enumerate(credential.scopes):
        if not _SCOPE.fullmatch(scope):
            hint = "one scope each: visible ASCII without blanks and quotes"
            ground.blame(f"{key}.scopes.{index}", f"found `{scope}`", hint)
    if credential.client_metadata_url:
        _document(credential.client_metadata_url, f"{key}.client_metadata_url", ground)


def _client(credential: CredentialEntry, key: str, ground: Ground) -> None:
    """As whom the gateway comes, where somebody registered it."""
    proofs = [name for name in ("file", "env", "key_file") if getattr(credential, name) is not None]
    if len(proofs) > 1:
        ground.blame(key, " and ".join(proofs), "the client proves itself in one way: give one of them")
    if proofs and not credential.client_id:
        ground.blame(
            f"{key}.client_id", "missing", f"{proofs[0]} proves a client that is registered: name it"
        )
    if credential.client_id and len(credential.issuers) != 1:
        hint = "a registered client is known to one authorization server: name that one"
        ground.blame(f"{key}.issuers", f"found {len(credential.issuers)}", hint)


def _own(credential: CredentialEntry, key: str, ground: Ground) -> None:
    if not credential.client_id:
        ground.blame(f"{key}.client_id", "missing", "mode: client_credentials needs a registered client")
    elif not (credential.file or credential.env or credential.key_file):
        hint = "a client that logs in for itself needs a secret (file or env) or key_file"
        ground.blame(key, "no secret", hint)
    for name in ("register", "client_metadata_url"):
        if getattr(credential, name):
            ground.blame(f"{key}.{name}", "not used by this mode", "only mode: user_oauth has it")


def _issuer(issuer: str, key: str, ground: Ground, *, private: bool) -> None:
    """The text is not repeated where it may hold a password."""
    try:
        parts = urlsplit(issuer)
        sound = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        parts, sound = urlsplit(""), False
    plain = issuer.isascii() and issuer.isprintable() and " " not in issuer
    if not sound or not plain or parts.query or parts.fragment or parts.scheme not in ("http", "https"):
        hint = "such as https://login.example.com, exactly as the server's metadata names it"
        ground.blame(key, "not the identifier of an authorization server", hint)
    elif parts.scheme == "http" and not (private and parts.hostname in _LOOPBACK):
        hint = "use https; http only on this machine, with allow_private: true, for tests"
        ground.blame(key, "an issuer without TLS", hint)


def _document(url: str, key: str, ground: Ground) -> None:
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "https" and bool(parts.hostname) and len(parts.path) > 1
    except ValueError:
        sound = False
    if not sound or "@" in url or "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        hint = "such as https://gateway.example.com/client.json"
        ground.blame(key, "not an https URL with a path", hint)
