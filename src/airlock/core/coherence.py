"""What no single key can tell: keys that need each other, names that must differ, files that must exist.

Every check takes the configuration as it was read and adds problems; what comes back is the configuration
with absolute paths. Relative paths are relative to the directory of the configuration file.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from airlock.core.clock import rfc3339
from airlock.core.coherence_credential import settle_credential
from airlock.core.coherence_incident import settle_incident
from airlock.core.coherence_tls import settle_edge, settle_upstream
from airlock.core.config import Config, Detector, ServerEntry
from airlock.core.hosts import listed
from airlock.core.programs import find_program

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?")

OWN = ("airlock", "airlock-incidents")
"""Servers that are the gateway's own."""

OBSERVE_MOST = 7 * 86400.0
"""Seconds for which nothing may be enforced: who observes for longer forgets that it is so."""

Blame = Callable[[str, str, str], None]
"""Dotted key, what is wrong, what would be right."""


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration stands on: its directory, the environment, and where problems go."""

    folder: Path
    environ: Mapping[str, str]
    blame: Blame
    now: float
    """Unix seconds."""

    def absolute(self, path: str) -> str:
        return os.path.normpath(self.folder / path)

    def file(self, path: str, key: str) -> str:
        """The absolute path of a file that must be readable now."""
        found = self.absolute(path)
        if not (os.path.isfile(found) and os.access(found, os.R_OK)):
            self.blame(key, f"no readable file {found}", "relative paths start at the configuration file")
        return found


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def settle(config: Config, rows: Sequence[str], ground: Ground) -> Config:
    """The configuration with absolute paths. `rows` are the dotted keys of `config.servers`."""
    server = config.server
    tls = settle_edge(server.tls, ground)
    own = f"{'http' if tls is None else 'https'}://localhost:{server.port}"
    config = structs.replace(
        config, server=structs.replace(server, public_url=server.public_url or own, tls=tls)
    )
    _listening(config, ground)
    path = config.policy.path and ground.absolute(config.policy.path)
    if path and not os.path.exists(path):
        ground.blame("policy.path", f"nothing at {path}", "name a directory or a .tar.gz, or leave it out")
    _distinct(config, rows, ground)
    _observing(config, rows, ground)
    _lists(config, ground)
    _addresses(config, rows, ground)
    _destinations(config, ground)
    servers = tuple(_server(entry, key, ground) for entry, key in zip(config.servers, rows, strict=True))
    return structs.replace(
        config,
        data_dir=ground.absolute(config.data_dir),
        policy=structs.replace(config.policy, path=path),
        incident=settle_incident(config.incident, ground.absolute),
        servers=servers,
    )


def _listening(config: Config, ground: Ground) -> None:
    _url(config.server.public_url, "server.public_url", ground)
    if config.tracing.endpoint:
        _url(config.tracing.endpoint, "tracing.endpoint", ground)
    for index, host in enumerate(config.server.allowed_hosts):
        if not _HOST.fullmatch(host):
            ground.blame(f"server.allowed_hosts.{index}", f"found `{host}`", "expected name or name:port")
    for index, origin in enumerate(config.server.allowed_origins):
        scheme, _, host = origin.partition("://")
        if scheme not in ("http", "https") or not _HOST.fullmatch(host):
            hint = "expected scheme://host or scheme://host:port"
            ground.blame(f"server.allowed_origins.{index}", f"found `{origin}`", hint)
    for index, proxy in enumerate(config.server.trusted_proxies):
        _proxy(proxy, f"server.trusted_proxies.{index}", ground)
    for index, scraper in enumerate(config.server.metrics_allow):
        _network(scraper, f"server.metrics_allow.{index}", ground)


def _network(text: str, key: str, ground: Ground) -> bool:
    """Blame what is no network. False only for the network of everybody."""
    try:
        return ipaddress.ip_network(text).prefixlen > 0
    except ValueError:
        ground.blame(key, f"found `{text}`", "expected an address or a network such as 10.0.0.0/24")
        return True


def _proxy(text: str, key: str, ground: Ground) -> None:
    if not _network(text, key, ground):
        ground.blame(key, f"{text} is everybody", "anyone could then claim any address: name the proxies")


def _observing(config: Config, rows: Sequence[str], ground: Ground) -> None:
    """Observing needs an end that is near. One that has passed is no mistake: everything is enforced."""
    keys = [f"{key}.mode" for entry, key in zip(config.servers, rows, strict=True) if entry.mode == "observe"]
    keys += ["observe.tenants"] if config.observe.tenants else []
    until = config.observe.until
    hint = f"seven days at most, such as until: {rfc3339(ground.now + OBSERVE_MOST)}"
    if until is None:
        for key in keys:
            ground.blame(key, "observes, and observe.until does not say how long", hint)
    elif until > ground.now + OBSERVE_MOST:
        ground.blame("observe.until", f"{rfc3339(until)} is too far away", hint)


def _lists(config: Config, ground: Ground) -> None:
    for index, rule in enumerate(config.lists.narrow):
        key = f"lists.narrow.{index}"
        if not (rule.roles or rule.clients):
            ground.blame(key, "names nobody", "give roles, clients or both")
        if not rule.tags:
            ground.blame(f"{key}.tags", "empty", "the lists of these callers would be: name at least one tag")
    known = {"/mcp", *(f"/mcp/{name}" for name in (*OWN, *(entry.name for entry in config.servers)))}
    for index, route in enumerate(config.denials.routes):
        if route not in known:
            hint = "expected `/mcp`, or `/mcp/` and the name of a server"
            ground.blame(f"denials.routes.{index}", f"found `{route}`", hint)


def _addresses(config: Config, rows: Sequence[str], ground: Ground) -> None:
    lists = [("redaction.url_allow", config.redaction.url_allow)]
    lists += [
        (f"{key}.elicitation_hosts", entry.elicitation_hosts)
        for entry, key in zip(config.servers, rows, strict=True)
    ]
    for key, hosts in lists:
        for index, entry in enumerate(hosts):
            try:
                listed(entry)
            except ValueError:
                hint = "expected a host: name, or *.name for everything below it"
                ground.blame(f"{key}.{index}", f"found `{entry}`", hint)


def _destinations(config: Config, ground: Ground) -> None:
    detectors: tuple[str, ...] = get_args(Detector)
    names = {entry.name for entry in config.servers}
    for detector, servers in config.redaction.destinations.items():
        key = f"redaction.destinations.{detector}"
        if detector not in detectors:
            ground.blame(key, "no such detector", f"one of {', '.join(detectors)}")
        for name in servers:
            if name not in names:
                ground.blame(key, f"no server {name}", "name servers of `servers`; [] allows none")


def _distinct(config: Config, rows: Sequence[str], ground: Ground) -> None:
    first: dict[str, str] = {}
    for entry, key in zip(config.servers, rows, strict=True):
        if entry.name in OWN:
            hint = "the gateway's own tools are called so"
            ground.blame(f"{key}.name", f"{entry.name} is taken", hint)
        if entry.name in first:
            hint = f"{first[entry.name]} has this name; every server needs its own, whatever its tenant"
            ground.blame(f"{key}.name", f"{entry.name} is taken", hint)
        first.setdefault(entry.name, f"{key}.name")


def _server(entry: ServerEntry, key: str, ground: Ground) -> ServerEntry:
    return _http(entry, key, ground) if entry.transport == "http" else _stdio(entry, key, ground)


def _http(entry: ServerEntry, key: str, ground: Ground) -> ServerEntry:
    if entry.url is None:
        ground.blame(f"{key}.url", "missing", "transport: http needs the URL of the server")
    else:
        _url(entry.url, f"{key}.url", ground)
    _useless(
        key,
        "stdio",
        {
            "command": entry.command,
            "env": entry.env,
            "env_from": entry.env_from,
            "isolation": entry.isolation != "shared",
            "unsafe_shared_user": entry.unsafe_shared_user,
        },
        ground,
    )
    entry = settle_upstream(entry, key, ground)
    if entry.credential is None:
        return entry
    return structs.replace(entry, credential=settle_credential(entry.credential, f"{key}.credential", ground))


def _stdio(entry: ServerEntry, key: str, ground: Ground) -> ServerEntry:
    _useless(key, "http", {"url": entry.url, "credential": entry.credential, "tls": entry.tls}, ground)
    for name in (*entry.env, *entry.env_from):
        if not _VARIABLE.fullmatch(name):
            where = "env" if name in entry.env else "env_from"
            ground.blame(f"{key}.{where}.{name}", "not the name of a variable", "letters, digits and _")
    for name in entry.env.keys() & entry.env_from.keys():
        ground.blame(f"{key}.env_from.{name}", "also in env", "give each variable once")
    files = {name: ground.file(path, f"{key}.env_from.{name}") for name, path in entry.env_from.items()}
    return structs.replace(entry, command=_command(entry.command, f"{key}.command", ground), env_from=files)


def _command(command: tuple[str, ...], key: str, ground: Ground) -> tuple[str, ...]:
    if not command or not command[0]:
        ground.blame(key, "missing", "transport: stdio needs a program, such as [npx, -y, some-server]")
        return command
    found = find_program(command[0], ground.folder)
    if found is None:
        hint = "give its full path; the PATH of the shell is not searched, only the system's directories"
        ground.blame(key, f"no program {command[0]}", hint)
        return command
    return (found, *command[1:])


def _useless(key: str, transport: str, values: Mapping[str, object], ground: Ground) -> None:
    """A key that this transport never reads is a misunderstanding, not a default."""
    for name, value in values.items():
        if value:
            hint = f"only a server with transport: {transport} has it"
            ground.blame(f"{key}.{name}", "not used by this transport", hint)


def _url(url: str, key: str, ground: Ground) -> None:
    """The text of a URL is not repeated where it may hold a password."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, sound = urlsplit(""), False
    if not sound or not url.isascii() or not url.isprintable() or " " in url:
        ground.blame(key, "not an http or https URL", "such as http://127.0.0.1:9001/mcp")
    elif "@" in parts.netloc:
        ground.blame(key, "holds a user or password", "use credential, which reads a file or a variable")
    elif "#" in url:
        ground.blame(key, "has a fragment", "leave out the # and what follows")
