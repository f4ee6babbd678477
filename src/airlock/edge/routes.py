"""The application: one table of routes, each with its declared authentication, and nothing beside it.

1. the real address of the client; path, host and origin, on every route alike
2. whether the address may come in: no block, not too much
3. the route, or 404 / 405
4. its handler
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import PurePath
from typing import Literal, Protocol

import msgspec

from airlock.core.errors import Fault, Refused, Rejected
from airlock.edge.clients import Clients
from airlock.edge.doors import Doors, plain_path
from airlock.edge.endpoint import read_body
from airlock.edge.heads import HeaderList
from airlock.edge.stream import send_reply
from airlock.edge.visit import Visit
from airlock.model.call import Reached, Reply
from airlock.model.http import HttpRequest, HttpResponse

Raw = Callable[[Visit, HeaderList], Awaitable[None]]
Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


ALWAYS = frozenset({"/live", "/ready", "/health"})
"""Answered to every address: who watches over the gateway must not be kept out by its limits."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One door. `auth` is what its handler demands; a test walks the table and tries each without it."""

    method: str
    path: str
    """Literal, with `{name}` for one segment."""
    auth: Literal["none", "bearer", "admin"]
    handler: Handler | None = None
    max_body: int = 0
    """Bytes of body that its handler may get; 0: the body is not read."""
    raw: Raw | None = None
    """For MCP, whose answers may be streams."""


class Logger(Protocol):
    def error(self, event: str, **fields: object) -> object: ...


class Application:
    """What answers every request of a worker."""

    def __init__(
        self,
        *,
        routes: tuple[Route, ...],
        doors: Doors,
        clients: Clients,
        admit: Callable[[str], None],
        turned_away: Callable[[str, Refused], Awaitable[None]],
        explain: Callable[[Reached | None, Refused | Fault], Reply],
        log: Logger,
    ) -> None:
        """`admit` raises `Refused` for an address that may not come in; `turned_away` records that."""
        self.routes = routes
        self._doors = doors
        self._clients = clients
        self._admit = admit
        self._turned_away = turned_away
        self._explain = explain
        self._log = log
        self._table = compile_table(routes)
        self._known = self._literal()

    def _literal(self) -> dict[tuple[str, bytes], Route]:
        """What `plain_path` and `_find` give for routes without parameters, ahead of any request."""
        literal = (route for route in self.routes if "{" not in route.path)
        found = (
            (route, self._find(route.method, plain_path(route.path.encode()), from_a_page=False)[0])
            for route in literal
        )
        return {(route.method, route.path.encode()): route for route, first in found if first is route}

    async def __call__(self, visit: Visit) -> None:
        visit.client = client = self._clients.real(visit.client, visit.fields)
        try:
            await self._serve(visit, client[0])
        except Exception as defect:  # the server below answers 500 and says nothing
            place = traceback.extract_tb(defect.__traceback__)[-1]
            detail = f"{type(defect).__name__} at {PurePath(place.filename).name}:{place.lineno}"
            self._log.error("request_failed", stage="edge", reason="internal_error", detail=detail)
            raise

    async def _serve(self, visit: Visit, source_ip: str) -> None:
        try:
            known = self._known.get((visit.method, visit.path))
            path = plain_path(visit.path) if known is None else known.path
            extra = self._doors.check(visit.fields)
            if path not in ALWAYS:
                try:
                    self._admit(source_ip)
                except Refused as refused:
                    await self._turned_away(source_ip, refused)
                    raise
            route, params = (known, {}) if known else self._find(visit.method, path, from_a_page=bool(extra))
        except (Refused, Fault) as failure:
            send_reply(visit, self._explain(None, failure), ())
            return
        if route is None:
            send_reply(visit, Reply(body=b"", status=204, headers=_PREFLIGHT), extra)
        elif route.raw is not None:
            await route.raw(visit, extra)
        elif route.handler is not None:
            try:
                request = await _request(visit, source_ip, path, params, route.max_body)
            except Refused as refused:
                send_reply(visit, self._explain(None, refused), extra)
                return
            response = await route.handler(request)
            visit.answer(response.status, (), response.body, response.headers + extra)

    def _find(self, method: str, path: str, *, from_a_page: bool) -> tuple[Route | None, dict[str, str]]:
        """The route; None for the preflight of a page. Raises 404, or 405 with the methods that exist."""
        allowed: list[str] = []
        for pattern, routes in self._table:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if method in routes:
                return routes[method], found.groupdict()
            allowed.extend(routes)
            if not found.groupdict():
                break  # a literal address is no instance of a variable one
        if not allowed:
            raise Rejected(404, -32600, "not_found", "There is nothing at this address.")
        if method == "OPTIONS" and from_a_page:
            return None, {}
        allow = (("allow", ", ".join(sorted(allowed))),)
        raise Rejected(405, -32600, "method_not_allowed", f"{method} is not served here.", headers=allow)


_PREFLIGHT: HeaderList = (
    ("access-control-allow-methods", "GET, POST, DELETE"),
    (
        "access-control-allow-headers",
        "authorization, content-type, accept, mcp-protocol-version, mcp-session-id, mcp-method, mcp-name, "
        "last-event-id",
    ),
    ("access-control-max-age", "600"),
)


def compile_table(routes: tuple[Route, ...]) -> list[tuple[re.Pattern[str], Mapping[str, Route]]]:
    """Routes by pattern: literal paths first, else in the order in which they first appear. Raises
    `ValueError` for a doubled one."""
    table: dict[str, dict[str, Route]] = {}
    for route in routes:
        methods = table.setdefault(route.path, {})
        if route.method in methods:
            raise ValueError(f"two routes for {route.method} {route.path}")
        methods[route.method] = route
    ordered = sorted(table.items(), key=lambda each: "{" in each[0])
    return [(_pattern(path), methods) for path, methods in ordered]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("".join(f"(?P<{part[1:-1]}>[^/]+)" if part.startswith("{") else re.escape(part)
                              for part in re.split(r"(\{[a-z_]+\})", path)))  # fmt: skip


async def _request(
    visit: Visit, source_ip: str, path: str, params: dict[str, str], max_body: int
) -> HttpRequest:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in visit.fields)
    authorization = [value for name, value in headers if name == "authorization"]
    return HttpRequest(
        method=visit.method,
        path=path,
        params=params,
        query=visit.query.decode("latin-1"),
        headers=headers,
        authorization=authorization[0] if len(authorization) == 1 else None,
        source_ip=source_ip,
        body=await read_body(visit, max_body) if max_body else b"",
    )
