"""What the program says is in its documents, and what the documents show works."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from airlock.app import connecting, doors, login
from airlock.core import metrics
from airlock.identity.refusals import Reason
from airlock.mcp.refusals import REASONS
from airlock.model.health import COMPONENTS
from scripts import cli_docs
from tests.anything import Anything
from tests.house import words

ROOT = Path(__file__).parents[2]
ERRORS = (ROOT / "docs/errors.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()


def marked(text: str) -> set[str]:
    """What is set as code on a page."""
    return set(re.findall(r"`([^`\n]+)`", text))


def test_every_code_and_its_word_are_in_one_row() -> None:
    rows = ERRORS.splitlines()
    for code, reason in REASONS.items():
        assert [row for row in rows if row.startswith(f"| {code} | `{reason}` |")], (code, reason)


def test_every_reason_is_documented() -> None:
    said = words.reasons() | {reason.value for reason in Reason}
    assert said - marked(ERRORS) == set()


def test_every_reason_in_the_tables_is_said_somewhere() -> None:
    rows = [line.split("|")[1:3] for line in ERRORS.splitlines() if line.startswith("| ")]
    documented = {word for row in rows for cell in row for word in marked(cell) if words.WORD.fullmatch(word)}
    source = "".join(path.read_text() for path in words.SOURCE.rglob("*.py"))
    assert {word for word in documented if f'"{word}"' not in source} == set()


def test_every_log_event_is_documented() -> None:
    assert words.events() - marked(OPERATIONS) == set()


def test_every_documented_log_event_is_said() -> None:
    table = OPERATIONS.split("| Event | Level | When |")[1].split("\n\n")[0]
    documented = {found[0] for row in table.splitlines() if (found := re.findall(r"^\| `([^`]+)`", row))}
    assert documented - words.events() == set()


def test_every_component_is_documented() -> None:
    table = OPERATIONS.split("## Components")[1].split("\n## ")[0]
    assert set(COMPONENTS) - marked(table) == set()


def test_every_route_is_documented_and_no_other() -> None:
    anything: Any = cast("Any", Anything())
    table = doors.routes(
        endpoint=anything,
        health=anything,
        metrics=anything,
        managed=anything,
        public_url="http://localhost:8080",
        issuers=("http://localhost:8080",),
        logins=(*login.routes(anything, anything, anything), *connecting.routes(anything, anything)),
    )
    documented = set(re.findall(r"`((?:GET|POST|PUT|DELETE|PATCH) /[^`]*)`", OPERATIONS))
    assert documented == {f"{route.method} {route.path}" for route in table}


def test_every_metric_is_documented_and_no_other() -> None:
    standing = metrics.Standing(revisions=frozenset(), reloads={})
    text = metrics.exposition(standing=standing).decode()
    shown = {
        name for name in re.findall(r"^# HELP (\S+)", text, re.MULTILINE) if not name.endswith("_created")
    }
    assert set(re.findall(r"^\| `((?:airlock|sark)_\w+)", OPERATIONS, re.MULTILINE)) == shown


def test_every_room_is_documented() -> None:
    rooms = {path.name for path in words.SOURCE.iterdir() if (path / "__init__.py").exists()}
    assert rooms - marked(ARCHITECTURE) == set()


def test_the_page_of_the_command_line_is_what_the_program_says() -> None:
    assert (ROOT / "docs/cli.md").read_text() == cli_docs.document(), "stale: run `make docs`"


def test_the_python_example_is_the_same_everywhere() -> None:
    program = (ROOT / "examples/demo/client.py").read_text().split('"""\n\n', 1)[1]
    for page in ("README.md", "docs/getting-started.md"):
        (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
        assert shown == program, page
    ast.parse(program)


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_page_is_in_the_navigation(page: str) -> None:
    navigation = str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert f"'{page}'" in navigation


@pytest.mark.parametrize("path", sorted((ROOT / "docs/adr").glob("0*.md")), ids=lambda path: path.name)
def test_every_decision_is_in_the_index_and_in_the_navigation(path: Path) -> None:
    title = path.read_text().splitlines()[0]
    number = int(path.name[:4])
    assert title.startswith(f"# {number}. ")
    assert f"[{number}]({path.name})" in (ROOT / "docs/adr/index.md").read_text()
    assert f"'adr/{path.name}'" in str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_local_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
