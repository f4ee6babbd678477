"""The head of an answer as bytes, without a name or value that could end its line early."""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus

HeaderList = tuple[tuple[str, str], ...]

MALFORMED = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 30\r\n"
    b"connection: close\r\n\r\nInvalid HTTP request received."
)
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
"""Whole answers to what is no request."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")

_STATUS = {int(status): f"HTTP/1.1 {int(status)} {status.phrase}\r\n".encode() for status in HTTPStatus}


def block_size(target: bytes, fields: list[tuple[bytes, bytes]]) -> int:
    """Bytes of a header block, whatever else came in the same piece."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in fields)


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return _STATUS.get(status) or f"HTTP/1.1 {status} \r\n".encode()


def lines(headers: HeaderList) -> bytes:
    """Header lines, names in lower case. Raises `ValueError` for what is no name or no value."""
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"not a header line: {name!r}")
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in headers).encode("latin-1")


known_lines = lru_cache(maxsize=64)(lines)
"""The same for headers that every answer of a kind has: nothing of a caller is to be kept here."""


def closes(headers: HeaderList) -> bool:
    """Whether they end the connection with this answer."""
    return any(
        name.lower() == "connection" and "close" in value.lower().replace(" ", "").split(",")
        for name, value in headers
    )
