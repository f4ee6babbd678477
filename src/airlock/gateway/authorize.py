"""Stage 4: policy decides. Whatever is not a clear yes is a no.

What policy hides from a caller's lists must not exist for that caller either: a refusal of a hidden tool
is answered like an unknown one (`conceal`), while its record keeps the true reason.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from airlock.core.clock import Clock
from airlock.core.errors import Fault, Refused, Stage
from airlock.gateway.resolve import unknown_tool
from airlock.model.call import Admitted, Allowed, Identified, Reached, Routed
from airlock.model.decision import Decision
from airlock.model.server import Tool
from airlock.policy import input as questions


class Engine(Protocol):
    """Answers one encoded question. Raises `PolicyFault` where it cannot decide. Not thread-safe: one per
    thread."""

    @property
    def revision(self) -> str: ...

    def decide(self, question: bytes) -> Decision: ...


class Authorize:
    """Asks the engine. The engine is replaced, never changed, when a new revision becomes active."""

    def __init__(self, *, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self._clock = clock

    def __call__(self, admitted: Admitted) -> Allowed:
        routed = admitted.routed
        asked = self._question("call", routed.identified, routed.tool, routed.arguments)
        decision = self.engine.decide(asked)
        if decision.allow is not True:
            raise Refused(
                Stage.AUTHORIZE, 40301, "policy_denied",
                f"Policy does not allow this call to {routed.tool.name}.",
                policy_reason=decision.reason,
                scope=scope_of(routed.tool),
            )  # fmt: skip
        if decision.approval is not None:
            raise Refused(
                Stage.AUTHORIZE, 40303, "approval_required",
                f"This call to {routed.tool.name} needs an approval, which cannot be given here yet.",
                policy_reason=decision.reason,
                scope=scope_of(routed.tool),
            )  # fmt: skip
        return Allowed(admitted=admitted, decision=decision, question=asked)

    def visible(self, identified: Identified, tool: Tool) -> bool:
        """Whether the caller may know of the tool. Raises `PolicyFault` where policy cannot say."""
        return self.engine.decide(self._question("list", identified, tool, {})).allow is True

    def conceal(self, reached: Reached, failure: Refused | Fault) -> None:
        """Raise the answer for an unknown tool where policy hides the refused one from this caller."""
        routed = (
            reached
            if isinstance(reached, Routed)
            else reached.routed
            if isinstance(reached, Admitted)
            else None
        )
        if routed is None or not isinstance(failure, Refused):
            return
        if not self.visible(routed.identified, routed.tool):
            raise unknown_tool(routed.identified.message.params["name"]) from failure

    def _question(
        self, phase: Literal["list", "call"], identified: Identified, tool: Tool, arguments: dict[str, Any]
    ) -> bytes:
        caller = identified.caller
        return questions.encode(
            questions.build(
                phase=phase,
                action="tools/call",
                principal=caller.principal,
                target=questions.tool_target(tool),
                arguments=arguments,
                source_ip=caller.inbound.source_ip,
                era=identified.client.version,
                route=caller.inbound.route,
                now=self._clock.wall(),
            )
        )


def scope_of(tool: Tool) -> dict[str, str]:
    """The scope object of a refusal that concerns one tool."""
    return {"kind": "tool", "server": tool.server, "name": tool.name}
