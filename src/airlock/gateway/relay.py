"""What a legacy server asks while a call runs, asked of the legacy client of that call.

1 it is a request that the client said it can answer
2 policy lets this server ask it, and nothing stands in it that may not
3 the client answers, or does not
4 nothing leaves in the answer that may not leave

A server that may not ask gets an error, and its call goes on: what it does without an answer is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from airlock.core.errors import Refused, UpstreamFault
from airlock.gateway.questions import ACTIONS, INTERNAL, METHOD_NOT_FOUND, Questions, Record
from airlock.mcp import rounds
from airlock.mcp.rounds import Requests
from airlock.model.call import Allowed, Findings, Redacted
from airlock.model.upstream import Answered, Ask

INVALID_PARAMS = -32602


class Relay:
    """Makes the `Ask` of a call."""

    def __init__(
        self,
        *,
        questions: Questions,
        asked: Callable[[Redacted, Requests], Requests],
        answers: Callable[[Allowed, dict[str, Any], Findings], dict[str, Any]],
        record: Record,
    ) -> None:
        """`asked` gives a request as the client may hear it, `answers` an answer as the server may; both
        raise `Refused`."""
        self._questions = questions
        self._asked = asked
        self._answers = answers
        self._record = record

    def __call__(self, call: Redacted) -> Ask | None:
        """None where this client can be asked nothing."""
        stream = call.allowed.admitted.routed.identified.caller.inbound.stream
        able = stream is not None and stream.hears and call.request.client_capabilities
        return partial(self._ask, call) if able else None

    async def _ask(self, call: Redacted, method: str, params: dict[str, Any]) -> Answered:
        request, kind = {"method": method, "params": params}, rounds.KINDS.get(method, "")
        wrong = _wrong(request, call.request.client_capabilities)  # 1
        if wrong is not None:
            return await self._denied(call, kind, wrong)
        try:
            asked = self._asked(call, {"": request})[""]  # 2
            answered = await self._questions.put(call, method, asked.get("params", {}))  # 3
            if answered.result is None:
                return answered
            return Answered(result=self._answers(call.allowed, answered.result, call.found))  # 4
        except TimeoutError:
            return _unanswered(kind)
        except (Refused, UpstreamFault) as failure:
            refused = Answered(error={"code": INTERNAL, "message": "Refused by the gateway."})
            return await self._denied(call, kind, refused, failure.reason)

    async def _denied(
        self, call: Redacted, kind: str, answer: Answered, reason: str = "server_request_denied"
    ) -> Answered:
        action = ACTIONS.get(kind, "security_violation")
        await self._record.asked(call, action, reason, {"denied": True})
        return answer


def _wrong(request: dict[str, Any], capabilities: dict[str, Any]) -> Answered | None:
    """What a server hears of a request that its client did not say it can answer."""
    if request["method"] not in rounds.KINDS:
        return Answered(error={"code": METHOD_NOT_FOUND, "message": "Method not found"})
    if rounds.request_defect(request):
        return Answered(error={"code": INVALID_PARAMS, "message": "Invalid params"})
    if rounds.undeclared({"": request}, capabilities):
        return Answered(error={"code": METHOD_NOT_FOUND, "message": "The client did not declare this."})
    return None


def _unanswered(kind: str) -> Answered:
    if kind == "elicitation":
        return Answered(result={"action": "cancel"})
    return Answered(error={"code": INTERNAL, "message": "The client did not answer in time."})
