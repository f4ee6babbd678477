"""The section `incident` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from airlock.core.section import Seconds, Section

TargetKind = Literal["pagerduty", "slack", "webhook", "jira", "alertmanager", "apprise"]


class TargetEntry(Section, frozen=True, kw_only=True):
    """Somebody who is told: a service, and which texts it gets."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$", description="Its name in receipts.")]
    kind: Annotated[TargetKind, Meta(description="What it is; `apprise` sends to whatever Apprise knows.")]
    url: Annotated[
        str,
        Meta(description="Where it is. PagerDuty has a default; `slack` and `apprise` may be all secret."),
    ] = ""
    secret_file: Annotated[
        str | None,
        Meta(
            description="File with what nobody else may know: PagerDuty's routing key, the URL of a Slack "
            "webhook or of Apprise, the key that signs a webhook, the value of `Authorization`."
        ),
    ] = None
    audiences: Annotated[
        tuple[Literal["war_room", "status_updates", "executive", "customer", "legal", "page", "ticket"], ...],
        Meta(description="Which texts it gets."),
    ] = ()
    levels: Annotated[
        tuple[Literal["L1", "L2", "L3", "L4", "L5"], ...],
        Meta(description="Of pages: those of these levels. Empty: all."),
    ] = ()
    project: Annotated[str, Meta(description="Key of the project in which `jira` opens a ticket.")] = ""
    allow_private: Annotated[bool, Meta(description="It may be at a private address or on loopback.")] = False
    ca_file: Annotated[
        str | None, Meta(description="PEM of the authorities to trust for it, in place of the system's.")
    ] = None


class IncidentSection(Section, frozen=True, kw_only=True):
    """Detection, incidents and what answers them."""

    engine: Annotated[
        bool,
        Meta(
            description="Run the process that detects, watches clocks and carries out playbooks. Without it "
            "records can be kept, and deadlines are still computed on every read."
        ),
    ] = True
    decoys: Annotated[
        tuple[str, ...],
        Meta(
            description="Tools that nobody has a reason to call, as `server/tool`: a call of one is an alert."
        ),
    ] = ()
    auto_open: Annotated[
        bool,
        Meta(
            description="Open an incident for an alert of severity P0 or P1 that a detection rule in mode "
            "`active` raised."
        ),
    ] = True
    keep: Annotated[
        Seconds,
        Meta(
            ge=86400,
            description="How long alerts are kept that ended without an incident, and rows for the audit log "
            "after they are in it.",
        ),
    ] = 90 * 86400.0
    drills: Annotated[
        bool,
        Meta(
            description="Drill one detection rule a day, that whose proof is the oldest; see docs/drills.md."
        ),
    ] = False
    auto_contain: Annotated[
        tuple[str, ...],
        Meta(
            description="Detection rules whose narrow containment is approved in advance: where the "
            "guardrails of docs/detection.md allow it, it holds at once. Of other rules it is only proposed."
        ),
    ] = (
        "MCP-001",
        "MCP-002",
        "MCP-003",
        "MCP-004",
        "MCP-013",
        "MCP-019",
        "MCP-020",
        "MCP-021",
        "MCP-029",
    )
    agents_tenant: Annotated[
        str,
        Meta(
            description="Tenant whose agents may read incidents, by the tools of the server "
            "`airlock-incidents`, as far as policy allows; empty: there is no such server."
        ),
    ] = ""
    regulations_file: Annotated[
        str | None,
        Meta(
            description="YAML with duties to notify, in place of the ones that come with the program; see "
            "docs/incidents.md. A file that cannot be used is refused with a line in the log."
        ),
    ] = None
    contacts_file: Annotated[
        str | None, Meta(description="YAML with `contacts.on_call`, `management`, `external`, `vendors`.")
    ] = None
    targets: Annotated[tuple[TargetEntry, ...], Meta(description="Who is told.")] = ()
    support_contact: Annotated[
        str, Meta(description="Where customers ask, as notices to them say it: an address, a page.")
    ] = ""
    status_page_url: Annotated[
        str, Meta(description="Where the public status page is, where an incident names no other.")
    ] = ""
