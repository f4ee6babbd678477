"""Stage 4: policy decides. Whatever is not a clear yes is a no.

What policy hides from a caller's lists must not exist for that caller either: a refusal of a hidden tool
is answered like an unknown one (`conceal`), while its record keeps the true reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from msgspec import structs

from airlock.core.clock import Clock
from airlock.core.errors import Fault, PolicyFault, Refused, Stage
from airlock.gateway.observe import OBSERVED, Observed, never, would_deny
from airlock.gateway.resolve import unknown_tool
from airlock.model.call import Admitted, Allowed, Authenticated, Cut, Identified, Reached, Routed
from airlock.model.decision import Decision
from airlock.model.grant import FAIL_OPEN, Grant
from airlock.model.server import Tool
from airlock.policy import input as questions


class Engine(Protocol):
    """Answers one encoded question. Raises `PolicyFault` where it cannot decide. Not thread-safe: one per
    thread."""

    @property
    def revision(self) -> str: ...

    @property
    def facts(self) -> Cut | None:
        """Cuts a question to what can be read of it; None where that is not proved."""
        ...

    def decide(self, question: bytes) -> Decision: ...

    def trouble(self) -> str:
        """Why it can answer nothing at all; empty where it can."""
        ...


class Authorize:
    """Asks the engine. The engine is replaced, never changed, when a new revision becomes active."""

    def __init__(
        self,
        *,
        engine: Engine,
        clock: Clock,
        observed: Observed = never,
        lapsed: Callable[[], bool] = lambda: False,
    ) -> None:
        """`lapsed` says whether a grant may have ended without this worker's knowing."""
        self._lapsed = lapsed
        self.engine = engine
        self._clock = clock
        self._observed = observed

    def __call__(self, admitted: Admitted) -> Allowed:
        routed = admitted.routed
        asked = self._question("call", routed.identified, routed.tool, routed.arguments)
        try:
            decision = self.engine.decide(asked)
        except PolicyFault as failed:
            return self._failed_open(admitted, asked, failed)
        refused = refusal(decision, routed.tool)
        would = admitted.would_deny
        observed = self._observed(routed.server.entry, routed.identified.caller.principal.tenant)
        if refused is not None:
            if not observed:
                refused.judged = Allowed(
                    admitted=admitted, decision=decision, question=asked, facts=self.engine.facts
                )
                raise refused
            # What an answer obliges to still holds: it can only tighten.
            decision = structs.replace(decision, allow=True, approval=None, reason=OBSERVED)
            would = would or would_deny(refused)
        # What is observed is kept whole: a policy that is not written yet may want to know all of it.
        facts = None if observed else self.engine.facts
        return Allowed(admitted=admitted, decision=decision, question=asked, facts=facts, would_deny=would)

    def visible(self, identified: Identified, tool: Tool) -> bool:
        """Whether the caller may know of the tool. Raises `PolicyFault` where policy cannot say."""
        caller = identified.caller
        server = caller.snapshot.registry.servers.get(tool.server)
        if server is not None and self._observed(server.entry, caller.principal.tenant):
            return True
        try:
            return self.engine.decide(self._question("list", identified, tool, {})).allow is True
        except PolicyFault:
            if self._grant(caller, tool) is None:
                raise
            return True

    def _failed_open(self, admitted: Admitted, asked: bytes, failed: PolicyFault) -> Allowed:
        """The call by a grant that two people gave; else what failed, which denies. All of the question is
        kept: policy is asked again once it answers."""
        tool, caller = admitted.routed.tool, admitted.routed.identified.caller
        grant = self._grant(caller, tool)
        if grant is None:
            raise failed
        decision = Decision(
            allow=True, reason=FAIL_OPEN, rule="", approval=None, revision=self.engine.revision
        )
        return Allowed(admitted=admitted, decision=decision, question=asked, grant=grant.id)

    def _grant(self, caller: Authenticated, tool: Tool) -> Grant | None:
        """The grant in force for this tool, where the engine is what fails, and not one question."""
        grant = caller.snapshot.grants.covers(tool, self._clock.wall())
        return grant if grant is not None and not self._lapsed() and self.engine.trouble() else None

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


def refusal(decision: Decision, tool: Tool) -> Refused | None:
    """What a decision says to a call that it does not let through; None for a clear yes."""
    if decision.allow is not True:
        code, reason = 40301, "policy_denied"
        text = f"Policy does not allow this call to {tool.name}."
    elif decision.approval is not None:
        code, reason = 40303, "approval_required"
        text = f"This call to {tool.name} needs an approval, which cannot be given here yet."
    else:
        return None
    return Refused(Stage.AUTHORIZE, code, reason, text, policy_reason=decision.reason, scope=scope_of(tool))


def scope_of(tool: Tool) -> dict[str, str]:
    """The scope object of a refusal that concerns one tool."""
    return {"kind": "tool", "server": tool.server, "name": tool.name}
