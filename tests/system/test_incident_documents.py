"""Files of an incident of a running gateway: written by the engine, true after each event."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.deployment import Deployment, until
from tests.system.recorder import Recorder

ID = "INC-20261122-210700"
AT = f"/api/v1/incidents/{ID}"
ORDER = {
    "id": ID,
    "title": "Somebody tries tokens",
    "type": "security_incident",
    "severity": "P1",
    "commander": "Alice",
    "symptoms": ["refused tokens", "\x1b[31m21:07 UTC [forged] `x` | <b>"],
    "affected_services": ["files"],
}


class Site:
    """A gateway with an engine, and one incident."""

    def __init__(self, gateway: Deployment) -> None:
        self.gateway = gateway
        self.token = gateway.token("root", roles=("admin",))
        self.folder = gateway.data / "incidents"

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.gateway.post(body, self.token, path=path)
        assert answer.status < 300, answer.body
        return answer.json

    def get(self, path: str) -> Any:
        return self.gateway.get(path, {"Authorization": f"Bearer {self.token}"})

    def file(self, name: str = f"incident-{ID}.md") -> Path:
        return self.folder / ID / name

    def written(self, text: str, path: Path) -> str:
        """The content of a file once it has this text."""

        def content() -> str:
            found = path.read_text() if path.exists() else ""
            return found if text in found else ""

        return until(content, within=60, what=f"{text!r} in {path.name}\n{self.gateway.tail()}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Recorder() as upstream:
        servers = [{"name": "files", "transport": "http", "url": upstream.url}]
        folder = tmp_path_factory.mktemp("documents")
        with Deployment(folder, servers, workers=1, incident={"engine": True}) as gateway:
            made = Site(gateway)
            for _ in range(3):
                assert gateway.post({"jsonrpc": "2.0", "id": 1, "method": "ping"}, "no token").status == 401
            gateway.recorded("action = 'token_validate' AND decision = 'deny'")
            made.ask("/api/v1/incidents", ORDER)
            yield made


def test_the_report_is_there_and_has_the_timeline(site: Site) -> None:
    site.written("## Timeline\n", site.file())
    events = site.get(f"{AT}/timeline").json["events"]
    site.written(f"(event {len(events)})", site.file())
    found = subprocess.run(
        ["grep", "-E", "^[0-9]{2}:[0-9]{2}", str(site.file())], capture_output=True, text=True, check=True
    ).stdout
    assert len(found.splitlines()) >= len(events)
    assert "\x1b" not in site.file().read_text()


def test_a_note_is_in_the_file_and_an_edit_by_hand_is_not(site: Site) -> None:
    path = site.file()
    site.written("## Timeline\n", path)
    path.write_text("# forged\n")
    site.ask(f"{AT}/notes", {"text": "The address is a VPN"})
    text = site.written("[note] The address is a VPN (event ", path)
    assert "forged\n" not in text


def test_over_http_a_file_is_the_one_on_disk(site: Site) -> None:
    wanted = site.file(f"rca-{ID}.md")
    site.written("## Why Analysis", wanted)
    answer = site.get(f"{AT}/files/rca-{ID}.md")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert answer.body.startswith(f"# Root Cause Analysis: {ID}".encode())
    assert site.get(f"{AT}/files/poem").json["code"] == "file_unknown"


def test_figures_are_those_of_the_log(site: Site) -> None:
    told = site.get(f"{AT}/exposure").json
    (denials,) = [each for each in told["impact"] if each["query"] == "denials"]
    assert sum(row["attempts"] for row in denials["rows"]) >= 1
    assert len(denials["digest"]) == 64


def test_the_pages_are_there(site: Site) -> None:
    page = json.loads(site.written(ID, site.folder / "status.json"))
    assert (page["indicator"], page["incidents"][0]["status"]) == ("major", "INVESTIGATING")
    assert "Somebody tries tokens" not in site.written(ID, site.folder / "status.html")
    assert "Somebody tries tokens" in site.written(ID, site.folder / "night.html")


def test_documents_are_rendered_from_the_files_alone(site: Site) -> None:
    done = site.gateway.airlock("incident", "render", "team", ID, "--config", str(site.gateway.config))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"\U0001f6a8 MCP Airlock Incident - {ID}\n")
    assert "- Service: UP" in done.stdout
    assert "Commander: Alice" in done.stdout


def test_a_report_for_auditors_is_good_where_nothing_is_wrong(site: Site) -> None:
    def report() -> dict[str, Any] | None:
        done = site.gateway.airlock("report", "compliance", "--json", "--config", str(site.gateway.config))
        told = json.loads(done.stdout)
        assert done.returncode == told["exit"], done.stderr
        return told if told["exit"] == 0 else None  # a row may be on its way into the database

    told = until(report, within=60, what="a report without a gap")
    answers = {each["query"]: each for each in told["answers"]}
    assert (answers["gaps"]["rows"], answers["fail_open"]["rows"]) == ([], [])
    assert len(answers["hours"]["rows"]) in (25, 26)
    assert answers["denials"]["rows"][0]["attempts"] >= 1


def test_the_page_for_the_night_says_that_the_gateway_is_up(site: Site) -> None:
    done = site.gateway.airlock("incident", "watch", "--config", str(site.gateway.config))
    assert done.returncode == 0, done.stderr
    assert "gateway: UP" in done.stdout
    assert f"{ID}: Somebody tries tokens" in done.stdout
