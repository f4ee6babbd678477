"""The command line as a client of the management API."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.cli.api import get
from airlock.core.config import Config, ServerSection
from airlock.core.errors import ConfigError
from tests.cli.admin_api import Answer, gateway

PATH = "/admin/policy/status"


def config(port: int, data_dir: Path, host: str = "127.0.0.1") -> Config:
    return Config(data_dir=str(data_dir), server=ServerSection(host=host, port=port))


def token_file(folder: Path, mode: int) -> None:
    file = folder / "admin.token"
    file.write_text("from-file\n")
    file.chmod(mode)


def test_nothing_listens(tmp_path: Path) -> None:
    assert get(config(1, tmp_path), PATH, token="", environ={}) is None


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [("a", "b", "Bearer a"), ("", "b", "Bearer b"), ("", "", "Bearer from-file")],
)
def test_the_token_comes_from_option_variable_or_file(
    tmp_path: Path, option: str, variable: str, expected: str
) -> None:
    token_file(tmp_path, 0o600)
    with gateway(Answer({"x": 1})) as server:
        found = get(config(server.port, tmp_path), PATH, token=option, environ={"AIRLOCK_TOKEN": variable})
    assert found == {"x": 1}
    assert server.requests == [(PATH, expected)]


def test_without_a_token_none_is_sent(tmp_path: Path) -> None:
    with gateway(Answer({})) as server:
        assert get(config(server.port, tmp_path, host="0.0.0.0"), PATH, token="", environ={}) == {}  # noqa: S104
    assert server.requests == [(PATH, "")]


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    token_file(tmp_path, 0o640)
    with gateway(Answer({})) as server, pytest.raises(ConfigError, match="others can read this token"):
        get(config(server.port, tmp_path), PATH, token="", environ={})
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer({}, status=403), "answered 403 Forbidden"),
        (Answer({}, status=404), "answered 404 Not Found"),
        (Answer(b"<html>"), "something else than a JSON object"),
        (Answer([]), "something else than a JSON object"),
        (Answer(b"", status=0), "did not answer"),
    ],
)
def test_any_other_answer_is_an_error(tmp_path: Path, answer: Answer, why: str) -> None:
    with gateway(answer) as server, pytest.raises(ConfigError, match=why):
        get(config(server.port, tmp_path), PATH, token="x", environ={})
