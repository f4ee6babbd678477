"""The one configuration: a frozen object in which every field says its unit, default and meaning.

A key exists here only when something reads it. Files and environment are read in `airlock.core.settings`;
unknown keys, wrong types and values out of range are refused there with file, line and the nearest known key.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Sensitivity = Literal["low", "medium", "high", "critical"]

Seconds = Annotated[float, Meta(extra={"unit": "duration"})]
"""Written `30s 5m 1h 30d` (or a number of seconds); seconds in the program."""

Bytes = Annotated[int, Meta(extra={"unit": "size"})]
"""Written `64KiB 8MiB 1GiB` (or a number of bytes); bytes in the program."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section: immutable, and no key that nobody reads."""


class ServerSection(Section, frozen=True, kw_only=True):
    """Where Airlock listens and who may speak to it."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one.")] = 8080
    public_url: Annotated[
        str,
        Meta(
            description="URL by which clients know this gateway; names tokens and metadata. "
            "Empty: `http://localhost` and the port."
        ),
    ] = ""
    workers: Annotated[int, Meta(ge=1, le=64, description="Gateway processes behind the one port.")] = 1
    allowed_hosts: Annotated[
        tuple[str, ...], Meta(description="Further `Host` values to accept, `name` or `name:port`.")
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...],
        Meta(description="Further `Origin` values to accept, `scheme://host[:port]`."),
    ] = ()
    max_connections: Annotated[
        int, Meta(ge=1, le=65536, description="Connections per worker; one more is answered 503.")
    ] = 1000
    max_body: Annotated[Bytes, Meta(ge=1024, description="Largest request body.")] = 4 * 1024 * 1024
    drain: Annotated[Seconds, Meta(ge=0, description="Time that running calls get after SIGTERM.")] = 30.0


class AuthSection(Section, frozen=True, kw_only=True):
    """Whose tokens count."""

    local_issuer: Annotated[
        bool,
        Meta(description="Issue and accept demo tokens of a key under `data_dir`; loopback only."),
    ] = True


class PolicySection(Section, frozen=True, kw_only=True):
    """Which policy decides."""

    path: Annotated[
        str | None,
        Meta(description="Directory or `.tar.gz` of `.rego` and `data.json`; absent: the starter policy."),
    ] = None


class ToolEntry(Section, frozen=True, kw_only=True):
    """What an operator says of one tool, over what is said of its server."""

    sensitivity: Annotated[Sensitivity | None, Meta(description="Risk class of the tool.")] = None
    read_only: Annotated[bool | None, Meta(description="The tool changes nothing.")] = None
    tags: Annotated[tuple[str, ...], Meta(description="Labels for policy.")] = ()


class CredentialEntry(Section, frozen=True, kw_only=True):
    """A static credential sent to one HTTP server, from a file or a variable, never from this file itself."""

    header: Annotated[str, Meta(description="Header that carries the credential.")] = "Authorization"
    prefix: Annotated[str, Meta(description="Text before the secret, such as `Bearer `.")] = ""
    file: Annotated[str | None, Meta(description="File that holds the secret.")] = None
    env: Annotated[str | None, Meta(description="Environment variable that holds the secret.")] = None


class ServerEntry(Section, frozen=True, kw_only=True):
    """One MCP server behind the gateway."""

    name: Annotated[
        str,
        Meta(
            pattern="^[a-z][a-z0-9-]{0,30}$",
            description="Id: part of tool names, policy and audit.",
        ),
    ]
    transport: Annotated[Literal["http", "stdio"], Meta(description="How the server is reached.")]
    url: Annotated[str | None, Meta(description="Streamable HTTP endpoint (`transport: http`).")] = None
    command: Annotated[
        tuple[str, ...],
        Meta(description="Program and arguments (`transport: stdio`); never through a shell."),
    ] = ()
    env: Annotated[
        dict[str, str],
        Meta(description="Environment of the program; nothing else is inherited but a fixed PATH."),
    ] = msgspec.field(default_factory=dict[str, str])
    env_from: Annotated[
        dict[str, str],
        Meta(description="Further variables whose values are read from the named files."),
    ] = msgspec.field(default_factory=dict[str, str])
    credential: Annotated[CredentialEntry | None, Meta(description="Credential for `transport: http`.")] = (
        None
    )
    tenant: Annotated[str, Meta(description="Owning tenant; empty: every tenant.")] = ""
    sensitivity: Annotated[Sensitivity, Meta(description="Risk class of its tools.")] = "medium"
    read_only: Annotated[bool, Meta(description="Its tools change nothing.")] = False
    tags: Annotated[tuple[str, ...], Meta(description="Labels for policy.")] = ()
    owner: Annotated[str, Meta(description="Team that answers for it.")] = ""
    era: Annotated[
        Literal["auto", "modern", "legacy"],
        Meta(description="Protocol era; `auto` asks the server."),
    ] = "auto"
    timeout: Annotated[Seconds, Meta(gt=0, description="Longest a call may take in all.")] = 300.0
    first_byte_timeout: Annotated[Seconds, Meta(gt=0, description="Longest wait for the first byte.")] = 30.0
    tools: Annotated[dict[str, ToolEntry], Meta(description="Exceptions by tool name.")] = msgspec.field(
        default_factory=dict[str, ToolEntry]
    )
    unsafe_shared_user: Annotated[
        bool,
        Meta(description="Run a stdio server of sensitivity medium or above as the gateway's own user."),
    ] = False


class AuditSection(Section, frozen=True, kw_only=True):
    """How the log is written."""

    origin: Annotated[str, Meta(description="Name of this log in chain origins.")] = "airlock.local/audit"
    intent: Annotated[
        Literal["effects", "all"],
        Meta(description="Calls recorded before they are sent: those with effects, or all."),
    ] = "effects"
    segment_size: Annotated[
        Bytes, Meta(ge=65536, le=1024 * 1024 * 1024, description="Size of a journal segment.")
    ] = 64 * 1024 * 1024
    linger_ms: Annotated[
        int, Meta(ge=0, le=10, description="Wait for company before a flush, milliseconds.")
    ] = 0
    inputs: Annotated[
        Literal["full", "none"],
        Meta(description="Store the policy's question, encrypted and erasable, for replay."),
    ] = "full"


class LoggingSection(Section, frozen=True, kw_only=True):
    """What goes to standard output."""

    level: Annotated[Literal["debug", "info", "warn", "error"], Meta(description="Least severe line.")] = (
        "info"
    )
    audit_all_requests: Annotated[
        bool, Meta(description="Also record lists, pings and handshakes that were allowed.")
    ] = False


class LegacySection(Section, frozen=True, kw_only=True):
    """Concessions to clients of 2025-11-25 and older."""

    one_shot: Annotated[bool, Meta(description="Answer a single request without session or handshake.")] = (
        True
    )


class Config(Section, frozen=True, kw_only=True):
    """Everything, frozen. Build a new one and swap; never change one."""

    data_dir: Annotated[str, Meta(description="Directory of audit log, keys and control data.")] = (
        "./airlock-data"
    )
    server: ServerSection = ServerSection()
    auth: AuthSection = AuthSection()
    policy: PolicySection = PolicySection()
    servers: Annotated[tuple[ServerEntry, ...], Meta(description="MCP servers behind the gateway.")] = ()
    audit: AuditSection = AuditSection()
    logging: LoggingSection = LoggingSection()
    legacy: LegacySection = LegacySection()
