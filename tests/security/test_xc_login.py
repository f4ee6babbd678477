"""Attacks on logins through the gateway: another browser, another provider, another address, another time.

Each has its benign twin in `tests/system/test_login.py` or beside it: the same steps without the attack.
"""

from __future__ import annotations

import json
import socket
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlencode

import pytest

from airlock.core.clock import SYSTEM
from airlock.identity.jws import take_apart
from tests.system.browser import Browser, Page
from tests.system.deployment import Deployment, until
from tests.system.login_parts import CALLBACK, App, allow, sign_in, site, through
from tests.system.provider import Provider


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, Provider]]:
    with site(tmp_path_factory.mktemp("attacks"), []) as both:
        yield both


@pytest.fixture
def gateway(place: tuple[Deployment, Provider]) -> Deployment:
    return place[0]


@pytest.fixture
def provider(place: tuple[Deployment, Provider]) -> Iterator[Provider]:
    yield place[1]
    place[1].honest()


def lives(gateway: Deployment, token: str) -> bool:
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    return gateway.post(ping, token).status == 200


def dies(gateway: Deployment, token: str) -> None:
    """Every worker refuses the token soon."""
    until(lambda: not any(lives(gateway, token) for _ in range(8)), within=30, what="refused everywhere")


def test_a_captured_authorization_url_is_worth_nothing_in_another_browser(gateway: Deployment) -> None:
    """The consent of one person is used to get the login of another one (GHSA-rww4-4w9c-7733)."""
    attacker = Browser()
    captured = allow(attacker, App(gateway, CALLBACK).ask().url)
    there = next(url for url in attacker.visited if "/auth?" in url)
    victim = Browser()
    page = sign_in(victim, victim.get(there))
    assert (page.status, "login_browser_mismatch" in page.text) == (400, True)
    assert not [url for url in victim.visited if url.startswith(CALLBACK)]
    assert sign_in(attacker, captured).query["code"]


def test_a_consent_page_is_worth_nothing_in_another_browser(gateway: Deployment) -> None:
    attacker, victim = Browser(), Browser()
    url = App(gateway).ask().url
    shown = attacker.get(url)
    victim.get(url)
    page = victim.submit(shown, decision="allow")
    assert (page.status, "login_browser_mismatch" in page.text) == (400, True)
    assert attacker.submit(shown, decision="allow").status == 200


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://localhost:1"])
def test_no_other_page_can_send_the_consent_form(gateway: Deployment, origin: str) -> None:
    browser = Browser()
    shown = browser.get(App(gateway).ask().url)
    fields = {**shown.fields, "decision": "allow"}
    assert browser.post(f"{gateway.url}/oauth/consent", fields, origin=origin).status in (400, 403)
    assert browser.post(f"{gateway.url}/oauth/consent", fields).status == 200


@pytest.mark.parametrize("claimed", ["https://evil.example", None])
def test_the_answer_of_another_provider_is_refused_before_its_code_goes_anywhere(
    gateway: Deployment, provider: Provider, claimed: str | None
) -> None:
    """Mix-up (RFC 9207): whoever made the answer would otherwise get the code of another provider."""
    provider.change(redirect_iss=claimed)
    asked = provider.seen("/token")
    page = through(Browser(), App(gateway).ask().url)
    assert (page.status, "login_issuer_mismatch" in page.text) == (400, True)
    assert provider.seen("/token") == asked
    row = gateway.recorded("action='login' AND reason='login_issuer_mismatch'")[0]
    assert (row["decision"], row["severity"]) == ("deny", "HIGH")


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/callback",
        "http://127.0.0.1:1/callback/../evil",
        "http://127.0.0.1:1/callback2",
        "http://127.0.0.1:1/callback?x=1",
        "http://127.0.0.1:1/callback#x",
        "http://127.0.0.1:1@evil.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1:1\\@evil.example/callback",
        "http://localhost:1/callback",
        "HTTP://127.0.0.1:1/callback",
        "https://127.0.0.1:1/callback",
        "http://127.0.0.1:99999/callback",
        "javascript:alert(1)",
        "",
    ],
)
def test_nobody_is_sent_to_an_address_that_was_not_registered(gateway: Deployment, uri: str) -> None:
    page = Browser().get(App(gateway).ask(redirect_uri=uri).url)
    assert (page.status, "login_redirect_mismatch" in page.text) == (400, True)
    assert "location" not in page.headers


def test_an_application_may_listen_on_any_port_of_loopback(gateway: Deployment) -> None:
    app = App(gateway)
    there = CALLBACK.replace(":1/", ":50123/")
    waiting = app.ask(redirect_uri=there)
    page = through(Browser(stop=there), waiting.url)
    assert app.exchange(page, waiting, redirect_uri=there).status == 200


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "evil-app:callback",
        "https://user@app.example/",
        "https://app.example/#x",
        "https://app.example\\@evil.example/",
        'https://app.example/"onload=',
        "https://",
        "//app.example/",
        "",
    ],
)
def test_no_client_registers_an_address_that_is_no_place_for_an_answer(gateway: Deployment, uri: str) -> None:
    answer = App.register(gateway, redirect_uris=[uri])
    assert (answer.status, answer.json["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize(
    "changed",
    [
        {"scope": "nothing.known"},
        {"response_type": "token"},
        {"resource": "https://evil.example/mcp"},
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
        {"code_challenge": "short"},
        {"request_uri": "https://evil.example/request"},
        {"state": "x" * 2000},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_wrong_request_ends_on_a_page_and_redirects_nobody(
    gateway: Deployment, changed: dict[str, str | None]
) -> None:
    """Whoever registers a client could otherwise make this gateway send people anywhere (RFC 9700 4.11.2)."""
    page = Browser().get(App(gateway).ask(**changed).url)
    assert page.status == 400
    assert "location" not in page.headers
    assert not page.onward


def test_a_parameter_that_is_given_twice_is_refused(gateway: Deployment) -> None:
    waiting = App(gateway).ask()
    page = Browser().get(f"{waiting.url}&redirect_uri=https%3A%2F%2Fevil.example")
    assert (page.status, "login_request_invalid" in page.text) == (400, True)


def test_a_code_without_its_verifier_is_worth_nothing_and_is_gone(gateway: Deployment) -> None:
    app = App(gateway)
    waiting = app.ask()
    page = through(Browser(), waiting.url)
    for verifier in ("x" * 43, None):
        answer = app.exchange(page, waiting, code_verifier=verifier)
        assert (answer.status, answer.json["error"]) == (400, "invalid_grant")
    assert app.exchange(page, waiting).status == 400


@pytest.mark.parametrize("changed", ["client_id", "redirect_uri", "resource"])
def test_a_code_is_worth_nothing_to_anybody_else(gateway: Deployment, changed: str) -> None:
    app, other = App(gateway), App(gateway)
    waiting = app.ask()
    page = through(Browser(), waiting.url)
    values = {
        "client_id": other.id,
        "redirect_uri": "http://127.0.0.1:2/callback",
        "resource": f"{gateway.url}/mcp/mail",
    }
    answer = app.exchange(page, waiting, **{changed: values[changed]})
    assert (answer.status, answer.json["error"]) == (400, "invalid_grant")


def test_a_code_that_comes_twice_ends_the_login(gateway: Deployment, provider: Provider) -> None:
    provider.change(accounts={**provider.accounts, "carol": provider.accounts["alice"]})
    app = App(gateway)
    waiting = app.ask()
    page = through(Browser(), waiting.url, "carol")
    given = app.exchange(page, waiting).json
    assert lives(gateway, given["access_token"])
    assert app.exchange(page, waiting).json["error"] == "invalid_grant"
    dies(gateway, given["access_token"])
    assert app.refresh(given["refresh_token"]).status == 400
    row = gateway.recorded("action='login' AND reason='login_code_reused' AND subject='carol'")[0]
    assert (row["decision"], row["severity"]) == ("deny", "HIGH")


def test_of_many_at_once_one_gets_tokens_for_a_code(gateway: Deployment) -> None:
    app = App(gateway)
    waiting = app.ask()
    page = through(Browser(), waiting.url)
    with ThreadPoolExecutor(8) as crowd:
        running = [crowd.submit(app.exchange, page, waiting) for _ in range(8)]
        answers = [each.result().status for each in running]
    assert sorted(answers) == [200] + [400] * 7


def test_a_state_counts_once_at_whichever_worker(gateway: Deployment) -> None:
    browser = Browser(stop=f"{gateway.url}/oauth/callback")
    callback = through(browser, App(gateway).ask().url).url
    jars = [{host: dict(jar) for host, jar in browser.cookies.items()} for _ in range(6)]

    def open_it(jar: dict[str, dict[str, str]]) -> Page:
        copy = Browser()
        copy.cookies = jar
        return copy.get(callback)

    with ThreadPoolExecutor(6) as crowd:
        pages = list(crowd.map(open_it, jars))
    assert [page.status for page in pages if "code" in page.query and page.url.startswith(CALLBACK)] == [0]
    assert all("login_state_used" in page.text for page in pages if page.status)


def test_a_refresh_token_that_comes_twice_ends_the_login(gateway: Deployment, provider: Provider) -> None:
    provider.change(accounts={**provider.accounts, "erin": provider.accounts["alice"]})
    app = App(gateway)
    first = app.tokens("erin")
    second = app.refresh(first["refresh_token"]).json
    stolen = app.refresh(first["refresh_token"])
    assert (stolen.status, stolen.json["error"]) == (400, "invalid_grant")
    dies(gateway, second["access_token"])
    assert app.refresh(second["refresh_token"]).status == 400
    assert gateway.recorded("action='login' AND reason='login_refresh_reused' AND subject='erin'")


def test_a_refresh_token_is_worth_nothing_to_another_client(gateway: Deployment) -> None:
    app, other = App(gateway), App(gateway)
    given = app.tokens()
    assert other.refresh(given["refresh_token"]).status == 400
    assert app.refresh(given["refresh_token"]).status == 200


def kept(gateway: Deployment) -> list[int]:
    """Rows in the tables of control data that a login could fill."""
    tables = ("login_grants", "revocations", "ended_sessions")
    with closing(sqlite3.connect(f"file:{gateway.data / 'sark.db'}?mode=ro", uri=True)) as database:
        return [database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]  # noqa: S608


def test_a_flood_of_registrations_and_requests_leaves_nothing_behind(gateway: Deployment) -> None:
    app = App(gateway)
    before = kept(gateway)
    for n in range(40):
        assert App.register(gateway, redirect_uris=[f"http://127.0.0.1/{n}"]).status == 201
        assert Browser().get(app.ask().url).status == 200
    assert kept(gateway) == before
    assert app.tokens()["access_token"]


def test_what_a_client_says_of_itself_is_only_text(gateway: Deployment) -> None:
    name = '"><script>alert(1)</script>'
    answer = App.register(gateway, redirect_uris=[CALLBACK], client_name=name)
    page = Browser().get(App(gateway).ask(client_id=answer.json["client_id"], state='"><img src=x>').url)
    assert page.status == 200
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    cookie = page.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(
    "client_id",
    [
        "https://169.254.169.254/latest/meta-data",
        "https://localhost:{port}/client.json",
        "https://127.0.0.1:{port}/client.json",
        "https://[::ffff:127.0.0.1]:{port}/client.json",
        "https://2130706433:{port}/client.json",
        "http://127.0.0.1:{port}/client.json",
        "file:///etc/passwd",
    ],
)
def test_no_document_is_fetched_from_inside(gateway: Deployment, client_id: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.2)
        began = SYSTEM.monotonic()
        page = Browser().get(App(gateway).ask(client_id=client_id.format(port=listener.getsockname()[1])).url)
        assert page.status == 400
        assert SYSTEM.monotonic() - began < 15
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_document_inside_is_refused_by_name_in_the_log(gateway: Deployment) -> None:
    assert Browser().get(App(gateway).ask(client_id="https://127.0.0.1:1/c.json").url).status == 400
    assert gateway.recorded("event_type='auth' AND decision='deny' AND reason='ssrf_guard'")


def test_the_end_of_a_login_is_for_its_owner(gateway: Deployment) -> None:
    answer = gateway.send("POST", "/oauth/logout", b"", {})
    assert answer.status == 401
    assert "resource_metadata=" in answer.headers["www-authenticate"]


def test_an_identity_token_for_another_login_is_refused(gateway: Deployment, provider: Provider) -> None:
    """A token of the right provider, for us, with the nonce of somebody else: an injected code."""
    other = provider.token("mallory", "airlock", typ="JWT", nonce="of another login")
    answer = json.dumps({"id_token": other, "access_token": "x", "token_type": "Bearer"})
    provider.lie("/token", body=answer, headers={"content-type": "application/json"})
    page = through(Browser(), App(gateway).ask().url)
    assert (page.status, "login_identity_invalid" in page.text) == (400, True)
    row = gateway.recorded("action='login' AND reason='login_identity_invalid'")[0]
    assert json.loads(row["metadata"])["because"] == "token_nonce"


def test_the_no_of_a_person_goes_to_the_application(gateway: Deployment) -> None:
    browser = Browser()
    waiting = App(gateway).ask()
    page = browser.submit(browser.get(waiting.url), decision="deny")
    assert page.query == {"error": "access_denied", "state": waiting.state, "iss": gateway.url}


@pytest.mark.parametrize("subject", ["alice", "root"])
def test_a_token_of_a_login_opens_no_administrators_door(gateway: Deployment, subject: str) -> None:
    token = App(gateway).tokens(subject)["access_token"]
    header = {"Authorization": f"Bearer {token}"}
    assert gateway.get("/admin/policy/status", header).status == 403


def test_a_client_whose_token_was_revoked_refreshes_itself_no_other(gateway: Deployment) -> None:
    app = App(gateway)
    given, other = app.tokens("bob"), app.tokens("bob")
    token_id = take_apart(given["access_token"]).payload["jti"]
    order = {"action": "token.revoke", "selector": {"token": token_id}, "reason": "a trial"}
    header = {"Authorization": f"Bearer {gateway.token('root', roles=('admin',))}"}
    assert gateway.send("POST", "/api/v1/leases", json.dumps(order).encode(), header).status == 200
    dies(gateway, given["access_token"])
    assert app.refresh(given["refresh_token"]).status == 400
    assert app.refresh(other["refresh_token"]).status == 200


@pytest.mark.parametrize("kind", ["application/json", "text/plain", None])
def test_only_a_form_is_a_token_request(gateway: Deployment, kind: str | None) -> None:
    body = urlencode({"grant_type": "refresh_token", "client_id": "x", "refresh_token": "y"}).encode()
    answer = gateway.send("POST", "/oauth/token", body, {"Content-Type": kind} if kind else {})
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
