"""`airlock doctor oidc`: each identity provider is asked as the gateway asks it, and its clock is read."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

from airlock.app.identity import fetch
from airlock.cli.diagnosis.check import Asked, Check, judged
from airlock.core.clock import SYSTEM
from airlock.core.config import IssuerEntry
from airlock.core.errors import UpstreamFault
from airlock.identity import discovery
from airlock.identity.discovery import BadDocument
from airlock.upstream.fetch import Fetched

SKEW = 60.0
"""Seconds by which the clocks may differ: tokens are judged with as much tolerance at most."""

SHOWN = 5
"""Key ids that are shown."""


def oidc(asked: Asked) -> list[Check]:
    """Every configured provider."""
    auth = asked.config.auth
    if not auth.issuers:
        seen = "none is configured" + ("; tokens of the local issuer count" if auth.local_issuer else "")
        good = auth.local_issuer
        return [
            Check(part="oidc", check="providers", observed=seen, expected="an issuer", verdict=judged(good))
        ]
    return [check for entry in auth.issuers for check in asyncio.run(_provider(entry))]


async def _provider(entry: IssuerEntry) -> list[Check]:
    found: list[Check] = []

    def said(what: str, seen: str, expected: str, *, good: bool) -> None:
        name = f"{entry.issuer} {what}"
        found.append(Check(part="oidc", check=name, observed=seen, expected=expected, verdict=judged(good)))

    try:
        jwks, answer = await _keys_of(entry)
        keys = discovery.read_keys(answer.body, entry.algorithms)
    except (UpstreamFault, BadDocument) as failed:
        detail = failed.detail if isinstance(failed, UpstreamFault) else str(failed)
        said("publishes keys", f"{failed.reason}: {detail}", "keys that can verify a signature", good=False)
        return found
    shown = ", ".join(kid or "(no id)" for kid in list(keys)[:SHOWN])
    said("publishes keys", f"{len(keys)} at {jwks}: {shown}", "at least one", good=True)
    if answer.date:
        off = skew(answer.date, SYSTEM.wall())
        seen = "a date that cannot be read" if off is None else f"{off:+.0f} s from this clock"
        said("clock", seen, f"within {SKEW:g} s", good=off is not None and abs(off) <= SKEW)
    return found


async def _keys_of(entry: IssuerEntry) -> tuple[str, Fetched]:
    """Where the keys are, and what was there. Raises `UpstreamFault`, `BadDocument`."""
    fetching = fetch(entry, SYSTEM)
    jwks, status = entry.jwks_url or "", 0
    for url in () if jwks else discovery.locations(entry.issuer):
        document = await fetching.get(url)
        status = document.status
        if status == 200:
            jwks = discovery.read_metadata(document.body, entry.issuer).jwks_uri
            break
    if not jwks:
        raise BadDocument("metadata_invalid", f"HTTP {status} instead of metadata")
    answer = await fetching.get(jwks)
    if answer.status != 200:
        raise BadDocument("keys_unusable", f"HTTP {answer.status} instead of keys")
    return jwks, answer


def skew(date: str, now: float) -> float | None:
    """Seconds that a peer is ahead which says that it is `date`; None for what is no date (RFC 9110)."""
    try:
        return parsedate_to_datetime(date).timestamp() - now
    except ValueError:
        return None
