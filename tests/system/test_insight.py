"""What goes on in a running gateway: heap, caches, latency, revisions and traces of all its workers."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from airlock.cli import program
from tests.core.protobuf import fields
from tests.faults.seams import Seam, leak
from tests.system.deployment import Deployment, free_port, until
from tests.system.recorder import Recorder

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = CLIENT.split("-")[1:3]
CANARY = "ZANZIBAR-4711"
STRANGER = {"X-Forwarded-For": "203.0.113.7"}


class Receiver:
    """The process that takes spans, and what it took."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.file = folder / "spans.jsonl"
        self.file.touch()
        program = Path(__file__).with_name("otlp_receiver.py")
        self.process = subprocess.Popen([sys.executable, str(program), str(self.port), str(self.file)])
        until(self._listens, what="a receiver")

    def _listens(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return True
        except OSError:
            return False

    def spans(self, trace: str) -> list[dict[str, Any]]:
        found = [
            json.loads(line) for line in self.file.read_text().splitlines(keepends=True) if line[-1] == "\n"
        ]
        return [span for span in found if span["trace"] == trace]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(30)


class Site(Deployment):
    """A gateway of two workers with a receiver of traces and a server behind it."""

    def __init__(self, folder: Path, upstream: Recorder, receiver: Receiver) -> None:
        self.upstream, self.receiver = upstream, receiver
        self.debug_port = free_port()
        servers = [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
        super().__init__(
            folder,
            servers,
            server={
                "debug_port": self.debug_port,
                "metrics_allow": ["127.0.0.0/8"],
                "trusted_proxies": ["127.0.0.1"],
            },
            tracing={"endpoint": f"http://127.0.0.1:{receiver.port}/v1/traces"},
        )

    def ask(self, *command: str) -> tuple[int, Any]:
        """Exit code and answer of a command."""
        access = [] if command[0] == "debug" else ["--token", self.token("operator", roles=["admin"])]
        result = CliRunner().invoke(program(), [*command, "--json", "--config", str(self.config), *access])
        assert result.stdout, result.output
        return result.exit_code, json.loads(result.stdout)

    def heap(self) -> bytes:
        with closing(http.client.HTTPConnection("localhost", self.debug_port, timeout=120)) as connection:
            connection.request("GET", "/debug/pprof/heap")
            answer = connection.getresponse()
            assert answer.status == 200
            return answer.read()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("insight")
    seam = Seam(folder / "seam")
    receiver = Receiver(folder)
    try:
        with pytest.MonkeyPatch.context() as patch, Recorder() as upstream:
            for name, value in seam.environment.items():
                patch.setenv(name, value)
            with Site(folder, upstream, receiver) as gateway:
                yield gateway
    finally:
        receiver.stop()


def call(site: Site, trace: str, **more: Any) -> int:
    meta = {"traceparent": f"00-{trace}-{PARENT}-01", "baggage": f"who={CANARY}", "tracestate": f"a={CANARY}"}
    params = {"name": "low__echo", "arguments": {"text": CANARY}, "_meta": meta, **more}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return site.post(message, site.token(CANARY)).status


def test_a_call_is_a_trace_from_the_client_to_the_server(site: Site) -> None:
    assert call(site, TRACE) == 200
    spans = until(lambda: len(found := site.receiver.spans(TRACE)) == 2 and found, what="two spans")
    client, server = sorted(spans, key=lambda span: -span["kind"])
    assert (server["name"], client["name"]) == ("tools/call low__echo", "tools/call echo")
    assert (server["parent"], client["parent"]) == (PARENT, server["span"])
    assert server["events"][0] == "authenticate"
    assert server["events"][-1] == "seal"
    assert server["attributes"]["http.response.status_code"] == 200
    assert server["resource"]["service.name"] == "airlock"
    metas = [seen.message.get("params", {}).get("_meta", {}) for seen in site.upstream.seen]
    (sent,) = [meta for meta in metas if TRACE in meta.get("traceparent", "")]
    assert sent["traceparent"] == f"00-{TRACE}-{client['span']}-01"
    assert not {"baggage", "tracestate"} & set(sent)
    assert CANARY not in json.dumps(spans)
    site.recorded("request_id = ?", server["attributes"]["airlock.request_id"])


def test_a_receiver_that_hangs_stops_no_call(site: Site) -> None:
    site.receiver.process.send_signal(signal.SIGSTOP)
    hung = [call(site, f"{number:032x}") for number in range(1, 6)]
    site.receiver.process.send_signal(signal.SIGCONT)
    assert hung == [200] * 5
    assert call(site, f"{6:032x}") == 200
    until(lambda: len(site.receiver.spans(f"{6:032x}")) == 2, what="spans of a call after that")


def test_caches_latency_and_revisions_come_from_every_worker(site: Site) -> None:
    for number in range(4):
        assert call(site, f"{number + 100:032x}") == 200
    code, caches = site.ask("cache", "stats")
    assert (code, caches["replicas_acked"], caches["replicas_total"]) == (0, 2, 2)
    for name in ("policy_decisions", "tokens"):
        recent = caches["caches"][name]["1h"]
        assert recent["hits"] + recent["misses"] >= 4
        assert [replica[name]["state"] for replica in caches["replicas"]] == ["on", "on"]
    code, latency = site.ask("status", "--latency")
    assert code == (0 if latency["p95_ms"] <= 200 else 1)
    assert latency["stages"]["upstream"]["1h"]["count"] >= 4
    assert latency["stages"]["request"]["1h"]["p50_ms"] > 0
    code, revisions = site.ask("status", "--revisions")
    assert (code, revisions["replicas_acked"]) == (0, 2)
    code, policy = site.ask("policy", "status")
    assert (code, [each["cache"]["state"] for each in policy["running"]["replicas"]]) == (0, ["on", "on"])


def test_metrics_are_for_the_named_networks(site: Site) -> None:
    assert site.get("/metrics").status == 200
    refused = site.get("/metrics", STRANGER)
    assert (refused.status, refused.json["code"]) == (403, "metrics_not_allowed")
    assert site.get("/ready", STRANGER).status == 200


def test_the_function_that_leaks_is_first(site: Site) -> None:
    code, first = site.ask("debug", "heap")
    assert (code, first["acked"], first["suspects"]) == (3, 2, [])
    workers = site.children("airlock.worker")
    with leak(Seam(site.folder / "seam"), workers, lambda: site.get("/live"), mib=96) as facts:
        code, found = site.ask("debug", "heap", "--top", "3")
        profile = fields(gzip.decompress(site.heap()))
    name = facts.values["function"]
    assert code == 1
    assert found["top"][0]["function"].endswith(f".{name}")
    assert found["suspects"][0]["bytes"] >= 96 << 20
    words = [cast("bytes", text).decode() for text in profile[6]]
    assert any(word.endswith(f".{name}") for word in words)
    assert "inuse_space" in words
    comments = [words[cast("int", comment)] for comment in profile[13]]
    assert len(comments) == 2
    assert all("allocations are traced since 20" in comment for comment in comments)
