"""What every section of the configuration is made of: units of values, and the frozen base."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(extra={"unit": "duration"})]
"""Written `30s 5m 1h 30d` (or a number of seconds); seconds in the program."""

Bytes = Annotated[int, Meta(extra={"unit": "size"})]
"""Written `64KiB 8MiB 1GiB` (or a number of bytes); bytes in the program."""

Rate = Annotated[str, Meta(extra={"unit": "rate"})]
"""Written `10/s 200/min 1000/h 5/d`; the same text in the program, which `units.rate` reads."""

Positive = Annotated[int, Meta(ge=1, le=65535)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section: immutable, and no key that nobody reads."""
