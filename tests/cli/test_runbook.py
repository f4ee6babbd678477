"""`airlock runbook` on the files of a gateway that does not run: what waits for a person goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli import program
from airlock.store import runs
from tests.app.play_parts import Engine, opened, playbook

CONFIG = "data_dir: {data}\nserver: {{host: 127.0.0.1, port: 1}}\n"
SUSPEND = 'action {"id": "hold"}\nsubject.suspend(subject="${subject}", tenant="acme")'
MANUAL = 'bash {"id": "look"}\nls "$SUBJECT"'
LATER = 'text {"id": "then"}\nwrite it down'


class Site:
    """A configuration whose port nobody listens on, and its data."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.config = folder / "airlock.yaml"
        self.config.write_text(CONFIG.format(data=self.data))
        self.store = opened(self.data)
        self.engine = Engine(self.store, self.data)

    def own(self, *fences: str) -> None:
        (self.data / "playbooks").mkdir(exist_ok=True)
        (self.data / "playbooks/play.md").write_text(playbook(*fences))

    def run(self, *words: str, code: int = 0, typed: str = "") -> Result:
        done = CliRunner().invoke(program(), ["runbook", *words, "--config", str(self.config)], input=typed)
        assert done.exit_code == code, done.output
        return done

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)

    @property
    def newest(self) -> str:
        return runs.listing(self.store)[0].id


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(autouse=True)
def closed(site: Site) -> Any:
    yield
    site.store.close()


def test_playbooks_are_listed_and_shown(site: Site) -> None:
    site.own(MANUAL)
    (site.data / "playbooks/bad.md").write_text("nothing")
    listed = site.run("list").stdout
    assert "play  P2  Play  (1 steps, active, drilled pending)" in listed
    assert "bad  CANNOT BE USED: line 1" in listed
    assert "memory" in {each["id"] for each in site.json("list")["playbooks"]}
    assert 'ls "$SUBJECT"' in site.run("show", "play").stdout
    assert site.json("show", "play")["playbook"]["plan"]["start"] == "look"
    site.run("show", "nothing", code=1)


def test_a_run_asks_step_by_step_and_takes_what_was_pasted(site: Site) -> None:
    site.own(MANUAL, LATER)
    typed = "x\nd\ntwo files\nmore\n.\ns\nno paper\n"
    done = site.run("run", "play", "--set", "subject=bob", typed=typed)
    assert "that is none of them" in done.stdout and "known: subject=bob" in done.stdout
    assert "look: succeeded: two files" in done.stdout
    assert "then: skipped: no paper" in done.stdout
    stored = runs.get(site.store, site.newest)
    assert stored is not None and stored.journal["look"].output == "two files\nmore\n"


def test_a_run_can_be_left_and_taken_up_again(site: Site) -> None:
    site.own(MANUAL, LATER)
    assert "airlock runbook resume" in site.run("run", "play", typed="q\n", code=4).output
    site.run("resume", site.newest, typed="d\n.\nf\n.\nlost\n", code=1)
    listed = site.run("runs").stdout
    assert f"{site.newest}  play  failed" in listed
    assert site.json("runs")["runs"][0]["state"] == "failed"


def test_a_call_waits_for_the_engine_and_for_its_person(site: Site) -> None:
    site.own(SUSPEND)
    site.run("run", "play", "--set", "subject=bob", "--wait", "0", code=4)
    site.engine.carry(site.newest)
    asked = site.run("resume", site.newest, "--wait", "0", typed="g\n", code=4).stdout
    assert "class B; needs 1 to agree; agreed: nobody yet" in asked
    site.engine.carry(site.newest)
    assert "hold: succeeded: lease" in site.run("resume", site.newest).stdout
    back = site.json("rollback", site.newest, "--reason", "a drill")
    assert len(back["released"]) == 1 and back["irreversible"] == []


def test_what_nobody_knows_is_asked_for(site: Site) -> None:
    site.own('action {"id": "ask"}\nwebhook.call(target="hook")')
    site.run("run", "play", "--unattended", "--wait", "0", code=4)
    site.engine.carry(site.newest)
    site.run("answer", site.newest, "ask", "go")
    site.engine.carry(site.newest, die="after")
    site.engine.carry(site.newest)
    done = site.run("resume", site.newest, typed="d\n\n")
    assert "nobody knows what came of it" in done.stdout


def test_answers_come_from_files_too(site: Site, tmp_path: Path) -> None:
    site.own(MANUAL, LATER)
    site.run("run", "play", "--unattended", code=4)
    (tmp_path / "seen.txt").write_text("seen\n")
    words = ("answer", site.newest, "look", "done", "--output")
    site.run(*words, str(tmp_path / "nothing.txt"), code=2)
    assert site.json(*words, str(tmp_path / "seen.txt"))["run"]["steps"][0]["output"] == "seen\n"
    shown = site.run("answer", site.newest, "then", "done", "--output", "-", typed="noted").stdout
    assert shown == f"run {site.newest} is succeeded\n"
    site.run("answer", site.newest, "then", "done", code=1)


def test_a_run_is_cancelled(site: Site) -> None:
    site.own(MANUAL)
    site.run("run", "play", "--unattended", code=4)
    assert "cancelled" in site.run("cancel", site.newest, "--reason", "a drill").stdout
    assert site.run("rollback", site.newest, "--reason", "a drill").stdout == "released: nothing\n"


def test_a_dry_run_tells_the_steps(site: Site) -> None:
    site.own(SUSPEND.replace('"hold"', '"hold", "when": "severity != \'P3\'"'), MANUAL)
    told = site.run("run", "play", "--dry-run", code=1).output
    assert "the variable subject is missing" in told and "when severity != 'P3'" in told
    told = site.run("run", "play", "--dry-run", "--set", "subject=bob").stdout
    assert "class B, tighten; needs 1 to agree" in told
    assert site.json("run", "play", "--dry-run", "--set", "subject=bob")["steps"][0]["people"] == 1
    assert runs.listing(site.store) == []
    site.run("run", "play", "--set", "subject", code=2)


def test_lint_names_the_line(site: Site, tmp_path: Path) -> None:
    site.own(MANUAL)
    assert "14 playbooks, 0 problems" in site.run("lint").stdout
    bad = tmp_path / "bad.md"
    bad.write_text(playbook('action {"id": "a"}\nrun.shell(command="id")').replace("id: play", "id: bad"))
    told = site.run("lint", str(bad), code=1).stdout
    assert "bad.md:8: there is no action run.shell" in told
    assert site.json("lint", str(bad), code=1)["problems"]["bad"][0]["line"] == 8


def test_playbooks_go_out_and_come_in_as_cacao(site: Site, tmp_path: Path) -> None:
    document = site.run("export-cacao", "tool-rug-pull").stdout
    file = tmp_path / "cacao.json"
    file.write_text(document)
    told = site.json("import-cacao", str(file))
    assert told["active"] is False and "active: false" in Path(told["file"]).read_text()
    assert "is there already" in site.run("import-cacao", str(file), code=1).output
    site.run("run", "tool-rug-pull", code=1)
    file.write_text("{}")
    site.run("import-cacao", str(file), code=1)
    site.run("import-cacao", str(tmp_path / "nothing.json"), code=2)
    site.run("export-cacao", "nothing", code=1)
    Path(told["file"]).unlink()
    file.write_text(document)
    assert "read it, then set" in site.run("import-cacao", str(file)).stdout


def test_a_configuration_that_cannot_be_read_ends_it(site: Site) -> None:
    site.config.write_text("data_dir: [")
    site.run("lint", code=2)
    site.run("list", code=2)
