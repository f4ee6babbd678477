"""Stage 3: may this be called at all, whoever asks?

Containment leases, quarantine, rate limits and quotas join here. Today: the definition must be the
approved one, and the arguments must fit it. They are checked by code that cannot run long (linear-time
patterns, no remote references).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jsonschema_rs
import msgspec

from airlock.core.errors import Refused, Stage
from airlock.gateway.catalog import compile_schema
from airlock.gateway.observe import Observed, never, would_deny
from airlock.gateway.told import Masked, nothing
from airlock.mcp import eras, work
from airlock.mcp.arguments import ArgumentKeys, Given, check_argument_case, compile_argument_keys
from airlock.mcp.strict import MAX_DEPTH, is_array, is_object
from airlock.model.call import Admitted, Routed
from airlock.model.server import Item

MAX_COMPILED = 4096
"""Compiled argument checks kept; the least recently used goes first."""

MAX_PROBLEM = 300
"""Characters of a validation message: it quotes the caller's own arguments, which may be long."""


class ArgumentChecks(msgspec.Struct, frozen=True):
    """What is compiled once per tool definition."""

    levels: int
    keys: ArgumentKeys
    validator: jsonschema_rs.Validator
    given: Given


class Admit:
    """Holds compiled checks by definition digest; everything else comes with the call."""

    def __init__(
        self,
        checks: tuple[Callable[[Routed], None], ...] = (),
        *,
        observed: Observed = never,
        masked: Masked = nothing,
    ) -> None:
        """`checks` come first and raise `Refused`: containment of the tool, its budget. What is `masked` is
        not listed as mirrored into a header, so that header may be missing."""
        self._masked = masked
        self._before = checks
        self._observed = observed
        self._checks: OrderedDict[str, ArgumentChecks] = OrderedDict()

    def __len__(self) -> int:
        return len(self._checks)

    def __call__(self, routed: Routed) -> Admitted:
        for check in self._before:
            check(routed)
        would_deny = self._definition(routed)
        if routed.item.kind == "tool":
            routed = self._tool(routed)
        elif routed.item.kind == "prompt" and routed.identified.message.method == "prompts/get":
            check_argument_case(routed.arguments, _declared(routed.item))
        return Admitted(routed=routed, would_deny=would_deny)

    def _tool(self, routed: Routed) -> Routed:
        """The call without nulls that count as absent. Raises `Refused` where the arguments are none of this
        tool."""
        checks = self._compiled(routed.item)
        if routed.item.param_headers and routed.identified.client.modern:
            headers = routed.identified.caller.inbound.headers
            eras.check_param_headers(
                routed.item.param_headers,
                routed.arguments,
                headers,
                lambda: self._masked(routed.identified, routed.item),
            )
        check_argument_case(routed.arguments, checks.keys)
        problem = too_deep(checks, routed.arguments)
        if not problem:
            if checks.validator.is_valid(routed.arguments):
                return routed
            given = checks.given(routed.arguments)
            if checks.validator.is_valid(given):
                return msgspec.structs.replace(routed, arguments=given)
            problem = first_problem(checks, given)
        raise Refused(
            Stage.ADMIT, 40301, "policy_denied",
            f"The arguments do not fit the tool's input schema: {problem}",
            policy_reason="arguments_invalid",
        )  # fmt: skip

    def _definition(self, routed: Routed) -> str:
        """Raise `Refused` where the definition may not be used; a pin may be observed, a defect never."""
        try:
            approved(routed.item)
        except Refused as refused:
            tenant = routed.identified.caller.principal.tenant
            if routed.item.defect or not self._observed(routed.server.entry, tenant):
                raise
            return would_deny(refused)
        return ""

    def _compiled(self, tool: Item) -> ArgumentChecks:
        checks = self._checks.get(tool.digest)
        if checks is not None:
            self._checks.move_to_end(tool.digest)
            return checks
        schema = tool.definition["inputSchema"]
        checks = ArgumentChecks(
            work.levels(schema), compile_argument_keys(schema), compile_schema(schema), Given(schema)
        )
        self._checks[tool.digest] = checks
        if len(self._checks) > MAX_COMPILED:
            self._checks.popitem(last=False)
        return checks


def _declared(prompt: Item) -> ArgumentKeys:
    """The arguments that a prompt names."""
    said = prompt.definition.get("arguments")
    named = [one.get("name") for one in said if is_object(one)] if is_array(said) else []
    return ArgumentKeys(name for name in named if isinstance(name, str))


def approved(item: Item) -> None:
    """Raise `Refused` 40901 where the definition is not the pinned one, or cannot be governed."""
    if item.pin != "pinned":
        text = f"The definition of {item.name} has changed and waits for approval by an operator."
    elif item.defect:
        text = f"{item.name} cannot be offered: {item.defect}."
    else:
        return
    raise Refused(
        Stage.ADMIT, 40901, "definition_not_approved", text,
        scope={"kind": "definition", "server": item.server, "name": item.name},
    )  # fmt: skip


def too_deep(checks: ArgumentChecks, arguments: dict[str, Any]) -> str:
    """Why arguments are not checked in bounded time; empty if they are."""
    if checks.levels < MAX_DEPTH and work.depth(arguments) > checks.levels:
        return f"this schema is checked to {checks.levels} levels of nesting, and the arguments have more"
    return ""


def first_problem(checks: ArgumentChecks, arguments: dict[str, Any]) -> str:
    """What is wrong first with arguments that do not fit, and where."""
    error = next(checks.validator.iter_errors(arguments))
    where = "/".join(str(part) for part in error.instance_path)
    return f"{where}: {error.message}"[:MAX_PROBLEM] if where else error.message[:MAX_PROBLEM]
