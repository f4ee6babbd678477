"""The first day of a stranger: their client's file, a session that is only observed, the policy it suggests,
and the same session under that policy. Real servers, a stock client, and only commands of the command line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, TextContent

from airlock.cli.demo.servers import catalogue
from tests.system.deployment import Deployment, until
from tests.system.test_clients import SERVERS, everything
from tests.upstream.stdio_parts import NODE

SECRET = "tok-of-the-stranger-4711"
LIMIT = 300.0
"""Seconds that a stranger may need."""


class Said(msgspec.Struct, frozen=True):
    """What a client heard of one call."""

    text: str
    meta: Mapping[str, Any]
    is_error: bool

    @property
    def refusal(self) -> str:
        """The reason of a refusal; empty where the tool answered."""
        told = self.meta.get("dev.airlock/refusal", {})
        return told.get("policy_reason") or told.get("reason", "")


class Stranger:
    """The files of somebody who has used MCP servers without a gateway."""

    def __init__(self, folder: Path, shelf: Path, web: str, shop: str) -> None:
        self.folder = folder
        self.shelf = shelf
        self.file = folder / "mcp.json"
        self.home = folder / "airlock"
        files = {
            "command": str(NODE),
            "args": [str(SERVERS / "server-filesystem/dist/index.js"), str(shelf)],
            "alwaysAllow": ["write_file"],
        }
        things = {
            "command": str(NODE),
            "args": [str(SERVERS / "server-everything/dist/index.js")],
            "env": {"THINGS_API_TOKEN": SECRET, "COLOUR": "green"},
        }
        servers = {
            "Files": files,
            "every thing": things,
            "web": {"type": "http", "url": web, "headers": {"Authorization": f"Bearer {SECRET}"}},
            "shop": {"url": shop},
        }
        self.file.write_text(json.dumps({"mcpServers": servers}, indent=2))

    def airlock(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "airlock.cli", *words]
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )

    def session(self) -> list[tuple[str, dict[str, Any]]]:
        """What their agent does all day."""
        return [
            ("files__list_directory", {"path": str(self.shelf)}),
            ("files__read_text_file", {"path": f"{self.shelf}/hello.txt"}),
            ("files__write_file", {"path": f"{self.shelf}/notes/today.md", "content": "done"}),
            ("every-thing__echo", {"message": "hi"}),
            ("every-thing__get-sum", {"a": 2, "b": 3}),
            ("every-thing__get-env", {}),
            ("web__echo", {"message": "there"}),
            ("shop__price", {"item": "lamp"}),
            ("shop__reserve", {"item": "desk", "order": "4711"}),
        ]


@contextmanager
def shop(folder: Path) -> Generator[str]:
    """A server on the Python SDK over HTTP; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, catalogue.__file__, str(listener.fileno()), str(folder)]
        with (folder / "shop.log").open("wb") as log:
            process = subprocess.Popen(command, pass_fds=[listener.fileno()], stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stranger]:
    folder, shelf = tmp_path_factory.mktemp("stranger"), tmp_path_factory.mktemp("desk")
    for path in (shelf, *shelf.parents[:3]):
        path.chmod(0o755)
    (shelf / "hello.txt").write_text("hello from the desk")
    (shelf / "notes").mkdir()
    (shelf / "notes").chmod(0o777)  # the server has a user of its own
    with everything(folder) as web, shop(folder) as url:
        yield Stranger(folder, shelf, web, url)


class Gateway(Deployment):
    """The gateway on the configuration that `airlock init` wrote; only the port is the test's."""

    def __init__(self, home: Path) -> None:
        written = yaml.safe_load((home / "airlock.yaml").read_text())
        servers, _ = written.pop("servers"), written.pop("server")
        super().__init__(home, servers, **written)

    def play(self, calls: list[tuple[str, dict[str, Any]]], token: Path, *, mode: str) -> list[Said]:
        """The calls, one after the other, by a stock client that starts `airlock connect` as its server."""
        words = ["-m", "airlock.cli", "connect", f"{self.url}/mcp", "--token-file", str(token)]
        shim = StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))

        async def session() -> list[Said]:
            deadline = time.monotonic() + 60
            async with Client(shim, mode=mode) as client:
                await client.list_tools()
                return [await served(client, name, given, deadline) for name, given in calls]

        return asyncio.run(session())

    def hang_up(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def everywhere(self, revision: str) -> bool:
        token = self.token("root", roles=["admin"])
        answer = self.get("/admin/policy/status", {"Authorization": f"Bearer {token}"})
        return [one and one["active_sha256"] for one in answer.json["replicas"]] == [revision] * 2


async def served(client: Client, name: str, given: dict[str, Any], deadline: float) -> Said:
    """As an agent would: a server that is still starting is asked again."""
    while True:
        said = heard(await client.call_tool(name, given))
        if said.refusal != "upstream_unavailable" or time.monotonic() > deadline:
            return said
        await asyncio.sleep(0.2)


def heard(result: CallToolResult) -> Said:
    block = result.content[0]
    assert isinstance(block, TextContent)
    return Said(block.text, result.meta or {}, bool(result.is_error))


def test_from_a_clients_file_to_an_enforced_policy(stranger: Stranger) -> None:
    began = time.monotonic()

    # 1. Their file becomes a configuration that observes; secrets are out of it.
    init = stranger.airlock("init", "--from", str(stranger.file), "--dir", str(stranger.home))
    assert init.returncode == 0, init.stderr
    assert SECRET not in init.stdout + (stranger.home / "airlock.yaml").read_text()
    assert "alwaysAllow is not taken over" in init.stdout
    secrets = sorted((stranger.home / "secrets").iterdir())
    assert [path.name for path in secrets] == ["every-thing.THINGS_API_TOKEN", "web.Authorization"]
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}

    with Gateway(stranger.home) as gateway:
        token = stranger.home / "token"
        token.write_text(gateway.token("stranger", "home", roles=["agent"]))

        # 2. A day of work. The policy in force knows no such role and would refuse every call.
        day = gateway.play(stranger.session(), token, mode="legacy")
        assert [said.text for said in day if said.is_error] == []
        assert {said.meta["dev.airlock/would-deny"] for said in day} == {"policy_denied: role_missing"}
        assert "THINGS_API_TOKEN" in day[5].text
        assert "green" in day[5].text
        ready = gateway.get("/ready").json["components"]["policy"]
        assert (ready["state"], ready["reason"].split(" ")[0]) == ("degraded", "observing")
        rows = gateway.recorded("subject='stranger' AND phase='outcome'", count=len(day))
        assert {row["decision"] for row in rows} == {"allow"}
        assert {json.loads(row["metadata"])["would_deny"] for row in rows} == {"policy_denied: role_missing"}

        # 3. The smallest policy for what was seen, which passes its own tests.
        policy = stranger.home / "policy"
        config = ["--config", str(gateway.config)]
        suggest = stranger.airlock("policy", "suggest", *config, "--out", str(policy), "--json")
        assert suggest.returncode == 0, suggest.stderr
        answer = json.loads(suggest.stdout)
        assert (answer["calls"], len(answer["tools"])) == (len(day), len(day))
        assert stranger.airlock("policy", "test", str(policy)).returncode == 0
        check = json.loads(stranger.airlock("policy", "check", str(policy), "--json").stdout)
        assert (check["usable"], check["warnings"]) == (True, [])

        # 4. Enforce it. The same session passes; what was not seen does not.
        gateway.sections["policy"] = {"path": "policy"}
        for server in gateway.sections["servers"]:
            del server["mode"]
        gateway.write()
        gateway.hang_up()
        until(lambda: gateway.everywhere(check["revision"]), within=60, what="the policy on both workers")
        assert gateway.get("/ready").json["components"]["policy"]["state"] == "ok"
        other = [
            ("files__read_text_file", {"path": "/etc/hostname"}),
            ("files__read_text_file", {"path": f"{stranger.shelf}/hello.txt", "tail": 1}),
        ]
        again = gateway.play([*stranger.session(), *other], token, mode="auto")
        assert [said.text for said in again[: len(day)] if said.is_error] == []
        assert "dev.airlock/would-deny" not in str([said.meta for said in again])
        assert [said.refusal for said in again[len(day) :]] == ["argument_not_seen", "argument_not_seen"]
        assert "files__move_file" not in gateway.tools(token.read_text())

    took = time.monotonic() - began
    print(f"from mcp.json to an enforced policy: {took:.1f} s")  # noqa: T201 - the figure that is promised
    assert took < LIMIT
