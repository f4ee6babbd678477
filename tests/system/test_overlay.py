"""A running gateway whose overlay is patched as runbooks do it, and whose settings are held for a while."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.system.deployment import Answer, Deployment, until
from tests.system.lines import Lines
from tests.system.recorder import Recorder

SOURCE = "X-Forwarded-For"


class Patched(Deployment):
    """A gateway with an overlay, and an operator whose address no test limits."""

    @property
    def overlay(self) -> Path:
        return self.folder / "overlay.yaml"

    def patch(self, text: str) -> None:
        """As a volume is updated: another file under the same name."""
        fresh = self.overlay.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.overlay)

    def admin(self, method: str, path: str, body: object = None) -> Answer:
        headers = {"Authorization": f"Bearer {self.token('root', roles=['admin'])}", SOURCE: elsewhere()}
        data = None if body is None else json.dumps(body).encode()
        return self.send(method, path, data, headers)

    def effective(self) -> dict[str, Any]:
        found = self.admin("GET", "/admin/overrides").json["settings"]
        return {each["key"]: each["effective"] for each in found if each["leases"]}

    def holds(self, **values: object) -> None:
        """Wait until these keys have these values."""
        wanted = {key.replace("__", "."): value for key, value in values.items()}
        until(lambda: self.effective().items() >= wanted.items(), what=f"{wanted}\n{self.tail()}")

    def changed_everywhere(self, key: str, value: object) -> None:
        """Wait until both workers said that this is in force."""
        until(
            lambda: len([line for line in self.lines("setting_changed") if _says(line, key, value)]) >= 2,
            what=f"{key}={value} in both workers\n{self.tail()}",
        )


_addresses = itertools.count()


def elsewhere() -> str:
    """An address that was hardly used: limits by address hold for whoever looks often."""
    n = next(_addresses)
    return f"198.18.{n // 250 % 250}.{n % 250}"


def _says(line: dict[str, Any], key: str, value: object) -> bool:
    return line["key"] == key and line["value"] == value


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patched]:
    folder = tmp_path_factory.mktemp("overlay")
    with Recorder() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRLOCK_OVERLAY", str(folder / "overlay.yaml"))
        servers = [{"name": "low", "transport": "http", "url": upstream.url, "sensitivity": "low"}]
        proxies = {"trusted_proxies": ["127.0.0.1/32"]}
        with Patched(folder, servers, server=proxies) as deployment:
            yield deployment


def refused(gateway: Patched, token: str) -> bool:
    """Whether a call of this token from an address of its own is limited."""
    answer = gateway.call("low__echo", {"text": "x"}, token, headers={SOURCE: elsewhere()})
    return "error" in answer.json or bool(answer.json["result"].get("isError"))


def test_patches_compose_and_survive_a_restart(gateway: Patched) -> None:
    gateway.patch('rate_limiting:\n  per_tenant: "20/h"\n  per_ip: "50/min"\n')
    gateway.holds(rate_limiting__per_tenant="20/h", rate_limiting__per_ip="50/min")
    gateway.changed_everywhere("rate_limiting.per_tenant", "20/h")
    token = gateway.token("limited", "patched")
    until(lambda: refused(gateway, token), what="a call that is limited")
    gateway.patch('logging:\n  level: "debug"\n  audit_all_requests: true\n')
    gateway.changed_everywhere("logging.level", "debug")
    gateway.holds(rate_limiting__per_tenant="20/h", logging__level="debug", logging__audit_all_requests=True)
    until(lambda: refused(gateway, token), what="a call that is still limited")
    for kind in ("ratelimit.tighten", "logging.enhance"):
        where = "action='lease_applied' AND metadata LIKE '%\"config\"%' AND metadata LIKE ?"
        assert gateway.recorded(where, f"%{kind}%", count=2)
    before, given = gateway.effective(), from_overlay(gateway)
    gateway.stop()
    gateway.start()
    until(lambda: gateway.effective() == before, what="the same settings after a restart")
    assert from_overlay(gateway) == given  # a text counts once, also over a restart


def from_overlay(gateway: Patched) -> set[str]:
    """The leases that texts of the overlay gave."""
    leases = gateway.admin("GET", "/api/v1/leases").json["leases"]
    return {lease["id"] for lease in leases if lease["origin"] == "config"}


def test_debug_lines_are_written_by_both_workers(gateway: Patched) -> None:
    gateway.admin("POST", "/admin/overrides", {"key": "logging.level", "value": "debug"})
    token = gateway.token("verbose")

    def said() -> bool:
        before = len(gateway.lines("request_answered"))
        with Lines(gateway) as lines:
            for line in lines.each:
                line.call("low__echo", token, headers={SOURCE: elsewhere()})
        return len(gateway.lines("request_answered")) - before >= 2

    until(said, what="a line of each worker, written before its answer")
    line = gateway.lines("request_answered")[-1]
    assert line["level"] == "debug"
    assert {"authenticate", "authorize"} <= line["stages_ms"].keys()


def test_capacity_is_held_by_the_newest_text(gateway: Patched) -> None:
    gateway.patch('policy:\n  cacheTTL: "10m"\n  cacheSize: 20000\n')
    gateway.holds(policy__cache_ttl="10m", policy__cache_size=20000)
    gateway.patch("server:\n  maxConnections: 1000\n  maxClients: 500\npolicy: {cacheTTL: 20m}\n")
    gateway.holds(policy__cache_ttl="20m", policy__cache_size=20000, server__max_clients=500)
    gateway.changed_everywhere("policy.cache_ttl", 1200.0)
    gateway.changed_everywhere("server.max_clients", 500)
    assert not refused(gateway, gateway.token("after-the-cache"))


def test_what_loosens_is_refused_and_said_everywhere(gateway: Patched) -> None:
    gateway.patch("monitoring: {enhanced: true, duration: 24h}\n")
    gateway.holds(monitoring__enhanced=True)
    gateway.patch('logging: {level: debug}\nrate_limiting: {per_token: "2000000/min"}\n')

    def standing() -> Any:
        overlay = gateway.admin("GET", "/admin/overrides").json["overlay"]
        return overlay if overlay["state"] == "refused" else None

    overlay = until(standing, what="the refusal")
    (problem,) = overlay["problems"]
    assert problem["where"] == f"{gateway.overlay}:2"
    assert "protects less" in problem["what"]
    ready = gateway.get("/ready")
    until(lambda: config_of(gateway)["reason"] == "fragment refused", what="the component")
    assert ready.status == 200
    assert [line["where"] for line in gateway.lines("config_fragment_rejected")] == [problem["where"]]
    wrong = gateway.admin("GET", "/admin/status").json["wrong"]
    assert any("the overlay is refused" in each for each in wrong)
    until(lambda: refused_gauge(gateway, "1.0"), what="the gauge of a refused fragment")
    gateway.patch("monitoring: {enhanced: true, duration: 24h}\n")
    until(lambda: config_of(gateway)["state"] == "ok", what="the component is well again")


def config_of(gateway: Patched) -> dict[str, str]:
    return gateway.get("/ready").json["components"]["config"]


def refused_gauge(gateway: Patched, value: str) -> bool:
    answer = gateway.get("/metrics", {SOURCE: elsewhere()})
    return f"airlock_config_fragment_refused {value}" in answer.body.decode()


def test_an_override_is_enforced_by_every_worker_and_ends_by_itself(gateway: Patched) -> None:
    order = {"key": "rateLimiting.perIp", "value": "3/h", "ttl": "1h"}
    assert gateway.admin("POST", "/admin/overrides", order).status == 422  # it would lock the operator out
    order = {"key": "logging.audit_all_requests", "value": "true", "ttl": "2s", "reason": "a look"}
    answer = gateway.admin("POST", "/admin/overrides", order)
    assert answer.status in {200, 207}
    lease = answer.json["lease_id"]
    row = gateway.recorded("action='lease_expired' AND metadata LIKE ?", f"%{lease}%")
    assert len(row) == 1


def test_one_connection_more_than_may_be_open_is_told_so(gateway: Patched) -> None:
    """Sixteen for each of two workers: of forty, some are too many, and afterwards none is."""
    order = {"key": "server.maxConnections", "value": "16"}
    key = f"/admin/overrides/{order['key']}"
    gateway.admin("DELETE", key)  # what an overlay may hold
    assert gateway.admin("POST", "/admin/overrides", order).status in {200, 207}
    gateway.changed_everywhere("server.max_connections", 16)
    until(lambda: 503 in statuses(gateway, 40), what="a connection too many")
    until(lambda: gateway.admin("DELETE", key).status in {200, 207}, what="the release")
    gateway.changed_everywhere("server.max_connections", 1000)
    until(lambda: set(statuses(gateway, 40)) == {200}, what="room for all again")


def statuses(gateway: Patched, count: int) -> list[int]:
    """What so many connections hear that are open at the same time."""
    heard: list[int] = []
    with ExitStack() as open_ones:
        for _ in range(count):
            connection = open_ones.enter_context(closing(gateway.connection()))
            connection.request("GET", "/live")
            answer = connection.getresponse()
            answer.read()
            heard.append(answer.status)
    return heard


def test_a_reload_that_is_asked_for_tells_what_came_of_it(gateway: Patched) -> None:
    good = gateway.config.read_text()
    try:
        gateway.config.write_text(good + "lists: {find_tools: true}\n")
        answer = gateway.admin("POST", "/admin/policy/reload")
        assert answer.status in {200, 207}, answer.body
        assert (answer.json["changed"], answer.json["replicas_total"]) == (["lists.find_tools"], 2)
        gateway.config.write_text("logging: {level: debug}\n")
        answer = gateway.admin("POST", "/admin/policy/reload")
        assert (answer.status, answer.json["code"]) == (409, "reload_refused")
        assert "fragment without base" in answer.json["detail"]
        report = gateway.admin("GET", "/admin/policy/status").json["last_reload"]
        assert (report["result"], report["asked_by"]) == ("refused", "api")
    finally:
        gateway.config.write_text(good)
    assert gateway.admin("POST", "/admin/policy/reload").json["changed"] == ["lists.find_tools"]
    assert "low__echo" in gateway.tools(gateway.token("lister"))


def test_a_fragment_without_a_base_serves_nobody(tmp_path: Path) -> None:
    lost = Deployment(tmp_path, workers=1)
    lost.config.write_text("rate_limiting: {per_token: 10/min}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRLOCK__SERVER__PORT", str(lost.port))
        patch.setenv("AIRLOCK__DATA_DIR", str(lost.data))
        patch.setenv("AIRLOCK__SERVER__DEBUG_PORT", "0")
        lost.start_unwaited()
        try:
            answer = until(lambda: not_ready(lost), within=60, what=f"an answer\n{lost.tail()}")
        finally:
            lost.stop()
    assert answer.json["components"]["config"]["state"] == "failed"
    assert answer.json["components"]["config"]["reason"] == "fragment without base"


def not_ready(deployment: Deployment) -> Answer | None:
    try:
        answer = deployment.get("/ready")
    except OSError:
        return None
    return answer if answer.status == 503 and answer.json["components"] else None
