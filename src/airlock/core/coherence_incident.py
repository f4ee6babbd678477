"""The section `incident`: its paths made absolute. That a file can be read is told where it is needed:
a gateway has to start also in the night in which somebody moved the contacts.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from airlock.core.incident_config import IncidentSection


def settle_incident(section: IncidentSection, absolute: Callable[[str], str]) -> IncidentSection:
    """The section with absolute paths."""

    def place(path: str | None) -> str | None:
        return absolute(path) if path else path

    return structs.replace(
        section,
        contacts_file=place(section.contacts_file),
        regulations_file=place(section.regulations_file),
        targets=tuple(
            structs.replace(target, secret_file=place(target.secret_file), ca_file=place(target.ca_file))
            for target in section.targets
        ),
    )
