"""Stages 5 and 7: what an allow obliges to, on the way out and on the way back.

An obligation that cannot be met refuses the call before anything is sent. Detectors and masking join here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airlock.core.clock import Clock
from airlock.core.errors import Effect, Fault, Refused, Stage, UpstreamFault
from airlock.gateway.answer import server_info
from airlock.mcp import eras, headers, jsonrpc, results, strict
from airlock.model.call import Allowed, Inbound, Redacted, Reply
from airlock.model.upstream import UpstreamAnswer, UpstreamRequest

SECRET_LEAST = 16
"""Bytes of a token below which a hit means nothing; real signatures have 86 and more."""

MAX_RESULT = 16 * 1024 * 1024
"""Bytes of a result that may reach a client, whatever policy says."""


def redact_request(clock: Clock, progress: Callable[[], str]) -> Callable[[Allowed], Redacted]:
    """The stage; `progress` makes gateway-unique progress tokens."""

    def stage(allowed: Allowed) -> Redacted:
        obligations = allowed.decision.obligations
        if obligations.redact or obligations.mask_arguments:
            raise Refused(
                Stage.REDACT, 50001, "obligation_failed",
                "Policy asks for a redaction that this gateway cannot carry out, so the call is refused.",
            )  # fmt: skip
        routed = allowed.admitted.routed
        arguments = strict.canonical(routed.arguments)
        if carries_credential(arguments, routed.identified.caller.inbound):
            raise Refused(
                Stage.REDACT, 40301, "policy_denied",
                "The arguments hold the caller's own access token, which never travels to a server.",
                policy_reason="credential_in_arguments",
            )  # fmt: skip
        params: dict[str, Any] = {"name": routed.tool.name, "arguments": routed.arguments}
        meta = routed.identified.message.params.get("_meta")
        if isinstance(meta, dict) and "progressToken" in meta:
            params["_meta"] = {"progressToken": progress()}
        return Redacted(
            allowed=allowed,
            request=UpstreamRequest(
                method="tools/call",
                params=params,
                name=routed.tool.name,
                param_headers=headers.render_param_headers(routed.tool.param_headers, routed.arguments),
                principal_key=routed.identified.caller.principal.key,
                deadline=clock.monotonic() + routed.server.entry.timeout,
            ),
            arguments=arguments,
        )

    return stage


def carries_credential(text: bytes, inbound: Inbound) -> bool:
    """Whether a text holds the token of the request, or the signature that makes it one."""
    token = (inbound.headers.get("authorization") or "").rpartition(" ")[2].encode()
    secret = token.rpartition(b".")[2]
    return len(secret) >= SECRET_LEAST and secret in text


def redact_response(call: Redacted, answer: UpstreamAnswer) -> Reply:
    """The reply in the client's shape. Raises `Fault` where the result may not or cannot be passed on."""
    routed = call.allowed.admitted.routed
    identified = routed.identified
    client = identified.client
    request_id = identified.id
    if answer.error is not None:
        upstream_modern = answer.era in eras.MODERN
        error = results.map_error(answer.error, client_modern=client.modern, upstream_modern=upstream_modern)
        body = jsonrpc.error(request_id, error["code"], error["message"], error.get("data"))
        return _bounded(call, Reply(body=body, is_error=True, upstream_bytes=answer.size))
    result = answer.result
    if result is None or request_id is None:
        raise UpstreamFault.protocol("neither result nor error")
    if result.get("resultType", "complete") != "complete":
        raise UpstreamFault.protocol(f"result of type {result['resultType']!r}, which was not asked for")
    result = results.without_ours(result)
    shaped = (
        results.to_modern(result, server_info=server_info(identified), cacheable=False)
        if client.modern
        else results.to_legacy(result, client.version)
    )
    is_error = shaped.get("isError") is True
    body = jsonrpc.result(request_id, shaped)
    return _bounded(call, Reply(body=body, is_error=is_error, upstream_bytes=answer.size))


def _bounded(call: Redacted, reply: Reply) -> Reply:
    """The reply, if it is no larger than policy and the gateway allow: an error carries data as well."""
    demanded = call.allowed.decision.obligations.max_result_bytes
    limit = MAX_RESULT if demanded is None else min(demanded, MAX_RESULT)
    if len(reply.body) > limit:
        raise Fault(
            Stage.REDACT, 50001, "obligation_failed",
            f"The result is larger than the {limit} bytes that may be passed on.", effect=Effect.POSSIBLE,
        )  # fmt: skip
    return reply
