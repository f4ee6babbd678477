"""Going back to a policy that decided before: in every worker, over a restart, until other files come."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.deployment import Answer, Deployment, until
from tests.system.recorder import Recorder

POLICY = """package airlock

import rego.v1

decision := {{"allow": true, "reason": "ok", "rule": "test"}} if {{
	input.target.name in {tools}
}} else := {{"allow": false, "reason": "no", "rule": "test"}}
"""
CLOSED = POLICY.format(tools='{"echo"}')
OPEN = POLICY.format(tools='{"echo", "fail"}')
OTHER = POLICY.format(tools='{"echo", "progress"}')
TAKEN = (200, 207)
"""Of a reload; with the second not every worker said so in time."""
BROKEN = "package airlock\n@ this is no Rego @\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("rollback")
    (folder / "policy").mkdir()
    (folder / "policy" / "main.rego").write_text(CLOSED)
    with Recorder() as upstream:
        one = {"name": "one", "transport": "http", "url": upstream.url, "sensitivity": "low"}
        with Deployment(folder, [one], policy={"path": "policy"}) as running:
            yield running


class Desk:
    """What people do at the gateway."""

    def __init__(self, gateway: Deployment) -> None:
        self.gateway = gateway
        self.file: Path = gateway.folder / "policy" / "main.rego"
        self.alice = gateway.token("alice")

    def ask(self, path: str, body: dict[str, Any] | None = None, *, who: str = "root") -> Answer:
        token = self.gateway.token(who, roles=["admin"], signed_in=True)
        if body is not None:
            return self.gateway.post(body, token, path=path)
        return self.gateway.get(path, {"Authorization": f"Bearer {token}"})

    def load(self, text: str) -> Answer:
        self.file.write_text(text)
        answer = self.ask("/admin/policy/reload", {})
        self.status()
        return answer

    def passes(self, tool: str) -> bool:
        """Whether a call of this tool reaches the server, on each of a few connections."""
        answers = [self.gateway.call(f"one__{tool}", {"text": "a"}, self.alice).json for _ in range(4)]
        found = {"result" in answer for answer in answers}
        assert len(found) == 1, answers
        return found.pop()

    def status(self) -> dict[str, Any]:
        """Once both workers say that they decide by what is wanted."""

        def settled() -> dict[str, Any] | None:
            answer: dict[str, Any] = self.ask("/admin/policy/status").json
            active = [each and each["active_sha256"] for each in answer["replicas"]]
            return answer if active == [answer["desired_sha256"]] * 2 else None

        return until(settled, what="one policy in both workers")

    def changes(self) -> list[dict[str, Any]]:
        return self.ask("/api/v1/policy/revisions?since=1h").json["changes"]


def test_the_way_back(gateway: Deployment) -> None:
    desk, olga = Desk(gateway), gateway.token("olga", roles=["admin"])
    assert desk.passes("echo") and not desk.passes("fail")
    assert desk.load(OPEN).status in TAKEN
    assert desk.passes("fail")
    bad = desk.status()["desired_sha256"]

    told = gateway.airlock(
        *("policy", "rollback", "--to", "previous", "--reason", "too much passes", "--json"),
        *("--config", str(gateway.config), "--token", olga),
    )
    assert told.returncode in (0, 3), told
    done = json.loads(told.stdout)
    assert (done["proposal"]["needs"], done["from"]) == ("C", bad)
    assert (done["replicas_total"], desk.status()["desired_sha256"]) == (2, done["to"])
    assert desk.passes("echo") and not desk.passes("fail")
    assert desk.file.read_text() == OPEN
    (row,) = gateway.recorded("action = 'policy_rollback'")
    assert (row["policy_revision"], json.loads(row["metadata"])["from"]) == (done["to"], bad)

    assert desk.load(OPEN).status in TAKEN
    assert not desk.passes("fail")
    gateway.stop()
    gateway.start()
    rolled = desk.status()["rolled_back"]
    assert (rolled["from"], rolled["to"], rolled["reason"]) == (bad, done["to"], "too much passes")
    assert rolled["by"].endswith("|olga")
    assert not desk.passes("fail")
    shown = gateway.airlock("status", "--revisions", "--config", str(gateway.config), "--token", olga)
    assert "too much passes" in shown.stdout, shown

    first, last, start = desk.changes()
    assert (first["kind"], first["revision"], first["undone"]) == ("reload", bad, True)
    assert first["by"].endswith("|root") and '+\tinput.target.name in {"echo", "fail"}' in first["diff"]
    assert first["judged"]["opened"] >= 4 and first["judged"]["untold"] == 0
    assert (last["kind"], last["judged"]["closed"]) == ("rollback", first["judged"]["opened"])
    assert (start["kind"], start["by"], start["judged"]) == ("start", "start", None)

    wanted = desk.ask("/api/v1/policy/rollback", {"to": bad[:8], "reason": "it was right after all"})
    assert wanted.status == 202, wanted
    proposal = wanted.json["proposal"]
    assert proposal["needs"] == "D" and proposal["prediction"]["opened"] >= 4
    agree, seen = f"/api/v1/proposals/{proposal['id']}/approve", {"digest": proposal["digest"]}
    assert desk.ask(agree, seen, who="ann").status == 202
    assert not desk.passes("fail")
    agreed = desk.ask(agree, seen, who="bo")
    assert (agreed.json["to"], desk.status()["desired_sha256"]) == (bad, bad), agreed
    assert desk.passes("fail")

    refused = desk.load(BROKEN)
    assert (refused.status, refused.json["code"]) == (409, "reload_refused")
    assert desk.changes()[0]["kind"] == "refused"
    assert desk.passes("fail")
    assert desk.load(OTHER).status in TAKEN
    assert desk.status()["rolled_back"] is None
    assert not desk.passes("fail") and desk.passes("progress")
