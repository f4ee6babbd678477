"""`airlock redaction verify --tool`: canaries through a running gateway, to a server and back.

The gateway looks for two kinds only, so that a command that expects more shows what a miss looks like.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.redaction.detectors import NAMES
from tests.system.deployment import Deployment
from tests.system.recorder import Recorder

ON = ["email", "aws_key"]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder: Path = tmp_path_factory.mktemp("canaries")
    with Recorder() as upstream:
        servers = [
            {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
        ]
        with Deployment(folder, servers, redaction={"detectors": ON}) as deployment:
            yield deployment


def verify(gateway: Deployment, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code, and the result for each detector that was tried through the gateway."""
    token = gateway.token("canary")
    done = gateway.airlock(
        "redaction", "verify", "--tool", "low__echo", "--json", *arguments, AIRLOCK_TOKEN=token
    )
    trials: list[dict[str, Any]] = json.loads(done.stdout)["trials"] if done.stdout else []
    return done.returncode, {t["detector"]: t["result"] for t in trials if t["way"] == "gateway"}


def test_what_the_gateway_looks_for_does_not_come_back(gateway: Deployment) -> None:
    code, results = verify(gateway, "--config", str(gateway.config))
    assert results == dict.fromkeys(ON, "redacted")
    assert code == 0


def test_what_it_does_not_look_for_comes_back_and_is_named(gateway: Deployment) -> None:
    expecting = gateway.folder / "expecting.yaml"
    expecting.write_text(yaml.safe_dump({**gateway.sections, "redaction": {"detectors": list(NAMES)}}))
    code, results = verify(gateway, "--config", str(expecting))
    assert results == {name: "redacted" if name in ON else "missed" for name in NAMES}
    assert code == 1


def test_a_tool_that_is_not_there_decides_nothing(gateway: Deployment) -> None:
    code, results = verify(gateway, "--config", str(gateway.config), "--tool", "low__nothing")
    assert (code, results) == (3, dict.fromkeys(ON, "undecided"))


def test_stats_tell_what_verify_caused(gateway: Deployment) -> None:
    verify(gateway, "--config", str(gateway.config))
    done = gateway.airlock("redaction", "stats", "--config", str(gateway.config), "--json")
    assert done.returncode == 0, done.stderr
    counted = {(row["detector"], row["tool"]) for row in json.loads(done.stdout)["redactions"]}
    assert {(name, "echo") for name in ON} <= counted
