"""Stage 1b: what the message says. Strict JSON first, then the client's era, then whether the token
reaches so far.

1 strict JSON, one message
2 the era of the client: modern envelope, handshake, session, or a single request without any
3 the route: a server that the caller's tenant can see
4 the scopes that the operation needs
"""

from __future__ import annotations

from collections.abc import Callable

from airlock.core.clock import Clock
from airlock.core.errors import Refused, Rejected
from airlock.gateway.resolve import require_route
from airlock.gateway.sessions import Sessions
from airlock.identity.scopes import CALL, needed_scopes, require_scopes
from airlock.mcp import abilities, eras, jsonrpc, names, strict
from airlock.mcp.jsonrpc import Message, Notification, Request
from airlock.mcp.methods import CALLS, check_params, server_named
from airlock.model.call import Authenticated, Client, Identified


def no_level(session: str) -> str:
    """No session wants a level of its own."""
    del session
    return ""


class Read:
    """Reads the messages of one deployment: its sessions, and its concessions to old clients."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        clock: Clock,
        one_shot: bool,
        provider_scopes: bool = True,
        level: Callable[[str], str] = no_level,
    ) -> None:
        """`provider_scopes`: tokens of identity providers need scopes; those of our own issuers always do.
        `level` gives the level of log messages that a session wants."""
        self._level = level
        self._provider_scopes = provider_scopes
        self._sessions = sessions
        self._clock = clock
        self._one_shot = one_shot

    def __call__(self, caller: Authenticated) -> Identified:
        message = jsonrpc.read(strict.parse(caller.inbound.body))  # 1
        try:
            return self._identify(caller, message)
        except Refused as refused:
            if isinstance(message, Request):
                refused.request_id = message.id
            raise

    def _identify(self, caller: Authenticated, message: Message) -> Identified:
        era = eras.classify(message, caller.inbound.headers, one_shot=self._one_shot)  # 2
        if isinstance(message, Notification) and not message.method.startswith("notifications/"):
            raise Rejected(
                400, -32600, "id_missing", f"{message.method[:128]} is a request: it needs an `id`."
            )
        client = self._client(caller, message, era)
        require_route(caller)  # 3
        scoped = self._provider_scopes or caller.principal.auth != "oidc"
        if scoped and CALL not in caller.principal.scopes:  # 4, all of which it implies
            require_scopes(caller.principal, needed(caller, message))
        return Identified(caller=caller, client=client, message=message)

    def _client(self, caller: Authenticated, message: Message, era: eras.Era) -> Client:
        if isinstance(era, eras.Modern):
            return Client(
                version=era.version,
                modern=True,
                capabilities=era.capabilities,
                info=era.client_info,
                log_level=era.log_level or "",
            )
        if isinstance(era, eras.Initialize):
            return Client(
                version=era.version, modern=False, capabilities=era.capabilities, info=era.client_info
            )
        if isinstance(era, eras.OneShot):
            return Client(version=era.version, modern=False, capabilities={})
        session = self._sessions.open(era.session_id, caller, self._clock.wall())
        eras.check_version(era)
        check_params(message.method, message.params, http=200)
        if caller.inbound.stream is not None:
            caller.inbound.stream.enter(session.sid, session.version)
        return Client(
            version=session.version,
            modern=False,
            capabilities=abilities.unpacked(session.can),
            session=session.sid,
            log_level=self._level(session.sid),
        )


def needed(caller: Authenticated, message: Message) -> tuple[str, ...]:
    """The scopes that the message needs. A search for tools is a list, although it comes as a call."""
    found = message.method == "tools/call" and message.params["name"] == names.FIND
    if found and not caller.inbound.server:
        return needed_scopes("tools/list")
    return needed_scopes(message.method, acts_on(caller, message))


def acts_on(caller: Authenticated, message: Message) -> str:
    """The server that a call names; empty for everything else."""
    if message.method not in CALLS:
        return ""
    return caller.inbound.server or server_named(message.method, message.params)
