"""Evidence of a gateway that runs, and of one that does not: whole, verified elsewhere, without a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from airlock.redaction.canary import canary
from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

INCIDENT = "INC-20261122-180000"


def secrets() -> dict[str, str]:
    random = Random(20261122)  # noqa: S311 (nobody's secrets)
    return {name: canary(name, random).secret for name in ("aws_key", "github_token", "slack_token", "jwt")}


def found(bag: Path, seeded: list[str]) -> list[str]:
    """Files of a bundle in which one of the seeded texts stands."""
    files = [path for path in bag.rglob("*") if path.is_file()]
    return [
        str(path)
        for path in files
        if any(text.encode() in content for content in [path.read_bytes()] for text in seeded)
    ]


def verified(bag: Path, key: str) -> tuple[int, str]:
    """What the program in the bag says of it, on an interpreter that knows nothing of the product."""
    command = [sys.executable, "-I", "-S", str(bag / "verify_bundle.py"), str(bag), "--key", key]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def collected(gateway: Deployment, *more: str) -> dict[str, Any]:
    done = gateway.airlock(
        "evidence", "collect", "--incident", INCIDENT, "--config", str(gateway.config), "--json", *more
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_evidence_of_a_gateway_that_runs_and_then_does_not(tmp_path: Path) -> None:
    seeded = [*secrets().values(), "canary-credential-0f3c"]
    (tmp_path / "credential").write_text("canary-credential-0f3c")
    with Recorder() as upstream:
        server = {
            "name": "docs",
            "transport": "http",
            "url": upstream.url,
            "credential": {"header": "X-Key", "file": str(tmp_path / "credential")},
        }
        with Deployment(tmp_path, [server], incident={"engine": True}) as gateway:
            for text in secrets().values():
                answer = gateway.call("docs__echo", {"text": f"key: {text}"}, gateway.token())
                assert text not in answer.text
            admin = {"Authorization": f"Bearer {gateway.token('operator', roles=['admin'])}"}

            # 1. Asked for over HTTP, made by the engine.
            path = f"/api/v1/incidents/{INCIDENT}/evidence"
            asked = gateway.send("POST", path, json.dumps({"reason": "before a restart"}).encode(), admin)
            assert asked.status == 202, asked.body

            def made() -> dict[str, Any] | None:
                (bundle,) = gateway.get(path, admin).json["bundles"]
                assert bundle["state"] != "failed", bundle["problem"]
                return bundle if bundle["state"] == "complete" else None

            bundle = until(made, within=90, what=f"the bundle\n{gateway.tail()}")
            for reason in ("evidence_marker", "evidence_complete"):
                gateway.recorded("reason = ? AND event_type = 'evidence'", reason)
            bag = gateway.data / "evidence" / bundle["id"]
            code, told = verified(bag, bundle["key"])
            assert code == 0, told
            assert found(bag, seeded) == []
            lines = (bag / f"data/logs/incident-logs-{INCIDENT}.txt").read_text().splitlines()
            assert {line.split()[0].partition("-")[0] for line in lines} >= {"supervisor", "worker"}
            rows = (bag / "data/audit/range.jsonl").read_text()
            late = [each for each in bundle["not_proven"] if "marker" in each or "behind" in each]
            assert late or ("evidence_marker" in rows and "tool_call" in rows)

            # 2. The same from the command line, beside the gateway.
            own = collected(gateway, "--quick", "--flat", str(tmp_path / "flat"))
            assert own["bundle"]["id"] == f"{bundle['id']}.2"
            hashes = f"evidence-hashes-{INCIDENT}.txt"
            subprocess.run(["sha256sum", "-c", "--quiet", hashes], cwd=tmp_path / "flat", check=True)
            gateway.stop()

            # 3. And with nobody there to ask.
            later = collected(gateway)
            assert (later["bundle"]["id"], later["bundle"]["state"]) == (own["bundle"]["id"], "complete")
            assert verified(Path(later["path"]), later["bundle"]["key"])[0] == 0
            assert found(Path(later["path"]), seeded) == []
