"""What a server asks of the client of a call, as far as it may, and in the form in which the client hears it.

1 policy lets this server ask this of this caller
2 a form asks for no secret, and an address leads only where the operator lets this server send people
3 nothing that may not leave stands in it
4 a person reads which server asks

Whatever is refused ends the call: the server waits for an answer that nobody will give.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from airlock.core.errors import Effect, Refused, Stage, UpstreamFault
from airlock.gateway.channels import Cleaner
from airlock.mcp import rounds
from airlock.mcp.rounds import Requests
from airlock.mcp.strict import is_object
from airlock.model.call import Redacted, Routed
from airlock.redaction import fields
from airlock.redaction.urls import UrlRule

Permitted = Callable[[Routed, str, dict[str, Any] | None], bool]
"""Whether policy lets the server of a call make a request (its method) of the client. Params: None asks
whether it may at all."""


class Asking:
    """See the module."""

    def __init__(self, permitted: Permitted) -> None:
        self._permitted = permitted

    def capabilities(self, routed: Routed) -> dict[str, Any]:
        """What the server learns that this client can be asked: its own words, as far as policy lets servers
        ask. Nothing else that a client says of itself travels."""
        declared = routed.identified.client.capabilities
        return {
            kind: declared[kind]
            for method, kind in rounds.KINDS.items()
            if is_object(declared.get(kind)) and self._permitted(routed, method, None)
        }

    def __call__(self, call: Redacted, requests: Requests, cleaner: Cleaner | None) -> Requests:
        """The requests as the client gets them. Raises `UpstreamFault` for a kind that the client did not
        declare, `Refused` for what may not be asked."""
        routed = call.allowed.admitted.routed
        missing = rounds.undeclared(requests, call.request.client_capabilities)
        if missing:
            raise UpstreamFault.protocol(f"it asks for what the client cannot do: {', '.join(missing)}")
        return {key: self._asked(routed, request, cleaner) for key, request in requests.items()}

    def _asked(self, routed: Routed, request: dict[str, Any], cleaner: Cleaner | None) -> dict[str, Any]:
        method, params = request["method"], request.get("params", {})
        if not self._permitted(routed, method, params):
            text = f"Policy does not let {routed.item.server} ask this: {rounds.KINDS[method]}."
            raise _not_asked(routed, text, "server_request_denied")
        if method == rounds.ELICITATION:
            _check_elicitation(routed, params, cleaner)
        if cleaner is not None and params:
            params = cleaner.value(params)
        if method == rounds.ELICITATION:
            params = {**params, "message": f"{params['message']} (asked by the server {routed.item.server})"}
        return {"method": method, "params": params} if params else {"method": method}


def _check_elicitation(routed: Routed, params: dict[str, Any], cleaner: Cleaner | None) -> None:
    if params.get("mode", "form") == "url":
        _check_address(routed, params["url"], cleaner)
        return
    for name, field in params["requestedSchema"]["properties"].items():
        title: Any = field.get("title") if is_object(field) else None
        if any(fields.named(said) == "password" for said in (name, title) if isinstance(said, str)):
            text = f"{routed.item.server} asks for a secret in a form, which no server may."
            raise _not_asked(routed, text, "form_asks_for_secret")


def _check_address(routed: Routed, url: str, cleaner: Cleaner | None) -> None:
    """An address to which a person is sent: encrypted, on the list of this server, and it carries nothing."""
    rule = UrlRule(routed.server.entry.elicitation_hosts)
    if not url.startswith("https://") or rule.refuses(url) is not None:
        text = f"{routed.item.server} sends its user to an address that is not on its list."
        raise _not_asked(routed, text, "address_not_allowed")
    if urlsplit(url).username is not None or (cleaner is not None and cleaner.value(url) != url):
        text = f"{routed.item.server} sends its user to an address that carries a secret or personal data."
        raise _not_asked(routed, text, "address_carries_secret")


def _not_asked(routed: Routed, text: str, reason: str) -> Refused:
    return Refused(
        Stage.REDACT, 40301, "policy_denied", text,
        policy_reason=reason, effect=Effect.POSSIBLE, scope=routed.item.scope,
    )  # fmt: skip
