"""What operators may change of a detection rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

Mode = Literal["active", "monitor", "inactive"]
"""`active`: findings are alerts, and may be acted on; `monitor`: alerts only; `inactive`: not asked."""


class Setting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of a rule: its mode (empty: as it ships), and thresholds by name."""

    mode: Literal["", "active", "monitor", "inactive"] = ""
    thresholds: dict[str, float] = msgspec.field(default_factory=dict[str, float])


Settings = Mapping[tuple[str, str], Setting]
"""By rule and tenant; the tenant `` is everywhere."""
