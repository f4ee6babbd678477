"""JSON that a terminal or viewer neither obeys nor reorders: the same document, spelled with escapes.

Encoders escape what JSON demands, U+0000 to U+001F. They leave the C1 controls, which some terminals take as
the start of a command, the marks that turn the reading direction, and the separators of lines as they are.
"""

from __future__ import annotations

import re

# In UTF-8: U+0080-U+009F, U+061C, U+200E-U+200F, U+2028-U+202E, U+2066-U+2069. UTF-8 finds its own
# boundaries, so these bytes never match inside of another character; in JSON they stand in texts alone.
_OBEYED = re.compile(rb"\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]")


def harmless(document: bytes) -> bytes:
    """The encoded JSON document with such characters as `\\uXXXX`; costs nothing where all is ASCII."""
    return document if document.isascii() else _OBEYED.sub(_escape, document)


def _escape(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found[0].decode())
