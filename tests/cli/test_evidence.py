"""`airlock evidence` as an operator runs it, without a gateway."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from airlock.cli.evidence import app
from airlock.incident.evidence import report
from tests.incident.evidence.parts import INCIDENT, House, kinds

BUNDLE = f"evidence-{INCIDENT}"


class Desk:
    """A house with a configuration file."""

    def __init__(self, root: Path) -> None:
        self.house = House(root)
        self.file = root / "airlock.yaml"
        self.file.write_text(yaml.safe_dump({"data_dir": str(self.house.data)}))
        self.bag = self.house.data / "evidence" / BUNDLE

    def run(self, *arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments), "--config", str(self.file)])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.house.close()


def test_collected_sealed_verified_and_handed_on(desk: Desk, tmp_path: Path) -> None:
    desk.house.open_incident()
    done = desk.run("collect", "--incident", INCIDENT, "--window", "30d", "--flat", tmp_path / "flat")
    assert done.exit_code == 0, done.output
    assert f"complete: {desk.bag}" in done.stdout
    assert f"signed with the key sha256:{desk.house.key}" in done.stdout
    assert "not proven: Times are this host's word" in done.stdout
    done = desk.run("seal", BUNDLE, "--reason", "closing", "--json")
    assert json.loads(done.stdout)["bundle"]["state"] == "sealed"
    done = desk.run("verify", desk.bag)
    assert (done.exit_code, done.stdout.count("PASS ")) == (0, 8)
    done = desk.run("custody", BUNDLE, "--add", "transferred", "--to", "counsel", "--reason", "asked for")
    assert [line.split()[3] for line in done.stdout.splitlines()] == ["acquired", "sealed", "transferred"]
    done = desk.run("custody", BUNDLE, "--json")
    assert [line["event"] for line in json.loads(done.stdout)["lines"]][-1] == "viewed"
    assert kinds(desk.house.store)[-2:] == ["evidence_transferred", "evidence_accessed"]
    done = desk.run("list")
    assert done.stdout.startswith(f"{BUNDLE}  sealed  ")
    assert [
        each["id"]
        for each in json.loads(desk.run("list", "--incident", INCIDENT, "--json").stdout)["bundles"]
    ]


def test_loose_files_have_one_list_of_hashes_for_all_of_them(desk: Desk, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    told = json.loads(desk.run("collect", "--incident", INCIDENT, "--flat", flat, "--json").stdout)
    hashes = f"evidence-hashes-{INCIDENT}.txt"
    names = {path.name for path in flat.iterdir()}
    assert set(told["flat"]) == {str(flat / name) for name in names}
    assert {f"incident-logs-{INCIDENT}.txt", f"system-state-{INCIDENT}.yaml", hashes} <= names
    assert f"pod-details-{INCIDENT}.txt" in names
    (copied,) = (name for name in names if name.startswith("forensic-backup-"))
    listed = (flat / hashes).read_text()
    assert {line.split("  ")[1] for line in listed.splitlines()} == names - {hashes}
    subprocess.run(["sha256sum", "--check", "--quiet", hashes], cwd=flat, check=True)
    (flat / copied).write_bytes(b"x")
    done = subprocess.run(["sha256sum", "-c", hashes], cwd=flat, capture_output=True, text=True, check=False)
    assert f"{copied}: FAILED" in done.stdout
    done = desk.run("collect", "--incident", INCIDENT, "--flat", flat)
    assert done.exit_code == 2
    assert "nothing is replaced" in done.stderr


def _reworded(line: bytes) -> bytes:
    return line.replace(b"viewed", b"copied")


def _twice(line: bytes) -> bytes:
    return line + b"\n" + line


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (_reworded, "line 2 is not signed by this gateway"),
        (_twice, "line 3 does not follow the line before it"),
    ],
)
def test_a_custody_log_that_somebody_wrote_in_is_not_told_as_true(
    desk: Desk, forge: Callable[[bytes], bytes], why: str
) -> None:
    desk.run("collect", "--incident", INCIDENT, "--quick")
    assert desk.run("custody", BUNDLE).exit_code == 0
    beside = desk.bag.parent / f"{BUNDLE}.custody.jsonl"
    beside.write_bytes(forge(beside.read_bytes().rstrip()) + b"\n")
    done = desk.run("custody", BUNDLE)
    assert (done.exit_code, why in done.stderr) == (1, True)


def test_what_is_not_whole_when_it_is_read_again_was_not_collected(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> bool:
        return False

    monkeypatch.setattr(report, "is_whole", broken)
    done = desk.run("collect", "--incident", INCIDENT, "--quick")
    assert done.exit_code == 1
    assert "is not what was closed" in done.stderr


def test_a_changed_file_is_named(desk: Desk) -> None:
    assert desk.run("collect", "--incident", INCIDENT, "--quick").exit_code == 0
    (desk.bag / "data/state/leases.json").write_text("[]")
    done = desk.run("verify", desk.bag)
    assert done.exit_code == 1
    assert "FAIL        bag: data/state/leases.json: changed" in done.stdout
    answer = json.loads(desk.run("verify", desk.bag, "--json").stdout)
    assert answer["exit"] == 1
    assert answer["steps"][0] == {"name": "bag", "result": "FAIL", "told": answer["steps"][0]["told"]}
    done = desk.run("seal", BUNDLE)
    assert done.exit_code == 1
    assert "is not what was closed" in done.stderr


def test_on_another_host_the_key_has_to_be_given(desk: Desk, tmp_path: Path) -> None:
    desk.run("collect", "--incident", INCIDENT, "--quick")
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "other")}))
    command = ["verify", str(desk.bag), "--config", str(elsewhere)]
    assert CliRunner().invoke(app, command).exit_code == 3
    assert CliRunner().invoke(app, [*command, "--key", f"sha256:{desk.house.key}"]).exit_code == 0
    assert CliRunner().invoke(app, [*command, "--key", f"sha256:{'0' * 64}"]).exit_code == 1
    assert CliRunner().invoke(app, [*command, "--key", "no-such-file"]).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["collect", "--incident", "../../etc"], 1, "An incident id is INC-"),
        (["collect", "--incident", INCIDENT, "--window", "soon"], 2, "soon"),
        (["collect", "--incident", INCIDENT, "--logs", "999d"], 1, "logs is between"),
        (["seal", "evidence-x"], 1, "There is no bundle"),
        (["custody", "evidence-x"], 1, "There is no bundle"),
        (["custody", BUNDLE, "--add", "copied"], 2, "--reason"),
        (["verify", "/nowhere"], 2, "is no bundle"),
    ],
)
def test_what_cannot_be_done_is_said(desk: Desk, arguments: list[str], code: int, why: str) -> None:
    done = desk.run(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert why in done.stderr


def test_nothing_was_collected_yet(desk: Desk) -> None:
    assert desk.run("list").stdout == "no evidence was collected\n"


def test_where_no_gateway_ever_ran(tmp_path: Path) -> None:
    file = tmp_path / "airlock.yaml"
    file.write_text(yaml.safe_dump({"data_dir": str(tmp_path / "none")}))
    done = CliRunner().invoke(app, ["collect", "--incident", INCIDENT, "--config", str(file)])
    assert done.exit_code == 2
    assert "no gateway has served there" in done.stderr
    done = CliRunner().invoke(app, ["list", "--config", str(tmp_path / "missing.yaml")])
    assert done.exit_code == 2
    assert not (tmp_path / "none").exists()
