"""`airlock policy suggest`, from a log that a whole writer has written."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from airlock.cli.policy import app
from airlock.core.sealed import load_keys, load_or_create_keys
from airlock.mcp.strict import canonical
from airlock.model.entry import Event, Personal
from airlock.policy.bundle import load_bundle
from airlock.policy.facts import Facts
from airlock.policy.input import encode
from airlock.policy.sample import complete
from airlock.policy.suite import run_tests
from tests.cli.test_audit import seal


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["suggest", *(str(argument) for argument in arguments)])


class House:
    """A data directory with its configuration."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.config = folder / "airlock.yaml"
        self.config.write_text(f"data_dir: {self.data}\n")

    def call(
        self,
        name: str,
        arguments: dict[str, Any],
        *,
        kept: bool = True,
        facts: Facts | None = None,
        action: str = "tools/call",
        **more: Any,
    ) -> Event:
        question = complete(
            {"action": action, "subject": {"roles": ["agent"]}, "target": {"server": "files", "name": name},
             "arguments": arguments}
        )  # fmt: skip
        asked = facts(encode(question)) if facts else encode(question)
        sealed = load_or_create_keys(self.data).seal("inputs", asked).encode()
        digest = hashlib.sha256(canonical(arguments)).hexdigest()
        told: dict[str, Any] = {"decision": "allow", "phase": "outcome", **more}
        return Event(
            event_type="call",
            action="tool_call",
            server_id="files",
            tool_name=name,
            tenant="acme",
            identity={"roles": ["agent"]},
            metadata={
                "would_deny": "policy_denied: role_missing",
                "sensitivity": "medium",
                "read_only": False,
            },
            personal=Personal(
                subject="alice",
                issuer="https://idp.example",
                arguments_digest=digest,
                inputs=sealed if kept else None,
            ),
            **told,
        )

    def record(self, *events: Event) -> None:
        asyncio.run(seal(self.data, *events))

    def suggest(self, *arguments: object) -> dict[str, Any]:
        result = run("--config", self.config, "--json", *arguments)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_calls_become_a_bundle_that_passes_its_tests(house: House, tmp_path: Path) -> None:
    house.record(
        house.call("read", {"path": "/srv/docs/a.txt"}), house.call("delete", {"path": "/srv/docs/a"})
    )
    answer = house.suggest("--out", tmp_path / "policy")
    assert answer["tools"] == {"files/delete": 1, "files/read": 1}
    assert {"what": "files/delete", "question": "it deletes"} in answer["questions"]
    bundle = load_bundle(tmp_path / "policy")
    assert sorted(bundle.files) == ["suggested.decisions.jsonl", "suggested.rego"]
    assert run_tests(bundle).passed


def test_only_calls_that_were_let_through_count(house: House) -> None:
    house.record(
        house.call("read", {}),
        house.call("failed", {}, decision="error"),
        house.call("refused", {}, decision="deny", phase="single"),
        house.call("intended", {}, decision=None, phase="intent"),
    )
    assert sorted(house.suggest()["tools"]) == ["files/failed", "files/read"]


@pytest.mark.parametrize("lost", ["inputs", "key"])
def test_without_recorded_inputs_roles_and_tools_are_still_known(house: House, lost: str) -> None:
    house.record(house.call("read", {"path": "/srv/docs/a.txt"}, kept=lost != "inputs"))
    if lost == "key":
        (house.data / "keys/seal.json").unlink()
    answer = house.suggest()
    assert answer["questions"] == [
        {"what": "files/read", "question": "its arguments were not recorded: any are let through"}
    ]
    assert '"agent" in input.subject.roles' in answer["files"]["suggested.rego"]


def test_inputs_of_another_key_are_as_if_they_were_not_recorded(house: House) -> None:
    house.record(house.call("read", {"path": "/srv/docs/a.txt"}))
    (house.data / "keys/seal.json").unlink()
    load_or_create_keys(house.data)
    assert load_keys(house.data) is not None
    assert "not recorded" in house.suggest()["questions"][0]["question"]


@pytest.mark.parametrize(
    ("arguments", "paths", "whole"),
    [
        ({"path": "/srv/docs/a.txt"}, [("arguments",)], True),
        ({"path": "/srv/docs/a.txt"}, [("arguments", "path")], True),
        ({"path": "/srv/docs/a.txt", "mode": "r"}, [("arguments", "path")], False),
        ({"path": "/srv/docs/a.txt"}, [("subject", "roles")], False),
        ({}, [("subject", "roles")], True),
    ],
)
def test_what_a_policy_does_not_read_is_known_to_be_missing(
    house: House, *, arguments: dict[str, Any], paths: list[tuple[str, ...]], whole: bool
) -> None:
    house.record(house.call("read", arguments, facts=Facts(paths)))
    answer = house.suggest()
    missing = "its arguments were not recorded: any are let through"
    assert (missing not in [doubt["question"] for doubt in answer["questions"]]) is whole
    assert '"agent" in input.subject.roles' in answer["files"]["suggested.rego"]


def test_what_is_no_question_of_this_version_is_as_if_it_was_not_recorded(house: House) -> None:
    class Other(Facts):
        def __call__(self, question: bytes) -> bytes:
            return b'{"colour": "blue"}'

    house.record(house.call("read", {"path": "x"}, facts=Other([])))
    assert "not recorded" in house.suggest()["questions"][0]["question"]


def test_the_policy_is_printed_and_the_questions_are_said_beside_it(house: House) -> None:
    house.record(house.call("read\x1b[2J", {"apiKey": "x"}))
    result = run("--config", house.config)
    assert result.stdout.startswith("# Suggested from 1 call seen since 7d before this was written.")
    assert "question: files/read\\x1b[2J: apiKey may carry a secret" in result.stderr
    assert "\x1b" not in result.output


def test_where_it_was_written_is_said(house: House, tmp_path: Path) -> None:
    house.record(house.call("read", {}))
    result = run("--config", house.config, "--out", tmp_path / "policy")
    assert "1 calls of 1 tools; all are allowed by the suggestion" in result.stdout
    assert f"written: {tmp_path}/policy" in result.stdout


def test_what_the_suggestion_does_not_cover_is_said(house: House) -> None:
    house.record(house.call("read", {}, action="sampling/createMessage"))
    result = run("--config", house.config)
    assert result.exit_code == 1
    assert "does not allow what was seen of files/read" in result.stderr


def test_without_a_call_there_is_nothing_to_suggest(house: House) -> None:
    house.record(house.call("read", {}, decision="deny", phase="single"))
    result = run("--config", house.config)
    assert (result.exit_code, "no call was let through in the last 7d" in result.stderr) == (1, True)


def test_what_exists_is_not_overwritten(house: House, tmp_path: Path) -> None:
    result = run("--config", house.config, "--out", tmp_path)
    assert (result.exit_code, "nothing is overwritten" in result.stderr) == (2, True)


@pytest.mark.parametrize("since", ["yesterday", "7d"])
def test_a_log_that_cannot_be_read_ends_with_2(house: House, since: str) -> None:
    assert run("--config", house.config, "--since", since).exit_code == 2
