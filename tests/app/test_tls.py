"""The certificates of the edge are followed: what changed is taken over and said, what is not fit is said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from airlock.app import tls
from airlock.app.tls import follow_certificates
from airlock.core import log
from airlock.core.config import EdgeTls
from tests.certificates import Authority
from tests.gateway.parts import until


def test_without_tls_there_is_nothing_to_follow() -> None:
    assert follow_certificates(None, log.get("gateway")) is None


@pytest.mark.parametrize("told", [False, True])
def test_what_changed_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    monkeypatch.setattr(tls, "LOOK", 60.0 if told else 0.01)
    authority = Authority(tmp_path)
    cert_file, key_file = authority.vouch("gate")

    async def scenario() -> list[str]:
        found = follow_certificates(
            EdgeTls(cert_file=str(cert_file), key_file=str(key_file)), log.get("gateway")
        )
        assert found is not None
        first = found.renewed.context
        with capture_logs() as lines:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(found.follow())
                await asyncio.sleep(0)
                authority.vouch("gate")
                if told:
                    found.look_now()
                await until(lambda: found.renewed.context is not first)
                key_file.write_text("not a key")
                if told:
                    found.look_now()
                await until(lambda: any(line["result"] == "refused" for line in lines))
                task.cancel()
        return [line["event"] for line in lines]

    assert set(asyncio.run(scenario())) == {"tls_reload"}
