"""The one configuration: a frozen object in which every field says its unit, default and meaning.

A key exists here only when something reads it. Files and environment are read in `airlock.core.settings`;
unknown keys, wrong types and values out of range are refused there with file, line and the nearest known key.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from airlock.core.incident_config import IncidentSection
from airlock.core.section import Bytes, Positive, Rate, Seconds, Section

Sensitivity = Literal["low", "medium", "high", "critical"]

Level = Literal["debug", "info", "warn", "error"]

ALGORITHMS = ("ES256", "RS256", "PS256", "Ed25519", "ES384", "ES512", "RS384", "RS512", "PS384", "PS512")
"""Signatures of access tokens that can be verified: asymmetric ones (RFC 7518, RFC 9864)."""


class EdgeTls(Section, frozen=True, kw_only=True):
    """HTTPS on the port. Files are read again when they change, without a restart and without cutting a
    connection; PEM."""

    cert_file: Annotated[str, Meta(description="Certificate of the gateway and its chain.")]
    key_file: Annotated[str, Meta(description="Its private key, not encrypted.")]
    client_ca_file: Annotated[
        str | None,
        Meta(description="Only clients with a certificate of one of these authorities may connect."),
    ] = None


class ServerSection(Section, frozen=True, kw_only=True):
    """Where Airlock listens and who may speak to it."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="TCP port; 0 takes a free one.")] = 8080
    public_url: Annotated[
        str,
        Meta(
            description="URL by which clients know this gateway; names tokens and metadata. "
            "Empty: `http://localhost` (`https` with `server.tls`) and the port."
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
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of the proxies in front, whose `X-Forwarded-For` tells who "
            "the client is."
        ),
    ] = ()
    max_connections: Annotated[
        int, Meta(ge=1, le=65536, description="Connections per worker; one more is answered 503.")
    ] = 1000
    max_clients: Annotated[
        Positive | None,
        Meta(
            description="Addresses (IPv6: /64) with requests running in one worker at once; one more is "
            "answered 503. `null`: any number.",
        ),
    ] = None
    max_body: Annotated[Bytes, Meta(ge=1024, description="Largest request body.")] = 4 * 1024 * 1024
    metrics_allow: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks that may read `/metrics`. Empty: any."),
    ] = ()
    debug_port: Annotated[
        int,
        Meta(ge=0, le=65535, description="Port on loopback of `/debug/pprof/heap`; 0: none."),
    ] = 6060
    drain: Annotated[Seconds, Meta(ge=0, description="Time that running calls get after SIGTERM.")] = 30.0
    tls: Annotated[EdgeTls | None, Meta(description="HTTPS; absent: plain HTTP.")] = None


class IssuerEntry(Section, frozen=True, kw_only=True):
    """An OpenID Connect provider whose access tokens count."""

    issuer: Annotated[str, Meta(description="The exact `iss` of its tokens; discovery starts here.")]
    audience: Annotated[
        tuple[str, ...],
        Meta(description="Every audience that its tokens may name; none: any resource of this gateway."),
    ] = ()
    tenant_claim: Annotated[
        str, Meta(description="Claim that names the tenant; `a.b` is `b` inside `a`.")
    ] = "tenant"
    tenant: Annotated[str, Meta(description="Tenant of all its tokens, in place of a claim.")] = ""
    roles_claim: Annotated[str, Meta(description="Claim that lists the roles.")] = "roles"
    groups_claim: Annotated[str, Meta(description="Claim that lists the groups.")] = "groups"
    scopes_claim: Annotated[
        str, Meta(description="Claim with the scopes, as text with spaces or as a list.")
    ] = "scope"
    role_map: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description="Its role to ours; a role that is not named means nothing. Empty: as they are."),
    ] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    jwks_url: Annotated[
        str | None, Meta(description="Where its keys are, for a provider without discovery.")
    ] = None
    algorithms: Annotated[
        tuple[Annotated[str, Meta(pattern=f"^({'|'.join(ALGORITHMS)})$")], ...],
        Meta(description="Signature algorithms to accept; a key that names none signs with the first fit."),
    ] = ALGORITHMS
    ca_file: Annotated[
        str | None, Meta(description="PEM of the authorities to trust for it, in place of the system's.")
    ] = None
    max_lifetime: Annotated[Seconds, Meta(gt=0, description="Longest validity of a token.")] = 24 * 3600.0
    stale: Annotated[
        Seconds, Meta(ge=0, description="How long its last keys serve while it cannot be reached.")
    ] = 24 * 3600.0
    allow_private: Annotated[
        bool, Meta(description="It may be at a private address, and on loopback without TLS.")
    ] = False


class LoginSection(Section, frozen=True, kw_only=True):
    """People log in through the gateway: it is the authorization server of its clients, and itself a client
    of one of `auth.issuers`. Its callback there is `/oauth/callback` under `server.public_url`."""

    issuer: Annotated[str, Meta(description="The one of `auth.issuers` at which people log in.")]
    client_id: Annotated[str, Meta(min_length=1, description="Id under which it knows this gateway.")]
    client_secret_file: Annotated[
        str | None, Meta(description="File with the secret it gave us; absent: PKCE alone.")
    ] = None
    scopes: Annotated[
        tuple[str, ...], Meta(description="What we ask it for; its identity token has to say the tenant.")
    ] = ("openid", "profile")
    access: Annotated[Seconds, Meta(ge=60, le=3600, description="Validity of an access token.")] = 600.0
    session: Annotated[
        Seconds, Meta(ge=600, le=30 * 86400, description="Time after which a person must log in again.")
    ] = 12 * 3600.0
    registration: Annotated[
        bool, Meta(description="Clients may register themselves (RFC 7591); a person is asked anyway.")
    ] = True
    documents: Annotated[
        bool, Meta(description="A client's id may be the https URL of a document about it, which is fetched.")
    ] = True
    redirect_schemes: Annotated[
        tuple[str, ...],
        Meta(description="Schemes of applications, such as `vscode`, that answers may go to, besides https."),
    ] = ()
    unsafe_document_origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins of client documents that may be private, or plain http; for tests."),
    ] = ()


class AuthSection(Section, frozen=True, kw_only=True):
    """Whose tokens count."""

    local_issuer: Annotated[
        bool,
        Meta(description="Issue and accept demo tokens of a key under `data_dir`; loopback only."),
    ] = True
    issuers: Annotated[tuple[IssuerEntry, ...], Meta(description="Identity providers.")] = ()
    require_scopes: Annotated[
        bool,
        Meta(description="Tokens of `issuers` need the scopes `mcp.list` and `mcp.call[.SERVER]`."),
    ] = True
    login: Annotated[
        LoginSection | None, Meta(description="Logins through the gateway; absent: clients go to `issuers`.")
    ] = None


class PolicySection(Section, frozen=True, kw_only=True):
    """Which policy decides."""

    path: Annotated[
        str | None,
        Meta(description="Directory or `.tar.gz` of `.rego` and `data.json`; absent: the starter policy."),
    ] = None
    cache_ttl: Annotated[
        Seconds,
        Meta(
            ge=0,
            le=3600,
            description="How long a decision is remembered for the same facts, where the policy allows it; "
            "0: every question is asked.",
        ),
    ] = 300.0
    cache_size: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Most decisions that one worker remembers.")
    ] = 10_000


class ObserveSection(Section, frozen=True, kw_only=True):
    """Where refusals of policy and of pins are recorded but not enforced, for seven days at most."""

    tenants: Annotated[
        tuple[str, ...], Meta(description="Tenants whose calls are observed, at every server.")
    ] = ()
    until: Annotated[
        float | None,
        Meta(
            description="End of observing; required where a server or tenant is observed.",
            extra={"unit": "moment"},
        ),
    ] = None


class ToolEntry(Section, frozen=True, kw_only=True):
    """What an operator says of one tool, over what is said of its server."""

    sensitivity: Annotated[Sensitivity | None, Meta(description="Risk class of the tool.")] = None
    read_only: Annotated[bool | None, Meta(description="The tool changes nothing.")] = None
    tags: Annotated[tuple[str, ...], Meta(description="Further labels, beside those of its server.")] = ()
    budget: Annotated[
        Rate | None, Meta(description="Calls of one caller that policy allowed; one more is refused.")
    ] = None


class UpstreamTls(Section, frozen=True, kw_only=True):
    """How one HTTPS server is trusted and what it is shown. Files are read again when they change; PEM."""

    ca_file: Annotated[
        str | None, Meta(description="Authorities that may vouch for it, in place of the system's.")
    ] = None
    cert_file: Annotated[str | None, Meta(description="Certificate shown to it, and its chain.")] = None
    key_file: Annotated[str | None, Meta(description="Its private key, not encrypted.")] = None


class CredentialEntry(Section, frozen=True, kw_only=True):
    """What one HTTP server is shown: a secret of the gateway, or a login at its authorization server."""

    mode: Annotated[
        Literal["static", "user_oauth", "client_credentials"],
        Meta(
            description="`static`: a secret header. `user_oauth`: each caller logs in at the server once. "
            "`client_credentials`: the gateway logs in for all."
        ),
    ] = "static"
    header: Annotated[str, Meta(description="Header that carries the credential (`static`).")] = (
        "Authorization"
    )
    prefix: Annotated[str, Meta(description="Text before the secret, such as `Bearer ` (`static`).")] = ""
    file: Annotated[str | None, Meta(description="File that holds the secret, or that of `client_id`.")] = (
        None
    )
    env: Annotated[str | None, Meta(description="Environment variable that holds it instead.")] = None
    client_id: Annotated[
        str, Meta(description="As whom the gateway is registered at the one issuer of `issuers`.")
    ] = ""
    key_file: Annotated[
        str | None,
        Meta(description="PEM private key that proves it (`private_key_jwt`) in place of a secret."),
    ] = None
    issuers: Annotated[
        tuple[str, ...],
        Meta(
            description="Authorization servers that may be used, byte for byte; none: the first that the "
            "server names."
        ),
    ] = ()
    register: Annotated[
        tuple[str, ...],
        Meta(description="Issuers at which the gateway registers itself (RFC 7591); `*`: at any."),
    ] = ()
    scopes: Annotated[
        tuple[str, ...], Meta(description="Asked for in addition to what the server asks for.")
    ] = ()
    client_metadata_url: Annotated[
        str,
        Meta(
            description="HTTPS URL of the gateway's client metadata, where it is not the one below "
            "`server.public_url`."
        ),
    ] = ""
    allow_private: Annotated[
        bool,
        Meta(
            description="The authorization server may be on this machine and without TLS: for tests. "
            "Never with a server that you do not trust."
        ),
    ] = False


class StepUp(Section, frozen=True, kw_only=True):
    """How fresh and how strong the login behind a call must be (RFC 9470)."""

    max_age: Annotated[Seconds, Meta(ge=0, description="Longest time since the login; 0: any.")] = 0.0
    acr: Annotated[
        tuple[str, ...], Meta(description="Contexts (`acr`) that are strong enough; none: any.")
    ] = ()


Isolation = Literal["shared", "principal", "session"]


class ServerEntry(Section, frozen=True, kw_only=True):
    """One MCP server behind the gateway."""

    name: Annotated[
        str,
        Meta(
            pattern="^[a-z][a-z0-9-]{0,30}$",
            description="Id: part of tool names, policy and audit; `airlock`, `airlock-incidents` are taken.",
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
    isolation: Annotated[
        Isolation,
        Meta(
            description="Processes of a stdio server: one for all callers, for each principal, or for "
            "each session of a legacy client. On a shared one a legacy server can ask nobody."
        ),
    ] = "shared"
    credential: Annotated[CredentialEntry | None, Meta(description="Credential for `transport: http`.")] = (
        None
    )
    tls: Annotated[
        UpstreamTls | None, Meta(description="Own authorities and client certificate of an `https` URL.")
    ] = None
    tenant: Annotated[str, Meta(description="Owning tenant; empty: every tenant.")] = ""
    mode: Annotated[
        Literal["enforce", "observe"],
        Meta(description="`observe`: what policy or a pin refuses is let through and recorded, until then."),
    ] = "enforce"
    sensitivity: Annotated[Sensitivity, Meta(description="Risk class of its tools.")] = "medium"
    read_only: Annotated[bool, Meta(description="Its tools change nothing.")] = False
    tags: Annotated[tuple[str, ...], Meta(description="Labels for policy and `lists`.")] = ()
    owner: Annotated[str, Meta(description="Team that answers for it.")] = ""
    era: Annotated[
        Literal["auto", "modern", "legacy"],
        Meta(description="Protocol era; `auto` asks the server."),
    ] = "auto"
    timeout: Annotated[Seconds, Meta(gt=0, description="Longest a call may take in all.")] = 300.0
    first_byte_timeout: Annotated[Seconds, Meta(gt=0, description="Longest wait for the first byte.")] = 30.0
    tools: Annotated[
        dict[str, ToolEntry],
        Meta(description="Exceptions by name: a tool's own, `prompt:NAME`, `resource:URI`, `template:URI`."),
    ] = msgspec.field(default_factory=dict[str, ToolEntry])
    step_up: Annotated[StepUp | None, Meta(description="Login that calls of its tools need.")] = None
    elicitation_hosts: Annotated[
        tuple[str, ...],
        Meta(
            description="Hosts to which it may send people (URL elicitation): `name`, or `*.name` for "
            "everything below it. Empty: none."
        ),
    ] = ()
    trust_instructions: Annotated[
        bool,
        Meta(
            description="Tell clients what it says about its use (`instructions`), at most 2 KiB. Models "
            "follow such texts: only for a server that you trust as yourself."
        ),
    ] = False
    unsafe_shared_user: Annotated[
        bool,
        Meta(description="Run a stdio server of sensitivity medium or above as the gateway's own user."),
    ] = False


Detector = Literal[
    "private_key", "aws_key", "github_token", "slack_token", "jwt", "credit_card", "iban", "ssn", "password",
    "email", "phone",
]  # fmt: skip


class RedactionSection(Section, frozen=True, kw_only=True):
    """What is taken out of results, and where policy obliges to it, out of arguments."""

    detectors: Annotated[
        tuple[Detector, ...],
        Meta(description="Secrets and personal data to look for; `[]` looks for nothing."),
    ] = get_args(Detector)
    url_allow: Annotated[
        tuple[str, ...],
        Meta(
            description="Hosts that addresses in results and arguments may lead to: `name`, or `*.name` for "
            "everything below it. Empty: any."
        ),
    ] = ()
    destinations: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="Detector to the servers that what it finds may be sent to; a call that sends it "
            "elsewhere is refused."
        ),
    ] = msgspec.field(default_factory=dict[str, tuple[str, ...]])


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
        Literal["footprint", "full", "none"],
        Meta(
            description="Store the policy's question, encrypted and erasable, for replay: what the policy "
            "can read of it, or all. All is also kept where that is not proved, and while calls are observed."
        ),
    ] = "footprint"


class LoggingSection(Section, frozen=True, kw_only=True):
    """What goes to standard output, and is kept for `airlock logs`."""

    level: Annotated[Level, Meta(description="Least severe line.")] = "info"
    audit_all_requests: Annotated[
        bool, Meta(description="Also record lists, pings and handshakes that were allowed.")
    ] = False
    keep: Annotated[
        Bytes,
        Meta(
            ge=1024 * 1024,
            description="Log lines kept in `data_dir/logs` by all processes; at most 5 % of the volume.",
        ),
    ] = 64 * 1024 * 1024


class NarrowEntry(Section, frozen=True, kw_only=True):
    """Callers whose lists hold only tools with certain tags. Calls by name are not affected: policy decides
    those."""

    roles: Annotated[tuple[str, ...], Meta(description="Callers with any of these roles.")] = ()
    clients: Annotated[
        tuple[str, ...], Meta(description="Callers whose token names one of these clients.")
    ] = ()
    tags: Annotated[tuple[str, ...], Meta(description="A tool with any of these tags is listed.")]


class ListsSection(Section, frozen=True, kw_only=True):
    """How many tools a list shows of those that the caller may see."""

    find_tools: Annotated[
        bool,
        Meta(
            description="`tools/list` on `/mcp` offers the search `airlock__find_tools` instead of all tools."
        ),
    ] = False
    page: Annotated[
        Positive, Meta(description="Items of one page of a list; many clients read no second one.")
    ] = 2000
    instructions: Annotated[
        str,
        Meta(description="What clients of `/mcp` are told about its use. Empty: a general text."),
    ] = ""
    always: Annotated[
        tuple[str, ...], Meta(description="Tools with any of these tags are listed beside the search.")
    ] = ()
    narrow: Annotated[
        tuple[NarrowEntry, ...],
        Meta(description="Lists cut to tags; a caller whom several entries name gets the tags of all."),
    ] = ()


class CatalogSection(Section, frozen=True, kw_only=True):
    """What clients may keep of that which servers offer."""

    max_ttl: Annotated[
        Seconds,
        Meta(
            ge=0,
            le=24 * 3600,
            description="For how long a client may keep a list or a resource at most, whatever its server "
            "says; changes of policy show within this time.",
        ),
    ] = 300.0


class DenialsSection(Section, frozen=True, kw_only=True):
    """How callers are told that a call was refused."""

    tools_call: Annotated[
        Literal["tool_error", "jsonrpc"],
        Meta(description="Form of a refused `tools/call`: a result that models see, or a JSON-RPC error."),
    ] = "tool_error"
    routes: Annotated[
        tuple[str, ...],
        Meta(description="Routes that `tools_call` is about, such as `/mcp/docs`. Empty: every route."),
    ] = ()
    disclosure: Annotated[
        Literal["full", "minimal"],
        Meta(
            description="What a refusal tells a program: everything, or only `code`, `reason`, "
            "`decision_id`, `retry_after` and `effect`."
        ),
    ] = "full"


class LegacySection(Section, frozen=True, kw_only=True):
    """Concessions to clients of 2025-11-25 and older."""

    one_shot: Annotated[bool, Meta(description="Answer a single request without session or handshake.")] = (
        True
    )
    session_idle: Annotated[
        Seconds, Meta(ge=60, le=12 * 3600, description="Time without use after which a session ends.")
    ] = 1800.0
    sessions_per_principal: Annotated[
        Positive, Meta(description="Sessions of one principal; one more ends the one used longest ago.")
    ] = 32


class ConcurrencySection(Section, frozen=True, kw_only=True):
    """How much may run at the same time."""

    per_token: Annotated[Positive | None, Meta(description="Requests of one token that run at once.")] = 32


class RateLimitingSection(Section, frozen=True, kw_only=True):
    """How much one caller may ask. Counted over all workers; `null` switches a limit off."""

    per_token: Annotated[Rate | None, Meta(description="Requests of one token.")] = "200/min"  # noqa: S105
    burst: Annotated[Positive | None, Meta(description="Requests of one token within one second.")] = 50
    per_ip: Annotated[
        Rate | None, Meta(description="Requests of one address (IPv6: one /64), whoever asks.")
    ] = "1000/min"
    per_tenant: Annotated[Rate | None, Meta(description="Requests of one tenant.")] = None
    unauthenticated: Annotated[
        Rate | None,
        Meta(
            description="Failed authentications of one address (IPv6: one /64); beyond, it is refused "
            "before its token is looked at."
        ),
    ] = "60/min"
    concurrency: Annotated[ConcurrencySection, Meta(description="What may run at once.")] = (
        ConcurrencySection()
    )


class MonitoringSection(Section, frozen=True, kw_only=True):
    """A closer look at every request, for a while after an incident."""

    enhanced: Annotated[
        bool,
        Meta(
            description="Say of every message that took 100 ms or longer how long each stage took. In this "
            "file it holds for good, in an overlay for `duration`."
        ),
    ] = False
    duration: Annotated[
        Seconds,
        Meta(ge=1, le=72 * 3600, description="How long `enhanced` holds where an overlay asks for it."),
    ] = 24 * 3600.0


class TracingSection(Section, frozen=True, kw_only=True):
    """Traces of calls, sent to a receiver of OpenTelemetry."""

    endpoint: Annotated[
        str,
        Meta(
            description="URL of its OTLP/HTTP address for traces, such as "
            "`http://localhost:4318/v1/traces`. Empty: no traces."
        ),
    ] = ""
    sample: Annotated[
        float, Meta(ge=0, le=1, description="Part of the traces that is sent, chosen by trace id.")
    ] = 1.0


class Config(Section, frozen=True, kw_only=True):
    """Everything, frozen. Build a new one and swap; never change one."""

    data_dir: Annotated[str, Meta(description="Directory of audit log, keys and control data.")] = (
        "./airlock-data"
    )
    server: ServerSection = ServerSection()
    auth: AuthSection = AuthSection()
    policy: PolicySection = PolicySection()
    observe: ObserveSection = ObserveSection()
    servers: Annotated[tuple[ServerEntry, ...], Meta(description="MCP servers behind the gateway.")] = ()
    redaction: RedactionSection = RedactionSection()
    audit: AuditSection = AuditSection()
    logging: LoggingSection = LoggingSection()
    lists: ListsSection = ListsSection()
    catalog: CatalogSection = CatalogSection()
    denials: DenialsSection = DenialsSection()
    legacy: LegacySection = LegacySection()
    rate_limiting: RateLimitingSection = RateLimitingSection()
    monitoring: MonitoringSection = MonitoringSection()
    tracing: TracingSection = TracingSection()
    incident: IncidentSection = IncidentSection()
