"""Stage 5: what policy obliges to take out of a call before it is sent, and what may not go to this server.

1 look for anything that a record may not hold; most calls hold nothing and are done
2 a secret that may go to certain servers goes to no other
3 take out what policy demands, and addresses that are not allowed; what is left must fit the tool's schema
4 the caller's own token never travels
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import Refused, Stage
from airlock.gateway.fit import Fit
from airlock.gateway.redact import Redactors, Rules, carries_credential, mask, question
from airlock.mcp import eras, headers, rounds, strict
from airlock.model.call import Allowed, Findings, Redacted, Round, Routed
from airlock.model.upstream import UpstreamRequest

_NOTHING: dict[str, Any] = {}


class RedactRequest:
    """The stage. `progress` makes gateway-unique progress tokens."""

    def __init__(
        self,
        *,
        redactors: Redactors,
        fit: Fit,
        clock: Clock,
        progress: Callable[[], str],
        capabilities: Callable[[Routed], dict[str, Any]],
    ) -> None:
        """`capabilities`: what the server may ask of the client of a call."""
        self._capabilities = capabilities
        self._redactors = redactors
        self._fit = fit
        self._clock = clock
        self._progress = progress

    def __call__(self, allowed: Allowed) -> Redacted:
        rules, obligations = self._redactors.rules, allowed.decision.obligations
        routed, found = allowed.admitted.routed, Findings()
        arguments = routed.arguments
        recorded = rules.record(arguments)  # 1
        if recorded is not arguments:
            _keep_home(rules, routed, arguments)  # 2
        if recorded is not arguments or not rules.covers(obligations.redact):
            arguments = self._less(rules, obligations.redact, routed, found)  # 3
            recorded = rules.record(arguments)
        if obligations.mask_arguments:
            recorded = mask(recorded, frozenset(obligations.mask_arguments))
        canonical = strict.canonical(arguments)
        if carries_credential(canonical, routed.identified.caller.inbound):  # 4
            raise _token_held()
        request = self._request(routed, arguments)
        if allowed.admitted.round is not None:
            request = self._continued(allowed, allowed.admitted.round, request, found)
        return Redacted(
            allowed=allowed,
            request=request,
            arguments=canonical if recorded is arguments else strict.canonical(recorded),
            question=question(allowed, recorded),
            found=found,
        )

    def _less(
        self, rules: Rules, demanded: tuple[str, ...], routed: Routed, found: Findings
    ) -> dict[str, Any]:
        """The arguments as they may be sent. Raises `Refused` where what is left is no call of this tool, or
        another URI."""
        redactor = rules.request(demanded)
        if redactor is None or (routed.item.kind == "resource" and "uri" in routed.arguments):
            return routed.arguments  # a URI of the server's own list tells it nothing
        less, counts = redactor.value(routed.arguments, found.hosts)
        another = routed.item.kind == "template" and less.get("uri", routed.uri) != routed.uri
        if another or (counts and not self._fit(routed.item, "inputSchema", less)):
            raise Refused(
                Stage.REDACT, 50001, "obligation_failed",
                "What may not be sent cannot be taken out of these arguments: what is left is no call of "
                f"{routed.item.name}.",
            )  # fmt: skip
        found.add(counts)
        return less

    def answers(self, allowed: Allowed, said: dict[str, Any], found: Findings) -> dict[str, Any]:
        """What a client says to what the server of its call asks, held to what holds arguments."""
        rules, routed = self._redactors.rules, allowed.admitted.routed
        _keep_home(rules, routed, said)
        redactor = rules.request(allowed.decision.obligations.redact)
        if redactor is not None:
            said, counts = redactor.value(said, found.hosts)
            found.add(counts)
        if carries_credential(strict.canonical(said), routed.identified.caller.inbound):
            raise _token_held()
        return said

    def _continued(
        self, allowed: Allowed, said: Round, request: UpstreamRequest, found: Findings
    ) -> UpstreamRequest:
        """With the client's answers to what the server asked, and with the state that it wants back. A server
        of the other era knows neither."""
        routed, responses = allowed.admitted.routed, said.responses
        if not _is_modern(routed):
            return request
        params = {**request.params}
        if responses:
            params[rounds.RESPONSES] = self.answers(allowed, responses, found)
        if said.inner is not None:
            params[rounds.STATE] = said.inner
        return msgspec.structs.replace(request, params=params)

    def _request(self, routed: Routed, arguments: dict[str, Any]) -> UpstreamRequest:
        identified = routed.identified
        method, client = identified.message.method, identified.client
        params, name = _named(method, routed, arguments)
        said: dict[str, Any] = identified.message.params.get("_meta", _NOTHING)
        level = client.log_level or ("info" if client.session and _is_modern(routed) else "")
        if (level or "progressToken" in said) and (meta := self._meta(routed, said, level)):
            params["_meta"] = meta
        return UpstreamRequest(
            method=method,
            params=params,
            name=name,
            param_headers=self._mirrored(routed, arguments)
            if client.modern or routed.item.param_headers
            else (),
            principal_key=identified.caller.principal.key,
            session=client.session,
            client_capabilities=self._capabilities(routed) if client.capabilities else {},
            log_level=level,
            deadline=self._clock.monotonic() + routed.server.entry.timeout,
        )

    def _mirrored(self, routed: Routed, arguments: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        """`Mcp-Param-*`: the declared ones by the arguments that are sent; others as they came, where the
        arguments are sent as they came and nothing stands in them that a record may not hold."""
        item, inbound = routed.item, routed.identified.caller.inbound
        rendered = headers.render_param_headers(item.param_headers, arguments)
        if arguments is not routed.arguments or not routed.identified.client.modern:
            return rendered
        others = headers.undeclared(item.param_headers, inbound.headers)
        if not others:
            return rendered
        lasting = self._redactors.rules.lasting
        harmless = (
            (name, value)
            for name, value in others
            if not carries_credential(value.encode(), inbound)
            and (lasting is None or not lasting.text(value)[1])
        )
        return (*rendered, *harmless)

    def _meta(self, routed: Routed, said: dict[str, Any], level: str) -> dict[str, Any]:
        """What of a client's `_meta` (`said`) a server gets: a progress token of ours, and the least level of
        the log messages that the client wants."""
        meta: dict[str, Any] = {}
        if "progressToken" in said:
            meta["progressToken"] = self._progress()
        if level and _is_modern(routed):
            meta[eras.LOG_LEVEL_KEY] = level
        return meta


def _is_modern(routed: Routed) -> bool:
    catalog = routed.server.catalog
    return catalog is not None and catalog.era in eras.MODERN


def _named(method: str, routed: Routed, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The params in the server's own words, and the value of `Mcp-Name`."""
    own = routed.item.own
    if method.startswith("resources/"):
        return {"uri": routed.uri}, routed.uri
    if method == "completion/complete":
        prompt = routed.item.kind == "prompt"
        ref = {"type": "ref/prompt", "name": own} if prompt else {"type": "ref/resource", "uri": routed.uri}
        return {"ref": ref, **arguments}, ""
    return {"name": own, "arguments": arguments}, own


def _token_held() -> Refused:
    return Refused(
        Stage.REDACT, 40301, "policy_denied",
        "The arguments hold the caller's own access token, which never travels to a server.",
        policy_reason="credential_in_arguments",
    )  # fmt: skip


def _keep_home(rules: Rules, routed: Routed, arguments: dict[str, Any]) -> None:
    """Raise `Refused` for a secret that may go to some servers, and this is none of them.

    It is looked for by itself: where two detectors know a stretch, a finding names only one of them.
    """
    astray = rules.astray(routed.item.server)
    if astray is None:
        return
    counts = astray.value(arguments)[1]
    if counts:
        kinds = ", ".join(sorted(counts))
        raise Refused(
            Stage.REDACT, 40301, "secret_to_wrong_destination",
            f"The arguments hold what may not be sent to {routed.item.server}: {kinds}.",
            policy_reason="secret_to_wrong_destination",
            scope=routed.item.scope,
        )  # fmt: skip
