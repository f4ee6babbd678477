"""Requests to a modern server, up to the wire."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, cast

from airlock.upstream.modern import REMEMBERED, Modern
from airlock.upstream.wire import Outgoing, Reply, Wire
from tests.upstream.http_parts import call, run

if TYPE_CHECKING:
    from collections.abc import Iterator


class Heard:
    """Stands at the seam to the network and keeps the last request."""

    last: Outgoing

    async def ask(self, outgoing: Outgoing) -> Reply:
        self.last = outgoing
        return Reply(status=200)


def names(count: int) -> Iterator[str]:
    return map(str, range(count))


def test_routing_headers_are_kept_ready_for_so_many_tools_and_stay_right() -> None:
    async def story() -> None:
        heard = Heard()
        server = Modern(wire=cast("Wire", heard), ids=itertools.count())
        for name in itertools.chain(names(REMEMBERED + 2), names(3)):
            await server.ask(call(name), None)
            assert b"\r\nMcp-Name: %b\r\n" % name.encode() in heard.last.lines

    run(story())
