"""What may not travel: the redactors of one configuration, chosen for each way that a text can take.

Towards a client everything configured is taken out, and what policy demands on top. Towards a server only
what policy demands is, and addresses that are not allowed: a token may be meant for that server, and rules
of destination refuse it where it is not. Into the record goes nothing that any detector knows.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from airlock.core.config import RedactionSection
from airlock.core.errors import Refused, Stage
from airlock.mcp.strict import canonical, is_array, is_object
from airlock.model.call import Allowed, Findings, Inbound, Routed
from airlock.model.decision import Obligations
from airlock.redaction.detectors import NAMES
from airlock.redaction.rewrite import Redactor
from airlock.redaction.scan import Scanner
from airlock.redaction.urls import UrlRule

SECRET_LEAST = 16
"""Bytes of a token below which a hit means nothing; real signatures have 86 and more."""

MASKED = "[MASKED]"

MAX_LABELS = 2
"""Labels of a blocked host that the record names: those before them may spell the secret."""

MAX_HOSTS = 10
"""Blocked hosts that the record of one call names."""

MAX_MADE = 64
"""Redactors that are kept. Policies demand a few different sets; one that makes them up finds no end."""

MAX_HARMLESS = 1024
"""Surroundings of results that are remembered: each server has a few."""

BINARY = ("private_key", "aws_key", "github_token", "slack_token", "jwt")
"""Detectors whose shapes do not turn up in pictures by chance."""

_decode = msgspec.json.decode
_encode = msgspec.json.encode


class Rules:
    """What one configuration takes out. Replaced as a whole; its redactors are made when first asked for."""

    def __init__(self, section: RedactionSection) -> None:
        self._detectors: tuple[str, ...] = section.detectors
        self._destinations = section.destinations
        self._urls = UrlRule(section.url_allow) if section.url_allow else None
        self._made: dict[tuple[frozenset[str], bool], Redactor | None] = {}
        self.harmless: set[tuple[Redactor, bytes]] = set()
        """What stood around results, as JSON, and held nothing that this redactor takes out."""
        self.leaving = self._redactor(self._detectors)
        """For what a client gets; None where nothing is taken out."""
        self.lasting = self._redactor((*self._detectors, *self._destinations))
        """For what a record keeps."""
        self.texts = self._redactor(self._detectors, urls=False)
        """For members of a schema, where an address is a name and leads nowhere."""
        kept = tuple(name for name in BINARY if name in self._detectors)
        self.binary = Scanner(kept) if kept else None

    def remember(self, harmless: tuple[Redactor, bytes]) -> None:
        """Look at this no more; all of it is forgotten when there is too much."""
        if len(self.harmless) >= MAX_HARMLESS:
            self.harmless.clear()
        self.harmless.add(harmless)

    def result(self, demanded: tuple[str, ...]) -> Redactor | None:
        """For the answer to a call whose policy demands these detectors. They can only add."""
        return self._redactor((*self._detectors, *demanded)) if demanded else self.leaving

    def request(self, demanded: tuple[str, ...]) -> Redactor | None:
        """For the arguments that are sent, whose policy demands these detectors."""
        return self._redactor(demanded) if demanded or self._urls else None

    def covers(self, demanded: tuple[str, ...]) -> bool:
        """Whether what `lasting` finds nothing in is clean for these detectors, too."""
        return not demanded or not set(demanded) - {*self._detectors, *self._destinations}

    def astray(self, server: str) -> Redactor | None:
        """For what may be sent to some server, but not to this one."""
        return self._redactor(
            tuple(name for name, servers in self._destinations.items() if server not in servers), urls=False
        )

    def _redactor(self, detectors: tuple[str, ...], *, urls: bool = True) -> Redactor | None:
        """Raises `Refused` for a detector that there is not: policy asks for what cannot be done."""
        key = (frozenset(detectors), urls)
        with suppress(KeyError):  # not asked first: the thread of large messages may clear in between
            return self._made[key]
        if key[0].difference(NAMES):
            raise Refused(
                Stage.REDACT, 50001, "obligation_failed",
                "Policy asks for a redaction that this gateway cannot carry out, so the call is refused.",
            )  # fmt: skip
        if len(self._made) >= MAX_MADE:
            self._made.clear()
        rule = self._urls if urls else None
        chosen = tuple(name for name in NAMES if name in key[0])
        made = Redactor(Scanner(chosen), rule) if chosen or rule else None
        self._made[key] = made
        return made

    def record(
        self, arguments: dict[str, Any], masked: tuple[str, ...] = (), demanded: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The arguments as a record may keep them; the same object where all of them may be kept.

        `masked`, `demanded`: members and detectors that policy asks for; it may ask for ones that there are
        not.
        """
        lasting = self.lasting
        if not self.covers(demanded):
            known = (name for name in demanded if name in NAMES)
            lasting = self._redactor((*self._detectors, *self._destinations, *known))
        kept: Any = arguments if lasting is None else lasting.value(arguments)[0]
        return mask(kept, frozenset(masked)) if masked else kept

    def claim(self, text: str) -> str:
        """What somebody says of themselves, as a record may keep it."""
        return text if self.lasting is None else self.lasting.text(text)[0]


class Redactors:
    """The rules in force. Replaced when the configuration is; one call may see both, each whole."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules


def mask(value: Any, names: frozenset[str]) -> Any:
    """The value with `[MASKED]` in place of every member of one of these names, at any depth."""
    if is_object(value):
        return {key: MASKED if key in names else mask(below, names) for key, below in value.items()}
    if is_array(value):
        return [mask(below, names) for below in value]
    return value


def question(allowed: Allowed, recorded: dict[str, Any]) -> bytes:
    """The question that policy answered, with the arguments as the record keeps them."""
    if recorded is allowed.admitted.routed.arguments:
        return allowed.question
    return _encode({**_decode(allowed.question), "arguments": recorded})


def summary(found: Findings) -> dict[str, Any]:
    """What a record says of that which was taken out: no value, and of an address only where it led."""
    said: dict[str, Any] = {"detectors": dict(sorted(found.counts.items()))}
    hosts = shown_hosts(found.hosts)
    if hosts:
        said["hosts"] = hosts
    if found.withheld:
        said["structured_content"] = "left_out"
    return said


def shown_hosts(hosts: set[str]) -> list[str]:
    """Blocked hosts as a record may name them: the domain that was registered, not what stands before it."""
    return sorted({_shown(host) for host in hosts if host})[:MAX_HOSTS]


def _shown(host: str) -> str:
    labels = host.split(".")
    if len(labels) <= MAX_LABELS or labels[-1].isdecimal() or ":" in host:
        return host
    return ".".join(("*", *labels[-MAX_LABELS:]))


def recordable(rules: Rules, routed: Routed, allowed: Allowed | None) -> dict[str, Any]:
    """The arguments of a call that was not sent, as a record may keep them: none with the caller's token."""
    if carries_credential(canonical(routed.arguments), routed.identified.caller.inbound):
        return {}
    asked = allowed.decision.obligations if allowed else Obligations()
    return rules.record(routed.arguments, asked.mask_arguments, asked.redact)


def kept(rules: Rules, routed: Routed | None, allowed: Allowed | None) -> tuple[bytes | None, bytes | None]:
    """Arguments and question of a call that was refused before they were made fit for a record."""
    if routed is None:
        return None, None
    recorded = recordable(rules, routed, allowed)
    return canonical(recorded), question(allowed, recorded) if allowed else None


def carries_credential(text: bytes, inbound: Inbound) -> bool:
    """Whether a text holds the token of the request, or the signature that makes it one."""
    token = (inbound.headers.get("authorization") or "").rpartition(" ")[2].encode()
    secret = token.rpartition(b".")[2]
    return len(secret) >= SECRET_LEAST and secret in text
