"""The harness' `kubectl` does what the real client does where the runbooks rely on it, and refuses more."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.runbooks import kubectl
from tests.runbooks.extract import ROOT

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def line(number: int, minutes: float) -> str:
    """A log line of so many minutes ago."""
    moment = datetime.now(UTC) - timedelta(minutes=minutes)
    return json.dumps({"timestamp": moment.isoformat().replace("+00:00", "Z"), "event": f"n{number}"})


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment of one pod, which is this very process, with 30 lines in its log, one a minute."""
    log = tmp_path / "log"
    log.write_text("".join(line(number, 29.5 - number) + "\n" for number in range(30)))
    config = tmp_path / "config.yaml"
    config.write_text("policy: {}\n")
    workload: dict[str, Any] = {
        "namespace": "here", "kind": "deployment", "name": "gate", "pod": "gate-1", "labels": {"app": "gate"},
        "pid": os.getpid(), "log": str(log),
    }  # fmt: skip
    maps = {"here": {"gate-config": {"config.yaml": str(config)}}}
    file = tmp_path / "world.json"
    file.write_text(json.dumps({"workloads": [workload], "configmaps": maps, "merged": str(tmp_path)}))
    monkeypatch.setenv("RUNBOOK_WORLD", str(file))
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, list[str], str]:
    code = kubectl.main(words.split())
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def events(lines: list[str]) -> list[str]:
    return [json.loads(text)["event"] for text in lines]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("words", "first", "count"),
    [
        ("logs -n here -l app=gate", "n20", 10),
        ("logs -n here -l app=gate --since=2h", "n20", 10),
        ("logs -n here -l app=gate --tail=100", "n0", 30),
        ("logs -n here -l app=gate --tail 3", "n27", 3),
        ("logs -n here deployment/gate", "n0", 30),
        ("logs gate-1 -n here --since=5m", "n25", 5),
        ("logs -n here -l app=gate --tail=-1 --since 1s", "", 0),
    ],
)
def test_logs_show_ten_lines_of_what_is_selected_by_a_label(
    capsys: pytest.CaptureFixture[str], words: str, first: str, count: int
) -> None:
    code, lines, _ = shown(capsys, words)
    assert (code, len(lines)) == (0, count)
    assert events(lines)[:1] == ([first] if first else [])


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("top pods -n here", kubectl.NEEDS_CLUSTER, "needs a cluster: top pods"),
        ("rollout status deployment/gate -n here --timeout=3s", kubectl.NEEDS_CLUSTER, "needs a cluster"),
        ("get networkpolicy -n here", kubectl.NEEDS_CLUSTER, "needs a cluster: get networkpolicy"),
        (
            "patch deployment gate -n here --patch x",
            kubectl.NEEDS_CLUSTER,
            "needs a cluster: patch deployment",
        ),
        ("drain node", kubectl.UNKNOWN, "unknown command: drain"),
        ("logs -n here -l app=gate --follow", kubectl.UNKNOWN, "unknown flag: --follow"),
        ("logs -n here -l app=gate --previous=true", kubectl.UNKNOWN, "unknown flag: --previous"),
        ("logs -n here deployment/other", 1, "NotFound"),
        ("get pod -n here -l app=other -o jsonpath={.items[0].metadata.name}", 1, "out of bounds"),
    ],
)
def test_what_it_does_not_know_it_refuses(
    capsys: pytest.CaptureFixture[str], words: str, code: int, said: str
) -> None:
    got, lines, error = shown(capsys, words)
    assert (got, lines) == (code, [])
    assert said in error


@pytest.mark.usefixtures("world")
def test_the_name_of_a_pod(capsys: pytest.CaptureFixture[str]) -> None:
    words = "get pod -n here -l app=gate -o jsonpath={.items[0].metadata.name}"
    assert shown(capsys, words) == (0, ["gate-1"], "")


def test_a_patch_replaces_the_whole_file_of_a_config_map(world: Path) -> None:
    patch = "\ndata:\n  config.yaml: |\n    logging:\n      level: debug\n"
    assert kubectl.main(["patch", "configmap", "gate-config", "-n", "here", "--patch", patch]) == 0
    assert (world / "config.yaml").read_text() == "logging:\n  level: debug\n"
    merged = json.loads((world / "gate-config.json").read_text())
    assert merged["data"] == {"config.yaml": "logging:\n  level: debug\n"}


@pytest.mark.usefixtures("world")
def test_a_command_runs_in_the_environment_of_the_workload_and_its_status_is_the_answer() -> None:
    wanted = Path("/proc/self/environ").read_bytes().split(b"\0")[0].decode().partition("=")[0]
    script = f'[ -n "${{{wanted}+set}}" ] && [ -z "${{RUNBOOK_WORLD}}" ] && exit 7'
    assert kubectl.main(["exec", "-n", "here", "deployment/gate", "--", "sh", "-c", script]) == 7


def test_a_file_is_copied_and_a_symbolic_link_is_not(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "file").write_bytes(b"\x00content\n")
    (world / "link").symlink_to("file")
    assert kubectl.main(["cp", f"here/gate-1:{world}/file", f"{world}/copied"]) == 0
    assert (world / "copied").read_bytes() == b"\x00content\n"
    assert kubectl.main(["cp", f"here/gate-1:{world}/link", f"{world}/nothing"]) == 0
    assert not (world / "nothing").exists()
    assert "skipping symlink" in capsys.readouterr().err
    assert kubectl.main(["cp", f"here/gate-1:{world}/absent", f"{world}/nothing"]) == 1


def test_the_program_on_the_path_is_this_one(world: Path) -> None:
    done = subprocess.run(
        [ROOT / "tests/runbooks/bin/kubectl", "logs", "-n", "here", "-l", "app=gate"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "RUNBOOK_PYTHON": kubectl.sys.executable, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, len(done.stdout.splitlines()), done.stderr) == (0, 10, "")
    assert world.is_dir()
