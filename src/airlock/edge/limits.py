"""Limits below requests: size and time of headers, framing and answers.

A parser sets none, so a peer could send header lines, trailers, or requests that it never reads the answers
of, for ever. A breach is answered in plain HTTP where no answer began, and closes the connection.
"""

HEADER_BLOCK = 32 * 1024
"""Bytes of request line and header lines together (H-15)."""

HEADER_TIME = 10.0
"""Seconds from the first byte of a request to the end of its header lines."""

MESSAGE_TIME = 40.0
"""Seconds from the end of the header lines to the end of the body; who reads the body gives up before."""

KEEP_ALIVE = 5.0
"""Seconds without a byte after which a connection is closed that has nothing left to be answered."""

WRITE_TIME = 30.0
"""Seconds in which a peer has to take some of an answer that waits for it."""

PIPELINED = 4
"""Requests that may wait for the answer to one before them (RFC 9112 section 9.3.2 lets servers wait)."""

FRAMING = 64 * 1024
"""Bytes of a message that are neither headers nor body, beyond seven for each byte of body: the smallest
chunks take five, chunk extensions and trailers are nobody's need."""

UNREAD = 64 * 1024
"""Bytes of a body that are held before somebody reads it; then no more is taken from the peer."""
