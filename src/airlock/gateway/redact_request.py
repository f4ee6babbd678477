"""Stage 5: what policy obliges to take out of a call before it is sent, and what may not go to this server.

1 look for anything that a record may not hold; most calls hold nothing and are done
2 a secret that may go to certain servers goes to no other
3 take out what policy demands, and addresses that are not allowed; what is left must fit the tool's schema
4 the caller's own token never travels
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airlock.core.clock import Clock
from airlock.core.errors import Refused, Stage
from airlock.gateway.fit import Fit
from airlock.gateway.redact import Redactors, Rules, carries_credential, mask, question
from airlock.mcp import headers, strict
from airlock.model.call import Allowed, Findings, Redacted, Routed
from airlock.model.upstream import UpstreamRequest


class RedactRequest:
    """The stage. `progress` makes gateway-unique progress tokens."""

    def __init__(self, *, redactors: Redactors, fit: Fit, clock: Clock, progress: Callable[[], str]) -> None:
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
            _keep_home(rules, routed)  # 2
        if recorded is not arguments or not rules.covers(obligations.redact):
            arguments = self._less(rules, obligations.redact, routed, found)  # 3
            recorded = rules.record(arguments)
        if obligations.mask_arguments:
            recorded = mask(recorded, frozenset(obligations.mask_arguments))
        canonical = strict.canonical(arguments)
        if carries_credential(canonical, routed.identified.caller.inbound):  # 4
            raise Refused(
                Stage.REDACT, 40301, "policy_denied",
                "The arguments hold the caller's own access token, which never travels to a server.",
                policy_reason="credential_in_arguments",
            )  # fmt: skip
        return Redacted(
            allowed=allowed,
            request=self._request(routed, arguments),
            arguments=canonical if recorded is arguments else strict.canonical(recorded),
            question=question(allowed, recorded),
            found=found,
        )

    def _less(
        self, rules: Rules, demanded: tuple[str, ...], routed: Routed, found: Findings
    ) -> dict[str, Any]:
        """The arguments as they may be sent. Raises `Refused` where what is left is no call of this tool."""
        redactor = rules.request(demanded)
        if redactor is None:
            return routed.arguments
        less, counts = redactor.value(routed.arguments, found.hosts)
        if counts and not self._fit(routed.tool, "inputSchema", less):
            raise Refused(
                Stage.REDACT, 50001, "obligation_failed",
                "What may not be sent cannot be taken out of these arguments: what is left does not fit the "
                "tool's input schema.",
            )  # fmt: skip
        found.add(counts)
        return less

    def _request(self, routed: Routed, arguments: dict[str, Any]) -> UpstreamRequest:
        params: dict[str, Any] = {"name": routed.tool.name, "arguments": arguments}
        meta = routed.identified.message.params.get("_meta")
        if isinstance(meta, dict) and "progressToken" in meta:
            params["_meta"] = {"progressToken": self._progress()}
        return UpstreamRequest(
            method="tools/call",
            params=params,
            name=routed.tool.name,
            param_headers=headers.render_param_headers(routed.tool.param_headers, arguments),
            principal_key=routed.identified.caller.principal.key,
            deadline=self._clock.monotonic() + routed.server.entry.timeout,
        )


def _keep_home(rules: Rules, routed: Routed) -> None:
    """Raise `Refused` for a secret that may go to some servers, and this is none of them.

    It is looked for by itself: where two detectors know a stretch, a finding names only one of them.
    """
    astray = rules.astray(routed.tool.server)
    if astray is None:
        return
    counts = astray.value(routed.arguments)[1]
    if counts:
        kinds = ", ".join(sorted(counts))
        raise Refused(
            Stage.REDACT, 40301, "secret_to_wrong_destination",
            f"The arguments hold what may not be sent to {routed.tool.server}: {kinds}.",
            policy_reason="secret_to_wrong_destination",
            scope={"kind": "tool", "server": routed.tool.server, "name": routed.tool.name},
        )  # fmt: skip
