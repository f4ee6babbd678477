"""What no single key tells about logins: a provider that is configured, a secret that is there.

Adds problems, and gives back the configuration with absolute paths, as `airlock.core.coherence` does.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import structs

from airlock.core.coherence import Ground, is_loopback
from airlock.core.config import Config, LoginSection

_BY_THE_BROWSER = "about|blob|data|file|ftp|https?|javascript|vbscript|view-source|wss?"
"""Schemes that browsers act on themselves."""

_SCHEME = re.compile(rf"(?!(?:{_BY_THE_BROWSER})$)[a-z][a-z0-9+.-]{{1,63}}")

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_SCOPE = re.compile(r"[!#-\[\]-~]+")


def settle_login(config: Config, ground: Ground) -> Config:
    """Adds what is wrong with `auth.login`."""
    login = config.auth.login
    if login is None:
        return config
    _provider(login, config, ground)
    _public(config, ground)
    _words(login, ground)
    login = structs.replace(login, client_secret_file=_secret(login, ground))
    return structs.replace(config, auth=structs.replace(config.auth, login=login))


def _provider(login: LoginSection, config: Config, ground: Ground) -> None:
    named = [entry for entry in config.auth.issuers if entry.issuer == login.issuer]
    if not named:
        ground.blame(
            "auth.login.issuer", "is none of auth.issuers", "its keys and claims are described there"
        )
    elif named[0].jwks_url is not None:
        hint = "leave out jwks_url: where people log in is found by discovery"
        ground.blame("auth.login.issuer", "has no discovery", hint)


def _words(login: LoginSection, ground: Ground) -> None:
    for index, scope in enumerate(login.scopes):
        if not _SCOPE.fullmatch(scope):
            ground.blame(f"auth.login.scopes.{index}", f"found `{scope}`", "one scope, without spaces")
    if "openid" not in login.scopes:
        ground.blame("auth.login.scopes", "openid is missing", "without it there is no identity token")
    for index, scheme in enumerate(login.redirect_schemes):
        if not _SCHEME.fullmatch(scheme):
            hint = "the scheme of an application, such as vscode; https and loopback are allowed anyway"
            ground.blame(f"auth.login.redirect_schemes.{index}", f"found `{scheme}`", hint)
    for index, origin in enumerate(login.unsafe_document_origins):
        if not _ORIGIN.fullmatch(origin):
            hint = "expected scheme://host or scheme://host:port"
            ground.blame(f"auth.login.unsafe_document_origins.{index}", f"found `{origin}`", hint)


def _public(config: Config, ground: Ground) -> None:
    """Codes and cookies travel to the public URL."""
    parts = urlsplit(config.server.public_url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        ground.blame("server.public_url", "not https", "logins need it, unless the gateway is on loopback")
    origin = f"{parts.scheme}://{parts.netloc.lower()}"
    if any(entry.issuer == origin for entry in config.auth.issuers):
        hint = "with auth.login the gateway issues tokens under its own origin"
        ground.blame("auth.issuers", f"{origin} is this gateway", hint)


def _secret(login: LoginSection, ground: Ground) -> str | None:
    if login.client_secret_file is None:
        return None
    key = "auth.login.client_secret_file"
    path = ground.file(login.client_secret_file, key)
    try:
        text = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    if not text:
        ground.blame(key, f"no secret in {path}", "ASCII text, on one line")
    return path
