"""A stdio MCP server that misbehaves on request. Standard library only, for any Python 3.

`toy.py [legacy|modern|mute|fragile|slow|alien|incompatible] [telling] [logging]`: how it meets
`server/discover`, whether it tells of changes of resources, and whether it takes a level for its log. Its
tools are the functions below.
"""

from __future__ import annotations

import heapq
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

Params = dict[str, Any]

ERA = sys.argv[1] if len(sys.argv) > 1 else "legacy"
TELLING = {"resources": {"subscribe": True}} if "telling" in sys.argv else {}
if "logging" in sys.argv:
    TELLING["logging"] = {}
LEVELS: list[str] = []
DECLARED: list[Params] = []
REPLIES: list[Params] = []
WATCHED: set[str] = set()
LISTENING: dict[int, set[str]] = {}
CANCELLED: list[int] = []
ASKING: list[int] = []
HOARD: list[bytearray] = []
LOCK = threading.Lock()
TIMED: list[Any] = []
TIMER: list[threading.Thread] = []
TURN = threading.Condition()


def say(message: Params) -> None:
    write(json.dumps(message))


def write(text: str) -> None:
    with LOCK:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def answer(number: int, result: Params) -> None:
    say({"jsonrpc": "2.0", "id": number, "result": result})


def text(number: int, value: Any) -> None:
    answer(number, {"content": [{"type": "text", "text": json.dumps(value)}]})


def echo(number: int, params: Params) -> None:
    text(number, params)


def after(seconds: float, number: int, value: Any) -> None:
    """Answer later. One thread does all of it: a host may refuse hundreds."""
    with TURN:
        heapq.heappush(TIMED, (time.monotonic() + seconds, number, value))
        if not TIMER:
            TIMER.append(threading.Thread(target=answer_timed))
            TIMER[0].start()
        TURN.notify()


def answer_timed() -> None:
    while True:
        with TURN:
            if not TIMED:
                TIMER.clear()
                return
            left = TIMED[0][0] - time.monotonic()
            if left > 0:
                TURN.wait(left)
                continue
            _, number, value = heapq.heappop(TIMED)
        text(number, value)


def later(number: int, params: Params) -> None:
    after(params["arguments"]["seconds"], number, params["arguments"])


def whoami(number: int, params: Params) -> None:
    text(
        number,
        {
            "uid": os.getuid(),
            "gid": os.getgid(),
            "groups": os.getgroups(),
            "pid": os.getpid(),
            "sid": os.getsid(0),
            "pgid": os.getpgid(0),
            "cwd": os.getcwd(),
            "env": dict(os.environ),
            "home": os.listdir(os.environ["HOME"]),
            "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
            "nproc": resource.getrlimit(resource.RLIMIT_NPROC),
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
            "status": Path("/proc/self/status").read_text(),
        },
    )


def read(number: int, params: Params) -> None:
    try:
        text(number, Path(params["arguments"]["path"]).read_text())
    except OSError as problem:
        text(number, {"errno": problem.errno})


def progress(number: int, params: Params) -> None:
    token = params["_meta"]["progressToken"]
    for step in range(params["arguments"]["steps"]):
        body = {"progressToken": token, "progress": step, "message": params["arguments"]["marker"]}
        say({"jsonrpc": "2.0", "method": "notifications/progress", "params": body})
    text(number, params["arguments"]["marker"])


def noise(number: int, params: Params) -> None:
    say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "psst"}})
    say(
        {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": 999, "progress": 1},
        }
    )
    say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}})
    say({"jsonrpc": "2.0", "id": 4711, "result": {"for": "nobody"}})
    say({"jsonrpc": "2.0", "id": "1", "result": {"for": "nobody"}})
    text(number, "done")


def ask(number: int, params: Params) -> None:
    ASKING.append(number)
    say({"jsonrpc": "2.0", "id": "question", "method": params["arguments"]["method"], "params": {}})


def mine(number: int, params: Params) -> None:
    text(number, {"pid": os.getpid(), "uid": os.getuid(), "declared": DECLARED[-1:]})


def log(number: int, params: Params) -> None:
    body = {"level": "info", "data": params["arguments"]["data"]}
    say({"jsonrpc": "2.0", "method": "notifications/message", "params": body})
    text(number, LEVELS)


def question(name: str) -> None:
    say({"jsonrpc": "2.0", "id": name, "method": "elicitation/create", "params": {}})


def ask_and_answer(number: int, params: Params) -> None:
    question("over")
    text(number, "done")


def ask_later(number: int, params: Params) -> None:
    text(number, "done")
    question("later")


def take_back(number: int, params: Params) -> None:
    question("mistake")
    body = {"requestId": "mistake"}
    say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": body})
    text(number, "done")


def replies(number: int, params: Params) -> None:
    text(number, REPLIES)


def changed(number: int, params: Params) -> None:
    for _ in range(params["arguments"]["times"]):
        say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
    text(number, "done")


def updated(number: int, params: Params) -> None:
    uri = params["arguments"]["uri"]
    say({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
    text(number, "done")


def watched(number: int, params: Params) -> None:
    text(number, {"subscribed": sorted(WATCHED), "listening": sorted(map(sorted, LISTENING.values()))})


def cancelled(number: int, params: Params) -> None:
    text(number, CANCELLED)


def hang(number: int, params: Params) -> None:
    return


def late(number: int, params: Params) -> None:
    after(params["arguments"]["seconds"], number, "too late")


def leave(number: int, params: Params) -> None:
    sys.stderr.write("leaving\n")
    sys.stderr.flush()
    os._exit(params["arguments"].get("code", 3))


def answer_and_leave(number: int, params: Params) -> None:
    text(number, "last words")
    os._exit(0)


def nan(number: int, params: Params) -> None:
    write(f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[],"value":NaN}}}}')


def duplicate(number: int, params: Params) -> None:
    write(f'{{"jsonrpc":"2.0","id":{number},"result":{{"content":[],"content":[1]}}}}')


def both(number: int, params: Params) -> None:
    write(f'{{"jsonrpc":"2.0","id":{number},"result":{{}},"error":{{"code":1,"message":""}}}}')


def raw(number: int, params: Params) -> None:
    write(params["arguments"]["line"])
    text(number, "done")


def garbage(number: int, params: Params) -> None:
    for line in range(params["arguments"]["lines"]):
        write(f"this is no JSON {line}")
    text(number, "done")


def flood(number: int, params: Params) -> None:
    while True:
        write("x" * 4096)


def long_line(number: int, params: Params) -> None:
    text(number, "x" * params["arguments"]["bytes"])


def complain(number: int, params: Params) -> None:
    arguments = params["arguments"]
    for _ in range(arguments["lines"]):
        sys.stderr.write(arguments["line"] + "\n")
    sys.stderr.flush()
    text(number, "done")


def deaf(number: int, params: Params) -> None:
    text(number, "done")
    time.sleep(params["arguments"]["seconds"])


def close_output(number: int, params: Params) -> None:
    os.close(1)
    time.sleep(3600)


def swell(number: int, params: Params) -> None:
    HOARD.append(bytearray(os.urandom(1) * (params["arguments"]["mib"] << 20)))
    text(number, "done")


def stubborn(number: int, params: Params) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ["STUBBORN"] = "1"
    text(number, os.getpid())


def daemons(number: int, params: Params) -> None:
    """Double-forked, in sessions of their own, deaf to SIGTERM."""
    pids: list[int] = []
    for _ in range(params["arguments"]["count"]):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            if os.fork():
                os._exit(0)
            os.write(writer, str(os.getpid()).encode())
            os.closerange(0, 3)
            time.sleep(3600)
            os._exit(0)
        os.waitpid(child, 0)
        pids.append(int(os.read(reader, 32)))
        os.close(reader)
        os.close(writer)
    text(number, pids)


TOOLS = [
    echo,
    later,
    whoami,
    read,
    progress,
    noise,
    ask,
    mine,
    log,
    ask_and_answer,
    ask_later,
    take_back,
    replies,
    changed,
    updated,
    watched,
    cancelled,
    hang,
    late,
    leave,
    answer_and_leave,
    nan,
    duplicate,
    both,
    raw,
    garbage,
    flood,
    long_line,
    complain,
    deaf,
    close_output,
    swell,
    stubborn,
    daemons,
]
CALLS = {tool.__name__: tool for tool in TOOLS}


def discover(number: int) -> None:
    found = {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"tools": {"listChanged": True}, **TELLING},
        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "toy", "version": "1"}},
    }
    if ERA in {"modern", "slow"}:
        answer(number, found)
    elif ERA == "alien":
        answer(number, {})
    elif ERA == "incompatible":
        answer(number, {**found, "supportedVersions": ["2031-01-01"]})
    elif ERA == "fragile":
        os._exit(1)
    elif ERA == "legacy":
        say({"jsonrpc": "2.0", "id": number, "error": {"code": -32603, "message": "what?"}})


def initialize(number: int, params: Params) -> None:
    DECLARED.append(params["capabilities"])
    if ERA in {"modern", "slow"}:
        say({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "not in this era"}})
        return
    info = {"name": "toy", "version": "1"}
    version = "1999-01-01" if ERA == "incompatible" else "2025-06-18"
    answer(number, {"protocolVersion": version, "capabilities": {"tools": {}, **TELLING}, "serverInfo": info})


def listen(number: int, params: Params) -> None:
    LISTENING[number] = set(params["notifications"].get("resourceSubscriptions", ()))


def subscribe(number: int, params: Params) -> None:
    WATCHED.add(params["uri"])
    answer(number, {})


def unsubscribe(number: int, params: Params) -> None:
    WATCHED.discard(params["uri"])
    answer(number, {})


def no_resources(number: int, params: Params) -> None:
    answer(number, {"resources": [], "resourceTemplates": []})


def level(number: int, params: Params) -> None:
    LEVELS.append(params["level"])
    answer(number, {})


def replied(message: Params) -> None:
    if message["id"] == "question":
        text(ASKING.pop(), message)
    else:
        REPLIES.append(message)


METHODS = {
    "initialize": initialize,
    "logging/setLevel": level,
    "resources/list": no_resources,
    "resources/templates/list": no_resources,
    "resources/subscribe": subscribe,
    "resources/unsubscribe": unsubscribe,
    "subscriptions/listen": listen,
}


def handle(message: Params) -> None:
    method, params = message.get("method"), message.get("params", {})
    number: int = message.get("id", 0)
    if method is None:
        replied(message)
    elif method == "server/discover":
        discover(number)
    elif method == "notifications/cancelled":
        CANCELLED.append(params["requestId"])
        LISTENING.pop(params["requestId"], None)
    elif method in METHODS:
        METHODS[method](number, params)
    elif method == "tools/list":
        names = sorted(CALLS)
        at = int(params.get("cursor", 0))
        page = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in names[at : at + 10]]}
        answer(number, {**page, "nextCursor": str(at + 10)} if at + 10 < len(names) else page)
    elif method == "tools/call":
        CALLS[params["name"]](number, params)


def main() -> None:
    if ERA == "slow":
        time.sleep(1)
    for line in sys.stdin:
        handle(json.loads(line))
    while os.environ.get("STUBBORN"):
        time.sleep(3600)


main()
