"""One scripted session with the official SDKs: each client, era of the client, era of the server, transport.

Clients: the Python SDK and the TypeScript SDK in both eras, and the TypeScript SDK's first generation, which
is legacy only. Behind a governed gateway of two workers: the fixture of the conformance suite, legacy and
modern, over HTTP and over stdio. Each session lists, calls with progress, cancels a call, is asked for input,
subscribes to a resource and completes an argument. All sessions run at once: none may hear of another's.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.conformance.governed import fixture, over_stdio
from tests.system.deployment import Deployment
from tests.system.sdk_session import Cell, run
from tests.upstream.stdio_parts import NODE, PARTS

PACKAGES = PARTS.parent / "sdk/node_modules"
PROGRAM = Path(__file__).with_name("sdk_session.mjs")
STEPS = ("connect", "list", "progress", "cancel", "elicitation", "subscribe", "completion", "close")
ERAS = ("legacy", "modern")
CLIENTS = [*itertools.product(("python", "typescript"), ERAS), ("typescript-1", "legacy")]
SERVERS = [f"{era}-{transport}" for era, transport in itertools.product(ERAS, ("http", "stdio"))]
TABLE = [(language, era, server) for (language, era), server in itertools.product(CLIENTS, SERVERS)]
WITHIN = 300.0
"""Seconds for all sessions; a session bounds every step of its own."""

Steps = dict[str, str]

# What the SDK calls deprecated is what its legacy era has.
pytestmark = [
    pytest.mark.unmeasured,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Steps]]:
    """What came of every session, by its name."""
    folder = tmp_path_factory.mktemp("sdk")
    with ExitStack() as stack:
        servers = [
            {"name": f"{era}-http", "transport": "http", "url": stack.enter_context(fixture(folder, era))}
            for era in ERAS
        ]
        servers += [over_stdio("legacy", "session") | {"name": "legacy-stdio"}, over_stdio("modern")]
        deployment = stack.enter_context(Deployment(folder, servers))
        cells = [
            Cell(
                cell=name(*row),
                language=row[0],
                era=row[1],
                url=f"{deployment.url}/mcp/{row[2]}",
                token=deployment.token(name(*row), roles=["admin"]),
            )
            for row in TABLE
        ]
        yield asyncio.run(everything(cells))


def name(language: str, era: str, server: str) -> str:
    return f"{language}-{era}-{server}"


async def everything(cells: list[Cell]) -> dict[str, Steps]:
    """All sessions at once."""
    here = [cell for cell in cells if cell.language == "python"]
    there = [cell for cell in cells if cell.language != "python"]
    in_python = asyncio.gather(*(run(cell) for cell in here))
    node, found = await asyncio.gather(in_node(there), in_python)
    return node | dict(zip((cell.cell for cell in here), found, strict=True))


async def in_node(cells: list[Cell]) -> dict[str, Steps]:
    """The sessions of the TypeScript SDK."""
    assert PACKAGES.exists(), f"the TypeScript SDK is not installed: {PACKAGES} (make setup)"
    process = await asyncio.create_subprocess_exec(
        str(NODE), str(PROGRAM), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    given = json.dumps({"folder": str(PACKAGES), "cells": msgspec.to_builtins(cells)}).encode()
    try:
        out, err = await asyncio.wait_for(process.communicate(given), WITHIN)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return {line["cell"]: line["steps"] for line in map(json.loads, out.splitlines())}


@pytest.mark.parametrize(("language", "era", "server"), TABLE)
def test_the_whole_session(sessions: dict[str, Steps], language: str, era: str, server: str) -> None:
    steps = sessions[name(language, era, server)]
    assert steps == dict.fromkeys(STEPS, "ok")
