"""A reload that is asked for: what came of it is the answer."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from airlock.api.policy import World
from airlock.api.reload import ReloadApi
from airlock.model.reload import Report
from tests.api.doors import ask, door, request, told
from tests.gateway.parts import principal

ASKED = request("POST", "/admin/policy/reload")


def answered(report: dict[str, Any] | None) -> tuple[int, Any]:
    async def reload(by: str) -> Report:
        assert by == "https://issuer.example|alice"
        if report is None:
            raise TimeoutError
        return msgspec.convert({"asked_by": "api", "at": "2026-01-01T00:00:00Z", **report}, Report)

    world = World()
    world.desired = "b" * 64
    return told(ask(ReloadApi(reload=reload, world=world).reload, ASKED))


@pytest.mark.parametrize(("acked", "status"), [(2, 200), (1, 207)])
def test_what_was_accepted_says_who_took_it_over(acked: int, status: int) -> None:
    report = {"result": "accepted", "changed": ["policy"], "sections": ["policy"]}
    assert answered({**report, "acked": acked, "total": 2}) == (
        status,
        {
            **report,
            "desired_sha256": "b" * 64,
            "replicas_acked": acked,
            "replicas_total": 2,
        },
    )


def test_what_was_refused_is_a_conflict() -> None:
    problems = [{"where": "a.rego:7:1", "what": "syntax"}]
    assert answered({"result": "refused", "problems": problems}) == (409, "reload_refused")


def test_silence_is_no_answer() -> None:
    assert answered(None) == (503, "control_unavailable")


def test_nobody_else_reloads() -> None:
    async def reload(by: str) -> Report:
        raise AssertionError("asked")

    api = ReloadApi(reload=reload, world=World())
    assert told(ask(api.reload, ASKED, door(principal()))) == (403, "admin_role_required")
