"""What the checks of a gateway make of its answers, and of settings that cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from airlock.audit.inspection import Report
from airlock.audit.verify import Exit
from airlock.cli import verify
from airlock.cli.checks import answers, e2e, made, performance, security, site, steps
from airlock.cli.checks.answers import Row, Tool
from airlock.cli.checks.board import Board, Check, Untold, Wrong
from airlock.cli.checks.site import Said, Settings
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.identity.local import LocalIssuer
from tests.audit.conftest import Log, call
from tests.system.deployment import free_port

TOKEN = made.unsigned("x." + "eyJzdWIiOiJzeW50aGV0aWMifQ" + ".y") + "z"
ENVIRON = {"AIRLOCK_URL": "http://localhost:8080/", "TEST_TOKEN": TOKEN, "ADMIN_TOKEN": "admin"}
TEXT = {"properties": {"n": {"type": "integer"}, "text": {"type": "string"}}}


def settings(**environ: str) -> Settings:
    return site.settings({**ENVIRON, **environ}, None, admin=True)


def said(told: object, status: int = 200) -> Said:
    return Said(status=status, body=json.dumps(told).encode())


def readiness(state: str = "ok", *, ready: bool = True) -> dict[str, Any]:
    component = {"state": state, "reason": "docs is down", "since": "x"}
    return {"ready": ready, "components": {"upstreams": component, "audit": {"state": "ok"}}}


def row(**more: Any) -> Row:
    told: dict[str, Any] = {
        "chain_uid": "c", "seq": 1, "decision": "allow", "reason": "yes", "resource": "mcp://docs/echo",
        "subject": "synthetic", "synthetic": None, **more,
    }  # fmt: skip
    return Row(**told)


def everyone(*workers: dict[str, Any]) -> Said:
    """What `/admin/status` says of these workers."""
    usual = {"ready": True, "silent": False, **readiness()}
    return said({"workers": [{"slot": slot, **usual, **one} for slot, one in enumerate(workers)]})


WELL = everyone({}, {})


def test_ready_tells_what_is_not_ok() -> None:
    assert answers.ready(said(readiness()), WELL) == "every component is ok"
    assert answers.ready(said(readiness("degraded")), WELL) == "upstreams degraded (docs is down)"
    with pytest.raises(Wrong, match="upstreams failed"):
        answers.ready(said(readiness("failed", ready=False), 503), WELL)
    with pytest.raises(Wrong, match="HTTP 503"):
        answers.ready(said(readiness(), 503), WELL)
    with pytest.raises(Wrong, match="something else was answered"):
        answers.ready(Said(status=200, body=b"<html>"), WELL)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (everyone({}, readiness("failed", ready=False)), r"worker 1: upstreams failed \(docs is down\)"),
        (everyone({}, {"ready": False}), "worker 1: not ready"),
        (everyone({}, {"silent": True}), "silent, or not running: worker 1"),
        (everyone(), "no worker is there"),
    ],
)
def test_one_worker_does_not_speak_for_another(told: Said, why: str) -> None:
    with pytest.raises(Wrong, match=why):
        answers.ready(said(readiness()), told)


def test_a_server_that_is_down_is_wrong_though_the_gateway_is_ready() -> None:
    assert answers.upstreams(WELL) == "every server answers"
    with pytest.raises(Wrong, match=r"worker 1: .*docs is down"):
        answers.upstreams(everyone({}, readiness("degraded")))
    with pytest.raises(Wrong, match="says nothing"):
        answers.upstreams(everyone({"components": {}}))
    with pytest.raises(Untold, match="HTTP 403"):
        answers.upstreams(Said(status=403))


def test_a_list_is_the_answer_to_the_question() -> None:
    listed = {"jsonrpc": "2.0", "id": made.LIST_ID, "result": {"tools": [{"name": "a"}]}}
    assert [tool.name for tool in answers.tools(said(listed))] == ["a"]
    for other in ({**listed, "id": 7}, {**listed, "result": {}}, {"id": made.LIST_ID}):
        with pytest.raises(Wrong, match="no list: HTTP 200"):
            answers.tools(said(other))
    with pytest.raises(Wrong, match="HTTP 401"):
        answers.tools(said(listed, 401))


@pytest.mark.parametrize(
    ("names", "wanted", "arguments", "found"),
    [
        (["airlock__echo", "a__echo"], "", "", ("airlock__echo", '{"text": "MARKER"}')),
        (["a__other", "a__echo"], "", "", ("a__echo", '{"text": "MARKER"}')),
        (["a__other"], "a__other", '{"q": "MARKER"}', ("a__other", '{"q": "MARKER"}')),
        (["airlock__find_tools"], "", "", ("airlock__echo", '{"text": "MARKER"}')),
        (["airlock__find_tools"], "", '{"text": "a MARKER"}', ("airlock__echo", '{"text": "a MARKER"}')),
    ],
)
def test_the_tool_that_echoes_is_found(
    names: list[str], wanted: str, arguments: str, found: tuple[str, str]
) -> None:
    listed = [Tool(name=name, input_schema=TEXT) for name in names]
    assert answers.echo_tool(listed, wanted, arguments) == found


@pytest.mark.parametrize(
    ("listed", "wanted", "why"),
    [
        ([Tool(name="a__other")], "", "no tool is called `echo` (name one in TEST_TOOL) among the 1 tools"),
        ([Tool(name="a__other")], "a__echo", "a__echo is not among the 1 tools"),
        ([Tool(name="a__echo")], "", "a__echo takes no text: give its arguments in TEST_ARGUMENTS"),
        ([Tool(name="a__echo", input_schema={"properties": [1]})], "", "a__echo takes no text"),
        ([Tool(name="a__echo", input_schema={"properties": {"a": 1}})], "", "a__echo takes no text"),
    ],
)
def test_a_tool_that_cannot_be_used_is_said(listed: list[Tool], wanted: str, why: str) -> None:
    with pytest.raises(Wrong) as wrong:
        answers.echo_tool(listed, wanted, "")
    assert why in str(wrong.value)


def result(**told: Any) -> bytes:
    return said({"id": 1, "result": told}).body


REFUSAL = {"dev.airlock/refusal": {"code": 40301, "reason": "policy_denied"}}
ERROR = said({"id": 1, "error": {"code": -32602, "message": "Unknown tool\u0000"}}).body


def test_a_text_comes_back_or_it_is_said_why_not() -> None:
    assert answers.echoed(result(content=[{"text": "hello"}]), "hello") == "hello"
    for given, why in (
        (ERROR, r"-32602 Unknown tool\\x00"),
        (result(isError=True, _meta=REFUSAL), "refused: 40301 policy_denied"),
        (result(isError=True), "a tool error"),
        (result(content=[{"text": "other"}]), "another text came back"),
        (b"{}", "a tool error"),
    ):
        with pytest.raises(Wrong, match=why):
            answers.echoed(given, "hello")


def test_a_refusal_is_the_gateways_own_or_none() -> None:
    assert answers.refused(ERROR) == "-32602 Unknown tool\\x00"
    assert answers.refused(result(isError=True, _meta=REFUSAL)) == "40301 policy_denied"
    for given in (result(isError=True), result(content=[]), b"{}"):
        with pytest.raises(Wrong, match="no refusal"):
            answers.refused(given)


def test_the_row_of_an_allowed_call() -> None:
    own = row(resource="mcp://airlock/echo", synthetic=1)
    assert answers.allowed([own]) is own
    assert answers.allowed([row()]).told == "c 1 synthetic mcp://docs/echo allow yes"
    for rows, why in (
        ([], "0 rows of this call instead of one"),
        ([row(), row()], "2 rows"),
        ([row(decision="error", reason="upstream_error")], "error upstream_error"),
        ([row(resource="mcp://airlock/echo")], "metadata.synthetic is missing"),
    ):
        with pytest.raises(Wrong, match=why):
            answers.allowed(rows)


def test_the_row_of_a_denied_call() -> None:
    denied = row(decision="deny", reason="policy_denied: role_missing")
    assert answers.denied([denied]) is denied
    for more in (
        {},
        {"decision": "deny", "reason": None},
        {"decision": "deny", "reason": "policy_denied: arguments_invalid"},
        {"decision": "deny", "reason": "policy_denied", "resource": ""},
    ):
        with pytest.raises(Wrong):
            answers.denied([row(**more)])


def test_a_canary_is_gone_or_came_back_or_nobody_knows() -> None:
    answers.canary(result(content=[{"text": "a [REDACTED:email] b"}]), "email", "x@example.com")
    astray = {"dev.airlock/refusal": {"code": 40301, "reason": "secret_to_wrong_destination"}}
    answers.canary(result(isError=True, _meta=astray), "email", "x@example.com")
    with pytest.raises(Wrong, match="it came back"):
        answers.canary(result(content=[{"x@example.com": 1}]), "email", "x@example.com")
    with pytest.raises(Untold):
        answers.canary(result(content=[]), "email", "x@example.com")


def report(exit: Exit, unproven: list[str]) -> Report:
    return Report(
        exit=exit, rows=5, journal_records=0, chains=[], findings=[], finding_count=0, unproven=unproven,
        notes=[], not_proven=[],
    )  # fmt: skip


def test_a_log_is_proven_or_it_is_said_what_is_not() -> None:
    assert answers.report(report(Exit.PROVEN, [])) == "5 rows without contradiction"
    with pytest.raises(Untold, match="behind"):
        answers.report(report(Exit.UNPROVEN, ["the projector is behind"]))
    with pytest.raises(Untold, match="not everything"):
        answers.report(report(Exit.UNPROVEN, []))


def test_doors_get_names_that_nothing_has() -> None:
    told = {"routes": [{"method": "DELETE", "path": "/admin/x/{id}", "auth": "admin"}]}
    assert [door.path for door in answers.routes(said(told))] == ["/admin/x/nothing"]
    with pytest.raises(Wrong, match="HTTP 403"):
        answers.routes(said(told, 403))


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"AIRLOCK_URL": ""}, "AIRLOCK_URL is not set"),
        ({"ADMIN_TOKEN": ""}, "ADMIN_TOKEN is not set"),
        ({"AIRLOCK_URL": "ftp://x"}, "AIRLOCK_URL is no address"),
        ({"TEST_TOKEN": "a.b"}, "no signed token of three parts"),
        ({"TEST_TOKEN": "a.!.c"}, "no token whose claims can be read"),
        ({"TEST_SUBJECT": "alice"}, "speaks for synthetic, not for alice"),
        ({"P95_MS": "-1"}, "P95_MS is no positive number: -1"),
        ({"RATE": "fast"}, "RATE is no positive number: fast"),
        ({"FORBIDDEN_ARGUMENTS": "[]"}, "FORBIDDEN_ARGUMENTS is no JSON object"),
    ],
)
def test_settings_that_cannot_be_are_named(environ: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        settings(**environ)


def test_settings_have_their_defaults() -> None:
    given = settings(AIRLOCK_CONFIG="a.yaml", RATE="")
    assert (given.url, given.config) == ("http://localhost:8080", Path("a.yaml"))
    assert (given.rate, given.duration, given.p95) == (3.0, 30.0, 200.0)


def config(data: Path, *, host: str = "127.0.0.1", **sections: Any) -> Config:
    told = {
        "data_dir": str(data),
        "server": {"public_url": "http://localhost:8080", "host": host},
        **sections,
    }
    return msgspec.convert(told, Config)


def test_tokens_that_must_not_count_come_from_the_local_issuer(tmp_path: Path) -> None:
    with pytest.raises(Untold, match="no local issuer"):
        made.minted(config(tmp_path), TOKEN)
    LocalIssuer.open(tmp_path, "http://localhost:8080")
    token = made.minted(config(tmp_path), TOKEN, expired=True)
    assert made.subject(token) == "synthetic"
    with pytest.raises(Untold):
        made.minted(config(tmp_path, host="192.0.2.1"), TOKEN)


def test_without_a_detector_there_is_nothing_to_plant(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="no detector is on"):
        made.canaries(config(tmp_path, redaction={"detectors": []}), "a", "{}")
    (planted,) = made.canaries(
        config(tmp_path, redaction={"detectors": ["email"]}), "a", '{"n": 1, "t": "MARKER"}'
    )
    arguments = json.loads(planted.message)["params"]["arguments"]
    assert (arguments["n"], arguments["t"]) == (1, f"a {planted.secret} b")


def test_a_board_adds_up_and_tells_at_once() -> None:
    told: list[Check | str] = []
    board = Board(told.append)
    assert board.exit == 3, "nothing was tried"
    board.passed("a", "fine")
    board.note("figures")
    assert (board.exit, len(told), board.notes) == (0, 2, ["figures"])
    board.untried("b", "why")
    assert board.exit == 3
    board.failed("c", "seen")
    assert board.exit == 1


def test_nobody_answers_and_that_is_what_was_seen() -> None:
    asked = site.Site(settings(AIRLOCK_URL=f"http://127.0.0.1:{free_port()}"), agent="a")
    answer = asked.ask("GET", "/live")
    assert answer.status == 0
    assert "ConnectionRefusedError" in answer.seen
    assert site.Site(settings(AIRLOCK_URL="https://localhost"), agent="a").connection().port == 443
    assert Said(status=500, body=b"a\x00b").seen == "HTTP 500 ab"


def of(tmp_path: Path, **environ: str) -> steps.Subject:
    (tmp_path / "airlock.yaml").write_text(f"data_dir: {tmp_path / 'data'}\n")
    told = settings(AIRLOCK_CONFIG=str(tmp_path / "airlock.yaml"), **environ)
    return steps.subject(told, "e2e", Board(lambda _: None))


def test_rows_are_found_by_the_agent_that_made_them(tmp_path: Path) -> None:
    subject = of(tmp_path)
    log = Log(tmp_path / "data")
    log.fill(0)
    own = call(1).personal.__class__(subject="synthetic", user_agent=f"{subject.site.agent} call")
    log.append(call(1, personal=own, metadata={"synthetic": True}), call(2))
    log.release()
    found = steps.row(subject, "audit_row", "call", answers.allowed)
    assert found is not None and (found.subject, found.synthetic) == ("synthetic", 1)
    steps.audit_verify(subject, chain=log.uid, patience=60.0)
    assert steps.row(subject, "forbidden_row", "forbidden", answers.denied) is None
    assert [(check.check, check.result) for check in subject.board.checks] == [
        ("audit_row", "ok"), ("audit_verify", "ok"), ("forbidden_row", "fail"),
    ]  # fmt: skip


def test_a_log_that_cannot_be_read_or_takes_too_long_is_not_called_good(tmp_path: Path) -> None:
    subject = of(tmp_path)
    assert steps.row(subject, "audit_row", "call", answers.allowed) is None
    steps.audit_verify(subject, chain=None, patience=60.0)
    log = Log(tmp_path / "data")
    log.fill(9)
    log.release()
    steps.audit_verify(subject, chain=None, patience=-1.0)
    assert [check.result for check in subject.board.checks] == ["untried"] * 3
    assert "was not verified within -1 s" in subject.board.checks[-1].observed


class Scripted(site.Site):
    """A gateway that answers each path, or each way of asking for the list, as a test says."""

    def __init__(self, told: Settings, **answered: Said) -> None:
        super().__init__(told, agent="a")
        self.answered = answered

    def ask(self, method: str, path: str, **asked: Any) -> Said:
        del method
        by = "host" if "Host" in (asked.get("fields") or {}) else "token" if asked.get("token") else ""
        return self.answered.get(f"{path.strip('/').replace('/', '_')}_{by}") or self.answered["others"]


def scripted(tmp_path: Path, check: Callable[[steps.Subject], None], **answered: Said) -> dict[str, str]:
    """What each check observed, with its result, when the gateway answers so."""
    subject = of(tmp_path)
    subject.site = Scripted(subject.settings, **answered)
    check(subject)
    return {done.check: f"{done.result} {done.observed}" for done in subject.board.checks}


ALIVE = Said(status=200, body=b'{"status":"alive"}')
LISTED = said({"id": made.LIST_ID, "result": {"tools": [{"name": "a__echo", "inputSchema": TEXT}]}})
NOTHING = Said(status=500, body=b"broken")


def test_a_gateway_that_is_not_ready_is_named_and_asked_on(tmp_path: Path) -> None:
    unready = said(readiness("failed", ready=False), 503)
    found = scripted(tmp_path, e2e.check, live_=ALIVE, ready_=unready, others=NOTHING)
    assert found == {
        "live": "ok alive",
        "ready": "fail upstreams failed (docs is down)",
        "upstreams": "untried ADMIN_TOKEN does not get the status of all workers: HTTP 500 broken",
        "tools_list": "fail HTTP 500 broken",
    }


@pytest.mark.parametrize("check", [security.check, performance.check])
def test_without_a_list_nothing_else_is_asked(tmp_path: Path, check: Callable[[steps.Subject], None]) -> None:
    assert scripted(tmp_path, check, others=NOTHING) == {"tools_list": "fail HTTP 500 broken"}


@pytest.mark.parametrize(
    ("auth", "answer", "observed"),
    [
        ("none", Said(status=200), "ok 1 are shut or public by declaration"),
        ("none", NOTHING, "fail GET /door: HTTP 500 broken"),
        ("admin", Said(status=401), "ok 1 are shut or public by declaration"),
        ("admin", Said(status=200), "fail GET /door without credentials: HTTP 200"),
        ("admin", Said(status=429), "untried GET /door: too many failures from this address: HTTP 429"),
    ],
)
def test_a_door_is_as_it_is_declared(tmp_path: Path, auth: str, answer: Said, observed: str) -> None:
    doors = said({"routes": [{"method": "GET", "path": "/door", "auth": auth}]})
    found = scripted(tmp_path, security.routes, admin_routes_token=doors, door_=answer, others=NOTHING)
    assert found == {"routes": observed}


def test_a_process_that_names_no_door_is_not_called_shut(tmp_path: Path) -> None:
    found = scripted(tmp_path, security.routes, admin_routes_token=said({"routes": []}), others=NOTHING)
    assert found == {"routes": "fail the process names no route"}


def test_what_a_limit_hides_is_not_called_shut(tmp_path: Path) -> None:
    limited = Said(status=429)
    found = scripted(tmp_path, security.check, mcp_token=LISTED, mcp_host=limited, others=limited)
    assert found["bad_host"] == "untried HTTP 429"
    assert found["routes"].startswith("untried ADMIN_TOKEN does not get the list of routes: HTTP 429")
    assert found["wrong_audience"].startswith("untried ")
    assert found["alg_none"].startswith("fail HTTP 200")


class Instant(performance.Target):
    """A target that answers as a test says."""

    def __init__(self, *answered: str) -> None:
        self.answered = answered

    def ask(self, number: int) -> str:
        return self.answered[number % len(self.answered)]


def test_errors_count_as_slower_than_every_answer() -> None:
    run = performance.Run(Instant("", "", "refused"), rate=1000.0, duration=0.03)
    run.carry_out()
    wrong = dict(performance.judged(run, rate=1e9, p95=1e9))
    assert wrong["errors"] == "10 of 30 calls: 10 x refused"
    assert wrong["p95"].startswith("no answer")
    assert "calls a second instead of" in wrong["rate"]


def test_a_run_without_errors_is_good() -> None:
    run = performance.Run(Instant(""), rate=100.0, duration=0.05)
    run.carry_out()
    assert performance.judged(run, rate=0.1, p95=60_000.0) == []


@pytest.mark.parametrize("kind", ["e2e", "performance", "security"])
def test_without_settings_nothing_runs(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRON:
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(verify.app, [kind])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"airlock verify {kind}: AIRLOCK_URL is not set\n"


def test_json_has_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRON, "AIRLOCK_URL": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(verify.app, ["e2e", "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["exit"]) == (1, 1)
    assert [(check["check"], check["result"]) for check in told["checks"]] == [("live", "fail")]
