"""What Prometheus reads from a real gateway with two workers, and what the shipped alerts make of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airlock.app.facts import metrics_directory
from airlock.model.health import COMPONENTS
from tests.system.deployment import Deployment, free_port, until
from tests.system.recorder import Recorder

RULES = Path(__file__).parents[2] / "deploy/prometheus/airlock.rules.yml"
STAGES = ("request", "auth", "policy", "upstream", "redaction", "audit")


@pytest.fixture(scope="module")
def fresh() -> dict[str, str]:
    """Filled by the gateway's fixture: what a gateway says that nobody has called."""
    return {}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, fresh: dict[str, str]) -> Iterator[Deployment]:
    folder: Path = tmp_path_factory.mktemp("metrics")
    with Recorder() as upstream:
        server = {"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}
        with Deployment(folder, [{**server, "read_only": True}]) as deployment:
            fresh["text"] = scrape(deployment)
            yield deployment


def scrape(gateway: Deployment) -> str:
    answer = gateway.get("/metrics")
    assert answer.status == 200
    return answer.body.decode()


def value(gateway: Deployment, sample: str) -> float | None:
    """The value of a sample; None where there is none."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", scrape(gateway), re.MULTILINE)
    return float(found[1]) if found else None


def grows(gateway: Deployment, sample: str, before: float | None, by: float) -> None:
    """Wait until a sample is larger by so much at least: workers say what they counted once a second, also
    what they counted for the test before."""
    wanted = (before or 0) + by
    until(lambda: (value(gateway, sample) or 0) >= wanted, what=f"{sample} {before} + {by}")


def promtool(*arguments: str, given: str | None = None) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        input=given, cwd=RULES.parent, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def names_in_rules() -> set[str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    texts = [rule["expr"] for group in groups for rule in group["rules"]]
    return {name for text in texts for name in re.findall(r"airlock_[a-z_]+", text)}


@pytest.mark.usefixtures("gateway")
def test_every_metric_of_an_alert_is_in_the_first_answer(fresh: dict[str, str]) -> None:
    shown = set(re.findall(r"^(airlock_[a-z_]+)", fresh["text"], re.MULTILINE))
    assert names_in_rules()
    assert names_in_rules() - shown == set()


@pytest.mark.usefixtures("gateway")
def test_failures_are_counted_from_zero(fresh: dict[str, str]) -> None:
    assert re.search(r"^airlock_requests_failed_total 0\.0$", fresh["text"], re.MULTILINE)
    assert 'airlock_requests_total{method="tools/call",status="200"} 0.0' in fresh["text"]
    assert 'airlock_policy_decisions_total{decision="error"} 0.0' in fresh["text"]
    assert 'airlock_policy_reload_total{result="refused"} 0.0' in fresh["text"]


@pytest.mark.usefixtures("gateway")
def test_promtool_finds_nothing_wrong_with_the_answer(fresh: dict[str, str]) -> None:
    promtool("check", "metrics", given=fresh["text"])


def test_promtool_finds_nothing_wrong_with_the_alerts() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_alerts_fire_when_something_is_wrong_and_only_then() -> None:
    promtool("test", "rules", "airlock.test.yml")


def test_a_running_gateway_says_that_it_is_up_and_ready(gateway: Deployment) -> None:
    text = scrape(gateway)
    assert "airlock_up 1.0" in text
    for component in COMPONENTS:
        assert f'airlock_ready{{component="{component}"}} 1.0' in text


def test_a_call_is_counted_by_every_stage(gateway: Deployment) -> None:
    samples = [f"airlock_{stage}_duration_seconds_count" for stage in STAGES]
    call = 'airlock_requests_total{method="tools/call",status="200"}'
    allow = 'airlock_policy_decisions_total{decision="allow"}'
    written = "airlock_audit_written_total"
    before = {sample: value(gateway, sample) for sample in (*samples, call, allow, written)}
    for _ in range(6):
        assert gateway.call("low__echo", {"text": "x"}, gateway.token()).status == 200
    for sample, earlier in before.items():
        grows(gateway, sample, earlier, 12 if "redaction" in sample else 6)
    assert (value(gateway, "airlock_audit_storage_free_bytes") or 0) > 0


def test_a_fault_is_a_failure_and_a_refusal_is_not(gateway: Deployment) -> None:
    failed, none = "airlock_requests_failed_total", 'airlock_requests_total{method="none",status="401"}'
    before, refused = value(gateway, failed), value(gateway, none)
    assert gateway.call("low__echo", {"text": "x"}, "no token").status == 401
    assert gateway.call("low__garbage", {"text": "x"}, gateway.token()).refusal["code"] > 50000
    grows(gateway, none, refused, 1)
    grows(gateway, failed, before, 1)


def test_nobody_is_named(gateway: Deployment) -> None:
    gateway.call("low__echo", {"text": "argument-of-this-test"}, gateway.token("subject-of-this-test"))
    gateway.post({"jsonrpc": "2.0", "id": 1, "method": "method-of-this-test"}, gateway.token())
    text = scrape(gateway)
    assert "of-this-test" not in text
    assert "127.0.0.1" not in text
    assert "acme" not in text


def test_reloads_are_counted_and_one_policy_is_shown(gateway: Deployment) -> None:
    accepted, refused = (
        f'airlock_policy_reload_total{{result="{result}"}}' for result in ("accepted", "refused")
    )
    before = value(gateway, accepted), value(gateway, refused)
    assert gateway.process is not None
    good = gateway.config.read_text()
    gateway.process.send_signal(signal.SIGHUP)
    grows(gateway, accepted, before[0], 1)
    gateway.config.write_text(good + "\nnonsense: 1\n")
    try:
        gateway.process.send_signal(signal.SIGHUP)
        grows(gateway, refused, before[1], 1)
    finally:
        gateway.config.write_text(good)
    info = re.compile(r"^airlock_policy_revision_info\{", re.MULTILINE)
    until(lambda: len(info.findall(scrape(gateway))) == 1, what="one revision")


def test_what_a_dead_worker_held_is_forgotten(gateway: Deployment) -> None:
    directory = metrics_directory(gateway.data)
    victim = gateway.children("airlock.worker")[0]
    until(lambda: list(directory.glob(f"gauge_live*_{victim}.db")), what="it holds something")
    subprocess.run(["kill", "-9", str(victim)], check=True)
    until(lambda: not list(directory.glob(f"gauge_live*_{victim}.db")), what="its files are gone")
    assert list(directory.glob(f"counter_{victim}.db"))
    until(lambda: len(gateway.children("airlock.worker")) == 2, what="another worker")
    until(lambda: value(gateway, 'airlock_ready{component="audit"}') == 1, what="ready again")


def ask(port: int, path: str, **query: str) -> Any:
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def test_prometheus_reads_the_gateway_and_its_alerts(gateway: Deployment, tmp_path: Path) -> None:
    port = free_port()
    target = {"static_configs": [{"targets": [f"127.0.0.1:{gateway.port}"]}]}
    (tmp_path / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [{"job_name": "airlock", **target}],
            }
        )
    )
    own = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}", *own], stdout=log, stderr=log
        ) as prometheus,
    ):
        try:
            until(
                lambda: (found := ask(port, "/api/v1/query", query="airlock_up")) and found["result"],
                within=60,
                what="Prometheus has a value",
            )

            def evaluated() -> list[str] | None:
                found: dict[str, list[dict[str, Any]]] = ask(port, "/api/v1/rules") or {"groups": []}
                health: list[str] = [rule["health"] for group in found["groups"] for rule in group["rules"]]
                return health if health and "unknown" not in health else None

            assert set(until(evaluated, within=60, what="every alert was evaluated")) == {"ok"}
        finally:
            prometheus.terminate()
