"""The error by which a legacy server (2025-11-25) sends a person to an address first, as its client hears it.

A modern client is asked, as by a modern server, and calls again. A client of that version gets the error. An
older one knows no such error: it gets the address as the text of a tool error.
"""

from __future__ import annotations

from typing import Any

from airlock.core.errors import Rejected, Stage
from airlock.mcp import eras, results, rounds
from airlock.mcp.rounds import Requests
from airlock.mcp.strict import is_array, is_object
from airlock.model.call import Redacted
from airlock.model.upstream import UpstreamAnswer


def told(call: Redacted, answer: UpstreamAnswer) -> UpstreamAnswer:
    """The answer of a server, as far as it sends somebody somewhere, in the client's way. Raises `Rejected`
    -32021 for a modern client that cannot be asked this."""
    if answer.error is None or answer.error["code"] != results.URL_ELICITATION or answer.era in eras.MODERN:
        return answer
    requests, client = _requests(answer.error), call.allowed.admitted.routed.identified.client
    if not requests or client.version == eras.LATEST_LEGACY:
        return answer
    if client.modern and call.request.method in rounds.CARRIERS:
        missing = rounds.undeclared(requests, call.request.client_capabilities)
        if missing:
            raise lacking(missing)
        asked = {"resultType": rounds.INPUT_REQUIRED, "inputRequests": requests}
        return UpstreamAnswer(result=asked, size=answer.size, era=eras.MODERN[0])
    if client.modern or call.request.method != "tools/call":
        return answer
    lines = [f"{request['params']['message']} {request['params']['url']}" for request in requests.values()]
    content = [{"type": "text", "text": "\n".join(lines)}]
    return UpstreamAnswer(result={"content": content, "isError": True}, size=answer.size, era=answer.era)


def lacking(missing: dict[str, Any]) -> Rejected:
    """The refusal of a call for which its client would have to be able to do more: `missing` capabilities."""
    text = f"This needs a client that can do more: {', '.join(missing)}."
    data: dict[str, object] = {"requiredCapabilities": missing}
    return Rejected(
        400, results.CAPABILITY_MISSING, "capability_missing", text, data=data, stage=Stage.FORWARD
    )


def _requests(error: dict[str, Any]) -> Requests:
    """What a modern server would ask in place of the error; nothing where it says nothing usable."""
    data: Any = error.get("data")
    asked: Any = data.get("elicitations") if is_object(data) else None
    if not is_array(asked) or len(asked) > rounds.MOST_REQUESTS:
        return {}
    requests: Requests = {}
    for number, params in enumerate(asked, start=1):
        less = (
            {key: value for key, value in params.items() if key != "elicitationId"}
            if is_object(params)
            else 0
        )
        request: dict[str, Any] = {"method": rounds.ELICITATION, "params": less}
        if rounds.request_defect(request) or request["params"].get("mode") != "url":
            return {}
        requests[f"url_{number}"] = request
    return requests
