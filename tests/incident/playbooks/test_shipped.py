"""The playbooks that come with the program, the files of an operator, and what lint finds in them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest
from typer.main import get_command

from airlock.cli import program
from airlock.cli.runbook_files import known
from airlock.incident.playbooks import library, lint
from airlock.incident.playbooks.compile import used
from airlock.model.lease import Unfit
from airlock.model.playbook import Call
from tests.incident.playbooks.texts import WHOLE

SECTIONS = {
    "total-outage", "authentication-outage", "policy-engine-failure", "database-failure", "high-latency",
    "memory", "audit-not-recording", "security-breach", "data-breach", "compromised-server",
    "tool-rug-pull", "token-theft", "cross-tenant-access",
}  # fmt: skip
COMMAND = get_command(program())
SHIPPED = library.shelves(None)


def test_there_is_one_for_every_section_of_the_runbooks() -> None:
    assert set(SHIPPED) == SECTIONS


@pytest.mark.parametrize("id", sorted(SHIPPED))
def test_lint_finds_nothing_in_a_shipped_one(id: str) -> None:
    assert lint.wrong(SHIPPED[id], lambda words: known(COMMAND, words)) == []


@pytest.mark.parametrize("id", sorted(SHIPPED))
def test_a_shipped_one_names_rules_that_exist_and_lets_nothing_broad_go_by_itself(id: str) -> None:
    compiled = SHIPPED[id].compiled
    assert compiled is not None
    plan = compiled.plan
    assert plan.active and plan.owner and plan.impact and plan.last_drill == "pending"
    assert set(plan.triggers) <= {f"MCP-{number:03d}" for number in range(1, 30)}
    broad = {"server.disable", "tenant.isolate", "ratelimit.tighten", "webhook.call"}
    free = [plan.step(step).do for step in plan.pre_approved]
    assert [do.action for do in free if isinstance(do, Call) and do.action in broad] == []
    assert used(plan) <= {
        "server_id",
        "tool",
        "new_digest",
        "subject",
        "tenant",
        "issuer",
        "token_id",
        "source_ip",
    }


def test_a_file_of_the_operator_stands_in_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "tool-rug-pull.md").write_text(WHOLE)
    found = library.shelves(tmp_path)
    assert (found["tool-rug-pull"].source, found["memory"].source) == ("own", "shipped")
    assert library.find(tmp_path, "tool-rug-pull").plan.title == "A tool changed"


def test_a_file_that_is_wrong_is_told_and_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "memory.md").write_text(WHOLE)
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe")
    (tmp_path / "no name.md").write_text("x")
    (tmp_path / "broken.md").write_text("no playbook")
    found = library.shelves(tmp_path)
    assert "no name" not in found
    assert "the file is called memory.md" in found["memory"].problems[0].text
    assert "cannot be read" in found["bytes"].problems[0].text
    for id, word in (("memory", "playbook_invalid"), ("nothing", "playbook_unknown")):
        with pytest.raises(Unfit) as caught:
            library.find(tmp_path, id)
        assert caught.value.reason == word
    assert lint.wrong(found["broken"], lambda words: "") == list(found["broken"].problems)


def test_commands_of_this_program_are_found_where_they_stand() -> None:
    text = (
        "ls\nairlock audit verify | head\n  $ airlock status --wait ready \\\n  --timeout 3s\n"
        "echo airlock-x; airlock 'x"
    )
    assert list(lint.commands(text)) == [
        (2, ["audit", "verify"]),
        (3, ["status", "--wait", "ready", "--timeout", "3s"]),
        (4, ["'x"]),
    ]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["audit", "verify"], ""),
        (["runbook", "run", "memory", "--set", "a=b"], ""),
        (["audit"], "a command is missing"),
        (["audit", "burn"], "there is no command audit burn"),
        (["status", "--nothing=1"], "status has no option --nothing=1"),
        (["status", "--help"], ""),
    ],
)
def test_a_command_is_known_or_not(words: list[str], why: str) -> None:
    assert known(COMMAND, words) == why


def test_an_unknown_command_is_a_problem_with_its_line(tmp_path: Path) -> None:
    text = WHOLE.replace("   kubectl rollout", "   airlock audit burn\n   kubectl rollout")
    (tmp_path / "tool-rug-pull.md").write_text(text)
    shelved = library.shelves(tmp_path)["tool-rug-pull"]
    (problem,) = lint.wrong(shelved, lambda words: known(COMMAND, words))
    assert text.splitlines()[problem.line - 1].strip() == "airlock audit burn"


def test_what_is_old_is_noted() -> None:
    compiled = SHIPPED["memory"].compiled
    assert compiled is not None
    day = date(2026, 11, 23)
    plan = msgspec.structs.replace(compiled.plan, reviewed_on="", last_drill="2026-01-01")
    assert lint.stale(plan, day) == [
        "nobody has reviewed it", "it was drilled on 2026-01-01, more than 90 days ago",
    ]  # fmt: skip
    plan = msgspec.structs.replace(plan, reviewed_on="2026-01-01", last_drill="2026-11-22")
    assert lint.stale(plan, day) == ["it was reviewed on 2026-01-01, more than 180 days ago"]
