"""What a document is made of: one frozen record of an incident and of all that is known about it.

It is gathered once, and then nothing else is asked: the same record gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from airlock.incident.questions import Answered
from airlock.incident.regulation import Regulation
from airlock.model.health import Service
from airlock.model.incident import Alert, Incident, Recorded
from airlock.model.lease import Lease


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """Where people meet and ask; empty: the configuration does not say."""

    support: str = ""
    status_page: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One incident, at one time."""

    incident: Incident
    timeline: tuple[Recorded, ...] = ()
    leases: tuple[Lease, ...] = ()
    """Every lease that names the incident, those that ended too."""
    alerts: tuple[Alert, ...] = ()
    answers: Mapping[str, Answered] = MappingProxyType({})
    """Stored questions to the log and what came back, by name."""
    law: Mapping[str, Regulation] = MappingProxyType({})
    service: Service = Service()
    places: Places = Places()
    at: float
    """When it was gathered, Unix seconds."""
