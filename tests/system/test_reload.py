"""The life of `airlock serve`: what SIGHUP changes and what not, how it ends, and what survives whom."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.system.deployment import Answer, Deployment, until
from tests.system.recorder import Recorder

POLICY = """package airlock

import rego.v1

decision := {{"allow": true, "reason": "{word}", "rule": "test"}} if {{
	input.target.name in {tools}
}} else := {{"allow": false, "reason": "no_{word}", "rule": "test"}}
"""


@pytest.fixture
def upstream() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


def server(name: str, of: Recorder, **more: Any) -> dict[str, Any]:
    return {"name": name, "transport": "http", "url": of.url, "sensitivity": "low", **more}


def hang_up(gateway: Deployment) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)


def status(gateway: Deployment) -> dict[str, Any]:
    token = gateway.token("root", roles=["admin"])
    answer = gateway.get("/admin/policy/status", {"Authorization": f"Bearer {token}"})
    assert answer.status == 200
    return answer.json


def everywhere(gateway: Deployment, revision: str) -> bool:
    """Whether every worker says that it runs this revision."""
    replicas = status(gateway)["replicas"]
    return len(replicas) == 2 and all(one and one["active_sha256"] == revision for one in replicas)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def calling(gateway: Deployment, tool: str, subject: str) -> Generator[list[Answer]]:
    """A call that runs meanwhile; its answer is in the list afterwards."""
    answers: list[Answer] = []
    token = gateway.token(subject)
    headers = {"Accept": "application/json"}
    work = threading.Thread(
        target=lambda: answers.append(gateway.call(tool, {"text": subject}, token, headers=headers))
    )
    work.start()
    yield answers
    work.join(20)


def heard(upstream: Recorder, marker: str) -> bool:
    return any(marker in str(call) for call in upstream.calls())


def write_policy(folder: Path, word: str, tools: str) -> Path:
    path = folder / "policy"
    path.mkdir(exist_ok=True)
    (path / "main.rego").write_text(POLICY.format(word=word, tools=tools))
    return path


def test_a_reload_takes_all_of_the_new_plan_or_nothing(tmp_path: Path, upstream: Recorder) -> None:
    write_policy(tmp_path, "first", '{"echo", "fail"}')
    with Deployment(tmp_path, [server("low", upstream)], policy={"path": "policy"}) as gateway:
        first = status(gateway)["active_sha256"]
        token = gateway.token()
        good = gateway.config.read_text()
        bad = {
            "unknown key": (good + "servres: []\n", None, "did you mean"),
            "no YAML": ("servers: [", None, ""),
            "gone": (None, None, "cannot be read"),
            "needs a restart": (good.replace("data_dir: data", "data_dir: elsewhere"), None, "restart"),
            "policy does not compile": (good, "package airlock\ndecision := {", ""),
            "policy without an answer": (good, "package airlock\nx := 1\n", ""),
            "policy with a forbidden builtin": (
                good, 'package airlock\nimport rego.v1\ndecision := http.send({"url": "x"})\n', "",
            ),
        }  # fmt: skip
        for count, (case, (text, policy, word)) in enumerate(bad.items(), start=1):
            if text is None:
                gateway.config.unlink()
            else:
                gateway.config.write_text(text)
            if policy is not None:
                (tmp_path / "policy" / "main.rego").write_text(policy)
            hang_up(gateway)
            until(lambda n=count: len(refusals(gateway)) == n, what=f"refusal of: {case}")
            error = until(lambda: status(gateway)["last_error"], what="the reason")
            assert word in error["what"], (case, error)
            assert status(gateway)["active_sha256"] == status(gateway)["desired_sha256"] == first
            assert gateway.call("low__echo", {"text": "x"}, token).status == 200
        write_policy(tmp_path, "second", '{"fail"}')
        gateway.sections["servers"].append(server("late", upstream))
        gateway.write()
        hang_up(gateway)
        until(lambda: status(gateway)["desired_sha256"] != first, what="the new policy")
        second = status(gateway)["desired_sha256"]
        until(lambda: everywhere(gateway, second), what="the new policy on every worker")
        assert status(gateway)["last_error"] is None
        for _ in range(6):
            assert b"Unknown tool" in gateway.call("low__echo", {"text": "x"}, token).body
        until(lambda: all("late__fail" in gateway.tools(token) for _ in range(6)), what="the new server")
        row = gateway.recorded("action='policy_load' AND policy_revision=?", second, count=2)[0]
        assert row["reason"] == "activated"
        assert gateway.recorded("action='tool_call' AND decision='deny' AND policy_revision=?", second)


def refusals(gateway: Deployment) -> list[dict[str, Any]]:
    return [line for line in gateway.lines("config_change") if line["result"] == "refused"]


def test_a_reload_that_asks_for_all_requests_records_them(tmp_path: Path, upstream: Recorder) -> None:
    with Deployment(tmp_path, [server("low", upstream)], workers=1) as gateway:
        gateway.tools(gateway.token("before"))
        gateway.sections["logging"] = {"audit_all_requests": True}
        gateway.write()
        hang_up(gateway)
        until(lambda: gateway.lines("config_change"), what="the reload")
        until(
            lambda: (
                gateway.tools(gateway.token("after"))
                and gateway.rows("SELECT 1 FROM audit_events WHERE subject='after' AND action='tools_list'")
            ),
            what="a row of a list",
        )
        assert not gateway.rows("SELECT 1 FROM audit_events WHERE subject='before'")


def test_a_server_that_is_taken_away_has_its_calls_cut(tmp_path: Path, upstream: Recorder) -> None:
    with Deployment(tmp_path, [server("low", upstream), server("gone", upstream)]) as gateway:
        with calling(gateway, "gone__hang", "cut me") as answers:
            until(lambda: heard(upstream, "cut me"), what="the call at the server")
            del gateway.sections["servers"][1]
            gateway.write()
            hang_up(gateway)
            until(lambda: upstream.left, within=5, what="the end of the call at the server")
        assert answers[0].refusal["code"] == 40302
        assert answers[0].refusal["effect"] == "possible"
        assert answers[0].refusal["scope"] == {"kind": "server", "server": "gone"}
        row = gateway.recorded("subject='cut me' AND phase='outcome'")[0]
        assert (row["decision"], row["reason"]) == ("deny", "contained_in_flight")
        for _ in range(4):
            assert b"Unknown tool" in gateway.call("gone__echo", {}, gateway.token()).body
            assert gateway.call("low__echo", {}, gateway.token()).status == 200


def test_a_drain_lets_a_running_call_finish(tmp_path: Path, upstream: Recorder) -> None:
    with Deployment(tmp_path, [server("low", upstream)]) as gateway:
        with calling(gateway, "low__slow", "last words") as answers:
            until(lambda: heard(upstream, "last words"), what="the call at the server")
            assert gateway.stop() == 0
        assert "last words" in answers[0].text
        assert gateway.airlock("audit", "verify", "--config", str(gateway.config)).returncode == 0
        assert gateway.rows("SELECT 1 FROM audit_events WHERE subject='last words' AND decision='allow'")


def test_a_stop_that_comes_before_everything_runs_is_a_stop(tmp_path: Path, upstream: Recorder) -> None:
    gateway = Deployment(tmp_path, [server("low", upstream)])
    gateway.start_unwaited()
    until(lambda: gateway.children("airlock.worker"), what="the workers")
    hang_up(gateway)
    assert gateway.stop() == 0


def test_a_worker_that_dies_is_replaced_and_its_chain_goes_on(tmp_path: Path, upstream: Recorder) -> None:
    with Deployment(tmp_path, [server("low", upstream)]) as gateway:
        token = gateway.token()
        for _ in range(6):
            assert gateway.call("low__echo", {"text": "x"}, token).status == 200
        before = gateway.children("airlock.worker")
        os.kill(before[0], signal.SIGKILL)
        until(
            lambda: (
                (found := gateway.children("airlock.worker")) and before[0] not in found and len(found) == 2
            ),
            what="another worker",
        )
        assert gateway.lines("lifecycle")[-1]["event"] == "lifecycle"
        until(lambda: all(status(gateway)["replicas"]), what="both workers")
        for _ in range(10):
            assert gateway.call("low__echo", {"text": "x"}, token).status == 200
        assert gateway.airlock("audit", "verify", "--config", str(gateway.config)).returncode == 0
        assert gateway.rows("SELECT count(DISTINCT chain_uid) FROM audit_log") == [(2,)]


def test_a_projector_that_dies_degrades_the_database_until_it_is_back(
    tmp_path: Path, upstream: Recorder
) -> None:
    with Deployment(tmp_path, [server("low", upstream)], workers=1) as gateway:
        os.kill(gateway.children("airlock.audit.projector")[0], signal.SIGKILL)

        def states() -> list[str]:
            return [line["state"] for line in gateway.lines("lifecycle") if line.get("part") == "database"]

        until(lambda: states() == ["ok", "degraded", "ok"], what="degraded and well again")
        assert gateway.call("low__echo", {"text": "x"}, gateway.token("survivor")).status == 200
        assert gateway.recorded("subject='survivor'")
        assert gateway.get("/ready").json["components"]["database"]["state"] == "ok"


def test_without_its_supervisor_nothing_goes_on_and_a_new_start_recovers(
    tmp_path: Path, upstream: Recorder
) -> None:
    with Deployment(tmp_path, [server("low", upstream)]) as gateway:
        assert gateway.call("low__echo", {"text": "x"}, gateway.token("first life")).status == 200
        children = gateway.children("airlock.")
        assert len(children) == 4
        gateway.stop(signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in children), within=8, what="the end of all children")
        gateway.start()
        assert gateway.call("low__echo", {"text": "x"}, gateway.token("second life")).status == 200
        assert gateway.recorded("subject IN ('first life', 'second life') AND phase='outcome'", count=2)
        assert gateway.airlock("audit", "verify", "--config", str(gateway.config)).returncode == 0


def test_a_data_directory_has_one_airlock(tmp_path: Path, upstream: Recorder) -> None:
    with Deployment(tmp_path, [server("low", upstream)], workers=1) as gateway:
        second = gateway.airlock("serve", "--config", str(gateway.config))
        assert second.returncode == 1
        assert "another airlock runs on this data directory" in second.stderr
        assert gateway.call("low__echo", {"text": "x"}, gateway.token()).status == 200


def test_a_demo_key_that_faces_a_network_serves_no_call(tmp_path: Path, upstream: Recorder) -> None:
    own = {"host": "0.0.0.0"}  # noqa: S104 - that is the point
    gateway = Deployment(tmp_path, [server("low", upstream)], workers=1, server=own)
    gateway.start_unwaited()
    try:
        answer = until(lambda: answered(gateway), within=20, what="an answer")
        assert answer.status == 503
        assert answer.json["components"]["config"] == {
            **answer.json["components"]["config"], "state": "failed", "reason": "weak_key",
        }  # fmt: skip
        refused = gateway.call("low__echo", {"text": "x"}, gateway.token(), headers=named(gateway))
        assert (refused.status, refused.json["error"]["code"]) == (503, -32603)
        assert "weak_key" in refused.json["error"]["message"]
        assert not upstream.calls()
    finally:
        gateway.stop()


def answered(gateway: Deployment) -> Answer | None:
    try:
        return gateway.get("/ready", named(gateway))
    except OSError:
        return None


def named(gateway: Deployment) -> dict[str, str]:
    """Off loopback only the public name is served."""
    return {"Host": f"localhost:{gateway.port}"}
