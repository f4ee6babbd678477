"""Where the attack plays: a register of customers, a mail server, a gateway, an inbox, people to call."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

import yaml

from airlock.cli.demo.response.inbox import Inbox
from airlock.cli.demo.site import HERE, WORKERS, Site

ROLES = {
    "clerk": {
        "sees": ["customers/*", "mail/list_mail", "mail/send_mail"],
        "uses": ["customers/*", "mail/list_mail", "mail/send_mail"],
    },
    "viewer": {"sees": ["airlock/*"], "uses": ["airlock/echo"]},
}
"""`viewer` is the role of the checks from outside."""

CONTACTS = {
    "contacts": {
        "on_call": {"primary": "+1-555-0101", "secondary": "+1-555-0102"},
        "management": {
            "team_lead": "+1-555-0200",
            "engineering_manager": "+1-555-0201",
            "director": "+1-555-0301",
            "cto": "+1-555-0302",
        },
        "external": {"security_team": "security@example.com", "legal_team": "legal@example.com"},
        "vendors": {"cloud_provider": "+1-555-0400"},
    }
}

AUDIENCES = ["war_room", "status_updates", "executive", "customer", "legal", "page"]


class ResponseSite(Site):
    """One folder, its processes, and the inbox of everybody who is told."""

    over_http, over_stdio = "customers.py", "mail.py"

    def __init__(self, *, keep: bool) -> None:
        super().__init__(keep=keep)
        self.inbox = Inbox()
        self.taken = self.folder / "taken.jsonl"
        """The parts of exports that the register sent, written by itself."""
        self.slow = self.folder / "slow"
        """While it is there, the register takes as many seconds longer for a call as it says."""

    def settings(self, place: str, command: list[str], variables: Mapping[str, str]) -> dict[str, Any]:
        """See `Site.settings`. Callers behind the proxy 127.0.0.1 have the addresses that it names."""
        policy = self.folder / "policy"
        shutil.copytree(HERE / "policy", policy, ignore=shutil.ignore_patterns("*_test.rego"))
        (policy / "data.json").write_text(json.dumps({"demo": {"most_discount": 0, "roles": ROLES}}))
        (self.folder / "contacts.yaml").write_text(yaml.safe_dump(CONTACTS))
        inbox = {
            "name": "inbox",
            "kind": "webhook",
            "url": self.inbox.url,
            "audiences": AUDIENCES,
            "allow_private": True,
        }
        return {
            "data_dir": "data",
            "server": {
                "port": self.port,
                "public_url": self.url,
                "workers": WORKERS,
                "drain": "3s",
                "trusted_proxies": ["127.0.0.1/32"],
            },
            "policy": {"path": "policy"},
            "rate_limiting": {"per_token": "6000/min", "burst": 1000, "per_ip": "60000/min"},
            "incident": {
                "contacts_file": "contacts.yaml",
                "support_contact": "support@example.com",
                "targets": [inbox],
            },
            "servers": [
                {
                    "name": "customers",
                    "transport": "http",
                    "url": place,
                    "sensitivity": "high",
                    "read_only": True,
                    "era": "modern",
                },
                {
                    "name": "mail",
                    "transport": "stdio",
                    "command": command,
                    "env": dict(variables),
                    "sensitivity": "low",
                    "era": "modern",
                    "tools": {"list_mail": {"read_only": True}},
                },
            ],
        }

    def close(self) -> None:
        """See `Site.close`."""
        self.inbox.close()
        super().close()
