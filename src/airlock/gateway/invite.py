"""What a caller gets who has to log in at a server first: a link, in the form that its client understands.

1 modern, and shows people addresses   `input_required` with the link; the retry goes to the server
2 2025-11-25, and shows people addresses   error -32042 with the link
3 everybody else   a refusal whose text has the link
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from airlock.core import ids
from airlock.core.errors import LoginNeeded, Refused, Rejected, Stage
from airlock.gateway.tickets import LIFETIME, Tickets
from airlock.mcp import eras, results, rounds
from airlock.mcp.rounds import Requests
from airlock.mcp.strict import is_object
from airlock.model.call import Identified, Redacted, Routed
from airlock.model.upstream import Notify, Park, UpstreamAnswer

KEY = "airlock-login"
"""Of the gateway's own question, beside which a server asks nothing."""

MOST = 4
"""Rounds after which a caller gets the link in words, and no further question."""

Resolve = Callable[[Identified], Routed]
Forward = Callable[[Redacted, Notify], Awaitable[UpstreamAnswer]]


class Invite:
    """Wraps the stages that can find out that a login is missing."""

    def __init__(self, tickets: Tickets) -> None:
        self._tickets = tickets

    def resolving(self, resolve: Resolve) -> Resolve:
        """Stage 2: of a server at which nobody has logged in yet, nothing is known."""

        def resolved(identified: Identified) -> Routed:
            try:
                return resolve(identified)
            except LoginNeeded as needed:
                raise self._told(identified, needed, self._params(identified, needed)) from needed

        return resolved

    def forwarding(self, forward: Forward) -> Forward:
        """Stage 6."""

        async def forwarded(call: Redacted, notify: Notify) -> UpstreamAnswer:
            try:
                return await forward(_to_server(call), notify)
            except LoginNeeded as needed:
                return self._asked(call, needed)

        return forwarded

    def _asked(self, call: Redacted, needed: LoginNeeded) -> UpstreamAnswer:
        """The question to a modern client. Raises `Refused` for every other."""
        identified = call.allowed.admitted.routed.identified
        params = self._params(identified, needed)
        if not _can_ask(call, params):
            raise self._told(identified, needed, params) from needed
        request = {"method": rounds.ELICITATION, "params": params}
        result: dict[str, Any] = {"resultType": rounds.INPUT_REQUIRED, "inputRequests": {KEY: request}}
        said = call.allowed.admitted.round
        if said is not None and said.inner is not None:
            result[rounds.STATE] = said.inner
        # Nothing waits for the answer: a park without a name only says that no server asks this.
        park = Park(id="", nonce="", lifetime=LIFETIME)
        return UpstreamAnswer(result=result, size=0, era=eras.MODERN[0], park=park)

    def _params(self, identified: Identified, needed: LoginNeeded) -> dict[str, str]:
        more = " It wants more permissions than you gave it." if needed.scopes else ""
        url = self._tickets.url(identified.caller.principal, needed.server)
        message = f"Log in at {needed.server}, so that Airlock can call it for you.{more}"
        return {"mode": "url", "message": message, "url": url}

    def _told(self, identified: Identified, needed: LoginNeeded, params: dict[str, str]) -> Refused:
        client = identified.client
        missing = rounds.undeclared(_question(params), client.capabilities)
        if client.version == eras.LATEST_LEGACY and not missing:
            elicitation: dict[str, object] = {**params, "elicitationId": ids.uuid7()}
            return Rejected(
                200,
                results.URL_ELICITATION,
                needed.reason,
                params["message"],
                data={"elicitations": [elicitation]},
                stage=Stage.FORWARD,
            )
        text = f"{params['message']} Open this link in a browser, then call again: {params['url']}"
        return Refused(Stage.FORWARD, 40305, needed.reason, text)


def _question(params: dict[str, str]) -> Requests:
    return {KEY: {"method": rounds.ELICITATION, "params": params}}


def _can_ask(call: Redacted, params: dict[str, str]) -> bool:
    """Whether the client of a call can still be asked to open an address."""
    identified, said = call.allowed.admitted.routed.identified, call.allowed.admitted.round
    carried = identified.client.modern and call.request.method in rounds.CARRIERS
    if not carried or rounds.undeclared(_question(params), identified.client.capabilities):
        return False
    if said is None:
        return True
    answer: Any = said.responses.get(KEY, _ACCEPTED)
    return said.number < MOST and is_object(answer) and answer.get("action") == "accept"


_ACCEPTED = {"action": "accept"}


def _to_server(call: Redacted) -> Redacted:
    """The call without the answer to a question that the server did not ask."""
    said, params = call.allowed.admitted.round, call.request.params
    if said is None or KEY not in params.get(rounds.RESPONSES, _NOTHING):
        return call
    left = {key: each for key, each in params[rounds.RESPONSES].items() if key != KEY}
    params = {key: value for key, value in params.items() if key != rounds.RESPONSES or left}
    if left:
        params[rounds.RESPONSES] = left
    return msgspec.structs.replace(call, request=msgspec.structs.replace(call.request, params=params))


_NOTHING: dict[str, Any] = {}
