"""Is what stands behind `password=` a secret, or a variable, a type, a mask, a word of a sentence?"""

from __future__ import annotations

from airlock.redaction.pattern import compiled

LONGEST_WORD = 64
"""Bytes beyond which a value is nothing that somebody wrote as a name or a placeholder."""

_QUOTES = b"\"'`"
_CLOSING = b")]}.,;:!?"

_EMPTY = compiled(
    r"\$\{.*|\$\(.*|\$[A-Z_][A-Z0-9_]*|\{.*|%\(.*|\[REDACTED.*|(?:[*.xX_-]|•)+"
    r"|(?i:string|str|text|none|null|nil|true|false|undefined|required|optional|number|integer|int|boolean|bool"
    r"|object|hidden|redacted|masked|secretstr|bytes|any|empty|prompt|stdin|varchar|nvarchar|char)[\])}|?!.:]*"
)
"""Templates, masks, and words of schemas: whatever their quotes, they are no value."""

_CODE = compiled(
    r"[A-Za-z_.]+[(\[].*|\[.*|_[A-Za-z_]*|[a-z_]+(?:\.[a-z_]+)+"
    r"|\$?[A-Za-z_]*(?i:password|passwd|passphrase|pwd|secret|token|api_?key|credential)[A-Za-z_]*"
)
"""Without quotes: a call, a list, an attribute, a private variable, a variable of the same name."""

_ABOUT = compiled(
    r"(?i:names?|ids?|arn|policy|length|size|min|max|reset|expires|expiry|expiration|age|hint|url|uri|path|files?"
    r"|changed|updated|created|rotated|required|type|field|count|at|version|rotation|enabled|date|manager|store)"
)
"""`password_length`, `secret_name`: what is said about a secret."""

_LAST_WORD = compiled(r"(?:[A-Z]?[a-z0-9]+|[A-Z0-9]+)$")


def password(raw: bytes, start: int, end: int) -> tuple[int, int] | int:
    """The span of a value that is one, else the place from which to look on."""
    end = start + len(raw[start:end].rstrip(b"\\"))
    if end - start > LONGEST_WORD or raw[end : end + 1] == b"@":
        return (start, end) if not raw.startswith((b"${", b"{{", b"[REDACTED"), start) else end
    value = raw[start:end]
    before = raw[max(0, start - 60) : start]
    if _EMPTY.fullmatch(value) or speaks_about(before.rstrip(b" \t\"'`:=>\\")):
        return start
    quoted = before[-1:] in _QUOTES
    if quoted or (not _CODE.fullmatch(value.rstrip(_CLOSING)) and _stands_out(raw, value, before, end)):
        return start, end
    return start


def holds(value: bytes) -> bool:
    """Whether the value of a field for secrets is one."""
    return bool(value) and not _EMPTY.fullmatch(value)


def speaks_about(name: bytes) -> bool:
    """Whether a name ends in a word that makes it the name of something else than the secret."""
    word = _LAST_WORD.search(name)
    return word is not None and _ABOUT.fullmatch(word.group()) is not None


def _stands_out(raw: bytes, value: bytes, before: bytes, end: int) -> bool:
    """Whether a bare value is more than a word of a sentence.

    It is glued to its name, is no plain word, or has a line for itself and its name, as in YAML.
    """
    if before.endswith(b"=") or not value.rstrip(_CLOSING).replace(b"_", b"").isalpha():
        return True
    line = before.rpartition(b"\n")[2].split()
    rest = raw[end : end + 40].partition(b"\n")[0]
    return len(line) == 1 and not rest.strip(b" \t\r,;")
