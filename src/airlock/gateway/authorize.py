"""Stage 4: policy decides. Whatever is not a clear yes is a no.

What policy hides from a caller's lists must not exist for that caller either: a refusal of a hidden tool
is answered like an unknown one (`conceal`), while its record keeps the true reason.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, Protocol

from msgspec import structs

from airlock.core.clock import Clock
from airlock.core.errors import Fault, PolicyFault, Refused, Stage
from airlock.gateway import echo
from airlock.gateway.observe import OBSERVED, Observed, never, would_deny
from airlock.gateway.resolve import unknown
from airlock.mcp import names
from airlock.mcp.names import Kind
from airlock.model.call import Admitted, Allowed, Authenticated, Cut, Identified, Reached, Routed
from airlock.model.decision import Decision
from airlock.model.grant import FAIL_OPEN, Grant
from airlock.model.server import Item
from airlock.policy import input as questions

USES: Mapping[Kind, str] = {
    "tool": "tools/call",
    "prompt": "prompts/get",
    "resource": "resources/read",
    "template": "resources/read",
}
"""The action of the question whether somebody may know of a thing: how it is used."""


_ANY: Mapping[Kind, Item] = {
    kind: Item(
        server="",
        name=f"{kind}:",
        kind=kind,
        alias="",
        definition={},
        digest="",
        sensitivity="low",
        read_only=True,
    )
    for kind in names.KINDS
}
"""Stand for all items of a kind in a question of which only the caller's part counts."""


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
        method, uri = routed.identified.message.method, routed.uri
        asked = self._question(
            "call", routed.identified, routed.item, routed.arguments, action=method, uri=uri
        )
        try:
            decision = self.engine.decide(asked)
        except PolicyFault as failed:
            return self._failed_open(admitted, asked, failed)
        refused = refusal(decision, routed.item)
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

    def visible(self, identified: Identified, item: Item) -> bool:
        """Whether the caller may know of what a server offers. Raises `PolicyFault` where policy cannot
        say."""
        caller = identified.caller
        server = caller.snapshot.registry.servers.get(item.server)
        if server is not None and self._observed(server.entry, caller.principal.tenant):
            return True
        try:
            return self.engine.decide(self.listed(identified, item)).allow is True
        except PolicyFault:
            if self._grant(caller, item) is None:
                raise
            return True

    def masked(self, identified: Identified, item: Item) -> frozenset[str]:
        """Names of the arguments of a tool that policy keeps out of records, where the caller knows of it;
        where policy cannot say, of all that are mirrored into headers."""
        try:
            return frozenset(self.engine.decide(self.listed(identified, item)).obligations.mask_arguments)
        except PolicyFault:
            return frozenset(name for path, _ in item.param_headers for name in path)

    def standing(self, identified: Identified, kind: Kind) -> Hashable | None:
        """What decides which items of a kind a caller sees, beside the items and the leases: the policy, what
        it can read of the caller, and what is only observed. None where nobody can say."""
        engine, caller = self.engine, identified.caller
        if engine.facts is None or engine.trouble():
            return None
        registry, tenant = caller.snapshot.registry.servers, caller.principal.tenant
        observed = tuple(name for name, server in registry.items() if self._observed(server.entry, tenant))
        synthetic = caller.principal.subject == echo.SYNTHETIC
        return engine.revision, engine.facts(self.listed(identified, _ANY[kind])), observed, synthetic

    def listed(self, identified: Identified, item: Item) -> bytes:
        """The question whether the caller may know of this, as `visible` asks it."""
        uri = item.own if item.kind in ("resource", "template") else ""
        return self._question("list", identified, item, {}, action=USES[item.kind], uri=uri)

    def may_ask(self, routed: Routed, action: str, params: dict[str, Any] | None) -> bool:
        """Whether the server of a call may make this request of its client; without params, whether it may
        make one of this kind at all. What policy cannot say is no."""
        phase = "list" if params is None else "call"
        try:
            asked = self._question(phase, routed.identified, routed.item, params or {}, action=action)
            decision = self.engine.decide(asked)
        except PolicyFault:
            return False
        if self._observed(routed.server.entry, routed.identified.caller.principal.tenant):
            return True
        return decision.allow is True and decision.approval is None

    def _failed_open(self, admitted: Admitted, asked: bytes, failed: PolicyFault) -> Allowed:
        """The call by a grant that two people gave; else what failed, which denies. All of the question is
        kept: policy is asked again once it answers."""
        item, caller = admitted.routed.item, admitted.routed.identified.caller
        grant = self._grant(caller, item)
        if grant is None:
            raise failed
        decision = Decision(
            allow=True, reason=FAIL_OPEN, rule="", approval=None, revision=self.engine.revision
        )
        return Allowed(admitted=admitted, decision=decision, question=asked, grant=grant.id)

    def _grant(self, caller: Authenticated, item: Item) -> Grant | None:
        """The grant in force for this, where the engine is what fails, and not one question."""
        grant = caller.snapshot.grants.covers(item, self._clock.wall())
        return grant if grant is not None and not self._lapsed() and self.engine.trouble() else None

    def conceal(self, reached: Reached, failure: Refused | Fault) -> None:
        """Raise the answer for an unknown name where policy hides what was refused from this caller."""
        routed = (
            reached
            if isinstance(reached, Routed)
            else reached.routed
            if isinstance(reached, Admitted)
            else None
        )
        if routed is None or not isinstance(failure, Refused):
            return
        if not self.visible(routed.identified, routed.item):
            raise unknown(routed.identified) from failure

    def _question(
        self,
        phase: Literal["list", "call"],
        identified: Identified,
        item: Item,
        arguments: dict[str, Any],
        *,
        action: str,
        uri: str = "",
    ) -> bytes:
        caller = identified.caller
        return questions.encode(
            questions.build(
                phase=phase,
                action=action,
                principal=caller.principal,
                target=questions.target_of(item, uri),
                arguments=arguments,
                source_ip=caller.inbound.source_ip,
                era=identified.client.version,
                route=caller.inbound.route,
                now=self._clock.wall(),
            )
        )


def refusal(decision: Decision, item: Item) -> Refused | None:
    """What a decision says to a call that it does not let through; None for a clear yes."""
    if decision.allow is not True:
        code, reason = 40301, "policy_denied"
        text = f"Policy does not allow this call to {item.name}."
    elif decision.approval is not None:
        code, reason = 40303, "approval_required"
        text = f"This call to {item.name} needs the approval of somebody else, which cannot be given here."
    else:
        return None
    return Refused(Stage.AUTHORIZE, code, reason, text, policy_reason=decision.reason, scope=item.scope)
