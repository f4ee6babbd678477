"""CRC-32C (RFC 3720 appendix B.4): finds torn writes and broken media; no protection against people."""

from __future__ import annotations

import google_crc32c


def crc32c(data: bytes) -> int:
    """Checksum of `data` as an unsigned 32-bit number."""
    return google_crc32c.value(data)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - no stubs
