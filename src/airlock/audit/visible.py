"""Values from the log, made safe to look at: a row may hold what a stranger sent, and a terminal obeys it."""

from __future__ import annotations


def visible(value: object, limit: int | None = None) -> str:
    """One line of printable characters; others as escapes, bytes as hex, nothing as an empty text.

    Escapes cover control characters, right-to-left overrides and lone surrogates alike.
    """
    if value is None:
        return ""
    text = value.hex() if isinstance(value, bytes) else str(value)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if limit is None or len(text) <= limit else f"{text[:limit]}..."
