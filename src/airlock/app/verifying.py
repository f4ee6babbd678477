"""Checks of the gateway from outside: three addresses asked here, and `airlock verify` in its own process.

What the checks need of the environment is taken from there. What is missing is made where that is possible:
the address is that of the configuration, and a gateway with a local issuer on loopback gets short tokens.
"""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from airlock.app import outside
from airlock.core.clock import SYSTEM
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.identity.local import LocalIssuer, require_loopback
from airlock.identity.scopes import SUPPORTED
from airlock.incident.verification import Name, Ran, Seen

SUITES: tuple[Name, ...] = ("e2e", "performance", "security")

SYNTHETIC = "synthetic"
"""Subject of the token that checks call with."""

KEY = "keys/local-issuer.json"

LASTS = 900.0
"""Seconds for which a token that is made here is good."""

PATIENCE = 600.0
"""Seconds after which a suite is ended."""

SHOWN = 300
"""Characters of what was observed."""


def surroundings(
    config: Config, environ: Mapping[str, str], *, admin: str = "", file: Path | None = None
) -> dict[str, str]:
    """The environment for `airlock verify`: `environ`, and what can be added. `admin`: a token of an
    administrator that is known here; empty: none is. Without a configuration file the checks are told by
    variables what they need of `config`."""
    given = {name: value for name, value in environ.items() if value}
    if file is None and "AIRLOCK_CONFIG" not in given:
        given.setdefault("AIRLOCK__DATA_DIR", str(Path(config.data_dir).absolute()))
        given.setdefault("AIRLOCK__SERVER__PUBLIC_URL", config.server.public_url)
        detectors = msgspec.json.encode(config.redaction.detectors).decode()
        given.setdefault("AIRLOCK__REDACTION__DETECTORS", detectors)
    local = config.server.public_url if config.server.tls else outside.address(config, "")
    given.setdefault("AIRLOCK_URL", local)
    if admin:
        given.setdefault("ADMIN_TOKEN", admin)
    for name, subject, role in (("TEST_TOKEN", SYNTHETIC, "viewer"), ("ADMIN_TOKEN", "airlock", "admin")):
        if name not in given and (token := _token(config, subject, role)):
            given[name] = token
    return given


def run(check: Name, config: Config, environ: Mapping[str, str], file: Path | None) -> Ran:
    """One check. `file`: the configuration of the gateway, for a suite. Blocks."""
    if check in SUITES:
        return suite(check, environ, file)
    seen = _address(check, config)
    return Ran(
        check=check,
        exit=0 if seen.result == "ok" else 1,
        seen=(seen,),
        digest=_digest(seen.observed.encode()),
    )


def suite(name: Name, environ: Mapping[str, str], file: Path | None) -> Ran:
    """What `airlock verify NAME` found; exit code 2 where it could not run."""
    command = [sys.executable, "-m", "airlock.cli", "verify", name, "--json"]
    if file is not None:
        command += ["--config", str(file)]
    try:
        done = subprocess.run(  # noqa: S603 (this program, and words of ours)
            command,
            capture_output=True,
            env=dict(environ),
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as failed:
        return _unusable(name, str(failed), b"")
    if not done.stdout:
        return _unusable(name, done.stderr.decode(errors="replace"), done.stderr)
    return read(name, done.returncode, done.stdout)


def read(name: Name, code: int, output: bytes) -> Ran:
    """The answer of a suite as it prints it."""
    try:
        told = msgspec.json.decode(output, type=dict[str, Any])
        seen = msgspec.convert(told["checks"], tuple[Seen, ...])
    except (msgspec.DecodeError, KeyError) as wrong:
        return _unusable(name, f"its answer cannot be read: {wrong}", output)
    return Ran(check=name, exit=code, seen=tuple(map(_short, seen)), digest=_digest(output))


def _short(seen: Seen) -> Seen:
    return msgspec.structs.replace(seen, observed=seen.observed[:SHOWN])


def _unusable(name: Name, why: str, output: bytes) -> Ran:
    seen = Seen(check=name, result="untried", observed=why.strip()[:SHOWN])
    return Ran(check=name, exit=2, seen=(seen,), digest=_digest(output))


def _digest(output: bytes) -> str:
    return hashlib.sha256(output).hexdigest()


def _token(config: Config, subject: str, role: str) -> str:
    """A token of the local issuer; empty where there is none, or whoever asks may not use its key."""
    folder = Path(config.data_dir)
    try:
        require_loopback(config)
        if not (folder / KEY).exists():
            return ""
        issuer = LocalIssuer.open(folder, config.server.public_url)
    except (ConfigError, OSError):
        return ""
    return issuer.issue(
        subject=subject,
        tenant=SYNTHETIC,
        roles=(role,),
        scopes=tuple(SUPPORTED),
        ttl=LASTS,
        now=SYSTEM.wall(),
    )


def _address(check: Name, config: Config) -> Seen:
    """What one public address says."""
    try:
        asking = outside.connection(config, outside.PATIENCE)
    except ConfigError as wrong:
        return Seen(check=check, result="untried", observed=str(wrong)[:SHOWN])
    try:
        asking.request("GET", f"/{check}")
        answer = asking.getresponse()
        status, body = answer.status, answer.read(outside.LARGEST)
    except (OSError, http.client.HTTPException) as error:
        where = outside.address(config, f"/{check}")
        return Seen(check=check, result="fail", observed=f"{where} does not answer: {error}"[:SHOWN])
    finally:
        asking.close()
    ok, observed = _JUDGES[check](body)
    result: Literal["ok", "fail"] = "ok" if status == 200 and ok else "fail"
    return Seen(check=check, result=result, observed=f"HTTP {status} {observed}"[:SHOWN])


def _alive(body: bytes) -> tuple[bool, str]:
    text = body[:SHOWN].decode(errors="replace")
    return body == b'{"status":"alive"}', text


def _ready(body: bytes) -> tuple[bool, str]:
    try:
        service = outside.judged(msgspec.json.decode(body, type=dict[str, Any]))
    except (msgspec.DecodeError, KeyError, TypeError):
        return False, "no answer that can be read"
    told = "; ".join(service.reasons)
    return service.state != "DOWN", f"{service.state} {told}".rstrip()


def _counted(body: bytes) -> tuple[bool, str]:
    """Whether every line of the text format has a name and a number."""
    lines = [line for line in body.decode(errors="replace").splitlines() if line and not line.startswith("#")]
    try:
        for line in lines:
            float(line.rsplit(" ", 1)[1])
    except (ValueError, IndexError):
        return False, "a line has no number"
    return bool(lines), f"{len(lines)} samples"


_JUDGES: Mapping[str, Callable[[bytes], tuple[bool, str]]] = {
    "live": _alive,
    "ready": _ready,
    "metrics": _counted,
}
