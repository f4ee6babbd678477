"""Logins at upstream servers, with real servers on both ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Fault, LinkRefused, LoginNeeded, UpstreamFault
from airlock.model.upstream import UpstreamAnswer
from airlock.store.schema import vault_entries
from airlock.upstream import authorities, entries, fetch, holding, personal
from airlock.upstream.oauth_tokens import Hidden
from tests.upstream.http_parts import HandClock, Seen, call, http, run, silence, until
from tests.upstream.oauth_parts import PUBLIC, Parts, Provider, asked, who

Scenario = Callable[[Provider, Parts], Awaitable[Any]]


def within(folder: Path, scenario: Scenario, *, era: str = "modern", clock: Any = None, **more: Any) -> Any:
    async def ran() -> Any:
        async with Provider(era=era) as provider:
            parts = Parts(provider, folder, **({} if clock is None else {"clock": clock}), **more)
            try:
                return await scenario(provider, parts)
            finally:
                await parts.close()

    return run(ran())


async def called(parts: Parts, name: str) -> UpstreamAnswer:
    request = call(principal=who(name).owner)
    deadline = parts.clock.monotonic() + 5
    return await parts.upstream.request(msgspec.structs.replace(request, deadline=deadline))


def tokens(provider: Provider) -> list[str]:
    return [seen.headers["authorization"] for seen in provider.server.seen if "authorization" in seen.headers]


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_who_is_not_logged_in_sends_nothing_and_who_is_calls_as_himself(tmp_path: Path, era: str) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        with pytest.raises(LoginNeeded) as nobody:
            await parts.upstream.describe()
        with pytest.raises(LoginNeeded):
            await called(parts, "alice")
        assert (nobody.value.server, nobody.value.reason) == ("files", "link_required")
        assert provider.server.seen == []
        url = await parts.login("alice")
        assert url.startswith(f"{provider.issuer}/authorize?")
        assert asked(url)["redirect_uri"] == f"{PUBLIC}/api/v1/oauth/callback"
        assert asked(url)["resource"] == provider.server.url
        assert "scope" not in asked(url)
        assert provider.registrations[0]["application_type"] == "web"
        assert provider.proofs == ["Basic cmVnaXN0ZXJlZDpzM2NyZXQ="]
        assert (await called(parts, "alice")).error is None
        assert [tool["name"] for tool in (await parts.upstream.describe()).tools] == ["add"]
        assert set(tokens(provider)) == {"Bearer token-1"}
        with pytest.raises(LoginNeeded):
            await called(parts, "bob")
        assert set(tokens(provider)) == {"Bearer token-1"}
        assert parts.links.serves("files") and not parts.links.serves("mail")
        (link,) = await parts.links.status(who("alice"))
        assert (link.server, link.issuer, link.connected) == ("files", provider.issuer, True)
        assert await parts.links.status(who("bob")) == ()
        assert [said[0] for said in parts.told] == ["linked"]
        assert "token-1" not in repr(parts.told)

    within(tmp_path, scenario, era=era)


def test_two_hundred_interleaved_calls_never_share_a_token(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        await parts.login("carol")
        seen: dict[str, set[str]] = {}

        async def one(number: int) -> None:
            name = ("alice", "bob", "carol")[number % 3]
            try:
                await parts.upstream.request(
                    call(principal=who(name).owner, params={"name": "add", "arguments": {"of": name}})
                )
            except LoginNeeded:
                assert name == "bob"

        await asyncio.gather(*(one(number) for number in range(200)))
        for each in provider.server.find("tools/call"):
            name = each.message["params"]["arguments"]["of"]
            seen.setdefault(name, set()).add(each.headers["authorization"])
        assert seen == {"alice": {"Bearer token-1"}, "carol": {"Bearer token-2"}}
        by_connection = {
            (each.connection, each.headers.get("authorization")) for each in provider.server.seen
        }
        assert len(by_connection) == len({connection for connection, _ in by_connection})

    within(tmp_path, scenario)


def test_what_a_login_brought_ends_with_it_and_nothing_readable_is_kept(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        await called(parts, "alice")
        with parts.store.read() as connection:
            row = connection.execute(vault_entries.select()).one()
        assert "token-1" not in repr(row) and "s3cret" not in repr(row)
        held = parts.holder.known(parts.grantor, who("alice").owner)
        assert held is not None and "token-1" not in repr(held)
        assert await parts.links.forget(who=who("bob")) == 0
        assert await parts.links.forget(who=who("alice"), server="files") == 1
        with pytest.raises(LoginNeeded):
            await called(parts, "alice")
        assert [said[0] for said in parts.told] == ["linked", "forgotten"]

    within(tmp_path, scenario)


def test_a_row_that_is_moved_to_somebody_else_opens_for_nobody(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        with parts.store.change("vault") as change:
            change.connection.execute(vault_entries.update().values(owner=who("bob").owner))
        with pytest.raises(Fault) as refused:
            await called(parts, "bob")
        assert refused.value.reason == "vault_unreadable"
        assert not (await parts.links.status(who("bob")))[0].connected
        await parts.login("bob")
        assert (await called(parts, "bob")).error is None
        assert set(tokens(provider)) == {"Bearer token-2"}

    within(tmp_path, scenario)


def test_a_token_is_renewed_before_its_end_and_once_for_all_who_wait(tmp_path: Path) -> None:
    clock = HandClock()

    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.refresh = True
        await parts.login("alice")
        await parts.holder.held(parts.grantor, who("alice").owner)
        clock.now += 3600 - 30
        held = await asyncio.gather(*(parts.holder.held(parts.grantor, who("alice").owner) for _ in range(5)))
        assert {each.credential.reveal()[1] for each in held} == {"Bearer token-2"}
        assert provider.forms[1]["refresh_token"] == "refresh-1"
        assert provider.forms[1]["resource"] == provider.server.url
        assert len(provider.forms) == 2
        kept = parts.vault.find(server="files", owner=who("alice").owner)
        assert kept is not None and b"refresh-2" in (kept.payload or b"")
        clock.now += 4000
        provider.refusal = "invalid_grant"
        with pytest.raises(LoginNeeded):
            await parts.holder.held(parts.grantor, who("alice").owner)
        with pytest.raises(LoginNeeded):
            await parts.holder.held(parts.grantor, who("alice").owner)
        assert len(provider.forms) == 3
        (link,) = await parts.links.status(who("alice"))
        assert not link.connected

    within(tmp_path, scenario, clock=clock)


def test_a_failing_authorization_server_costs_nothing_while_the_token_counts(tmp_path: Path) -> None:
    clock = HandClock()

    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.refresh = True
        await parts.login("alice")
        provider.refusal = "temporarily_unavailable"
        clock.now += 3600 - 30
        held = await parts.holder.held(parts.grantor, who("alice").owner)
        assert held.credential.reveal()[1] == "Bearer token-1"
        clock.now += 31
        with pytest.raises(UpstreamFault) as fault:
            await parts.holder.held(parts.grantor, who("alice").owner)
        assert not isinstance(fault.value, LoginNeeded)
        provider.refusal = ""
        clock.now += 20
        held = await parts.holder.held(parts.grantor, who("alice").owner)
        assert held.credential.reveal()[1] == "Bearer token-2"

    within(tmp_path, scenario, clock=clock)


def test_a_token_without_a_refresh_token_counts_until_its_end(tmp_path: Path) -> None:
    clock = HandClock()

    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        clock.now += 3590
        assert (await parts.holder.held(parts.grantor, who("alice").owner)).fresh_until == pytest.approx(4600)
        clock.now += 11
        with pytest.raises(LoginNeeded):
            await parts.holder.held(parts.grantor, who("alice").owner)

    within(tmp_path, scenario, clock=clock)


def test_a_refused_token_is_renewed_once_and_then_its_owner_is_asked(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.refresh = True
        await parts.login("alice")
        provider.granted.clear()
        assert (await called(parts, "alice")).error is None
        assert tokens(provider)[-1] == "Bearer token-2"
        provider.granted.clear()
        provider.token = {"access_token": "unknown-to-the-server"}
        provider.refresh = False
        provider.forgets = True
        with pytest.raises(LoginNeeded):
            await called(parts, "alice")
        before = len(provider.server.seen)
        with pytest.raises(LoginNeeded):
            await called(parts, "alice")
        assert len(provider.server.seen) == before

    within(tmp_path, scenario)


def test_a_server_that_wants_more_scopes_gets_them_with_the_next_login_and_no_endless_loop(
    tmp_path: Path,
) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.challenge = 'Bearer scope="basic", resource_metadata="{prm}"'
        provider.resource = {"scopes_supported": ["profile"]}
        assert asked(await parts.login("alice"))["scope"] == "basic"
        provider.needs = ["write"]
        for _ in range(2):
            with pytest.raises(LoginNeeded) as needed:
                await called(parts, "alice")
            assert needed.value.scopes == ("write",)
        assert (await parts.upstream.describe()).tools
        assert asked(await parts.login("alice"))["scope"] == "basic write"
        assert (await called(parts, "alice")).error is None
        provider.granted["token-2"] = []
        with pytest.raises(UpstreamFault) as fault:
            await called(parts, "alice")
        assert fault.value.reason == "upstream_scope_refused"

    within(tmp_path, scenario)


def test_another_authorization_server_gets_nothing_that_belongs_to_the_first(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        provider.granted.clear()
        provider.issuer_path = "/second"
        with pytest.raises(LoginNeeded):
            await called(parts, "alice")
        await parts.login("alice")
        assert len(provider.registrations) == 2
        (link,) = await parts.links.status(who("alice"))
        assert link.issuer == provider.issuer
        assert (await called(parts, "alice")).error is None
        await parts.login("bob")
        assert len(provider.registrations) == 2

    within(tmp_path, scenario)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"resource": {"resource": "https://evil.example/mcp"}}, "link_resource_mismatch"),
        ({"resource": {"authorization_servers": []}}, "link_discovery_failed"),
        ({"resource": {"authorization_servers": ["https://10.0.0.1"]}}, "ssrf_guard"),
        ({"challenge": 'Bearer resource_metadata="http://169.254.169.254/x"'}, "ssrf_guard"),
        ({"challenge": 'Bearer resource_metadata="ftp://elsewhere/x"'}, "ssrf_guard"),
        ({"resource_path": "/elsewhere", "challenge": "Bearer"}, "link_discovery_failed"),
        ({"metadata": {"issuer": "https://attacker.example"}}, "link_issuer_mismatch"),
        ({"metadata": {"authorization_endpoint": "file:///etc/passwd"}}, "link_discovery_failed"),
        ({"metadata": {"authorization_endpoint": None}}, "link_discovery_failed"),
        ({"metadata": {"token_endpoint": "http://a b"}}, "link_discovery_failed"),
        ({"metadata": {"code_challenge_methods_supported": None}}, "link_pkce_missing"),
        ({"metadata": {"registration_endpoint": None}}, "link_client_missing"),
        ({"metadata": {"registration_endpoint": "http://127.0.0.1:1/"}}, "link_discovery_failed"),
    ],
)
def test_who_lies_about_logins_gets_nobody(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        for name, value in change.items():
            setattr(provider, name, value)
        with pytest.raises(LinkRefused) as refused:
            await parts.login("alice")
        assert refused.value.reason == reason
        assert parts.told == [("refused", "files", "acme", who("alice").subject, reason)]
        assert not provider.forms

    within(tmp_path, scenario)


def test_metadata_that_redirects_is_not_followed(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        async def moved(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(http(302, b"", f"Location: {provider.authority.url}"))

        provider.authority.handler = moved
        with pytest.raises(LinkRefused) as refused:
            await parts.login("alice")
        assert refused.value.reason == "link_discovery_failed"
        assert len(provider.authority.seen) == 2

    within(tmp_path, scenario)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "https://evil.example"}, "link_issuer_mismatch"),
        ({"iss": None}, "link_issuer_mismatch"),
        ({"iss": "{issuer}/"}, "link_issuer_mismatch"),
        ({"state": "another"}, "link_state_unknown"),
        ({"code": None}, "link_denied"),
        ({"error": "access_denied"}, "link_denied"),
        ({"browser": "another"}, "link_browser_mismatch"),
    ],
)
def test_an_answer_that_is_not_the_one_asked_for_sends_no_code(
    tmp_path: Path, change: dict[str, str | None], reason: str
) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        url = await parts.links.begin(server="files", who=who("alice"), browser="cookie")
        wanted = {name: value and value.format(issuer=provider.issuer) for name, value in change.items()}
        browser = wanted.pop("browser", "cookie") or ""
        given = provider.consents(url) | wanted
        given = {name: value for name, value in given.items() if value is not None}
        with pytest.raises(LinkRefused) as refused:
            await parts.links.finish(given, browser=browser)
        assert refused.value.reason == reason
        assert not provider.forms
        if "state" not in change:  # a state counts once, whatever came of it
            with pytest.raises(LinkRefused) as again:
                await parts.links.finish(provider.consents(url), browser="cookie")
            assert again.value.reason == "link_state_unknown"

    within(tmp_path, scenario)


def test_a_login_that_takes_too_long_counts_no_more(tmp_path: Path) -> None:
    clock = HandClock()

    async def scenario(provider: Provider, parts: Parts) -> None:
        url = await parts.links.begin(server="files", who=who("alice"), browser="cookie")
        clock.now += 601
        with pytest.raises(LinkRefused) as refused:
            await parts.links.finish(provider.consents(url), browser="cookie")
        assert refused.value.reason == "link_state_unknown"

    within(tmp_path, scenario, clock=clock)


@pytest.mark.parametrize(
    "answer",
    [
        {"token_type": "DPoP"},
        {"access_token": "two words"},
        {"access_token": ""},
        {"access_token": 5},
        {"refresh_token": "x" * 9000},
    ],
)
def test_an_answer_without_a_token_that_can_be_sent_is_refused(
    tmp_path: Path, answer: dict[str, Any]
) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.token = answer
        with pytest.raises(LinkRefused) as refused:
            await parts.login("alice")
        assert refused.value.reason == "link_token_refused"
        assert await parts.links.status(who("alice")) == ()

    within(tmp_path, scenario)


def test_nobody_logs_in_at_a_server_of_another_tenant_or_at_none(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        for server, tenant in (("mail", "acme"), ("files", "other")):
            with pytest.raises(LinkRefused) as refused:
                await parts.links.begin(server=server, who=who("alice", tenant), browser="cookie")
            assert refused.value.reason == "link_server_unknown"
        url = await parts.links.begin(server="files", who=who("alice"), browser="cookie")
        await parts.upstream.close()
        with pytest.raises(LinkRefused) as gone:
            await parts.links.finish(provider.consents(url), browser="cookie")
        assert gone.value.reason == "link_state_unknown"

    within(tmp_path, scenario, tenant="acme")


def test_a_client_that_is_known_there_registers_nowhere(tmp_path: Path) -> None:
    async def agreed(provider: Provider, parts: Parts) -> None:
        provider.metadata = {
            "client_id_metadata_document_supported": True,
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }
        assert asked(await parts.login("alice"))["client_id"] == "known"
        assert provider.forms[0]["client_secret"] == "pre"
        assert provider.proofs == [""]
        assert not provider.registrations

    async def document(provider: Provider, parts: Parts) -> None:
        provider.metadata = {
            "client_id_metadata_document_supported": True,
            "scopes_supported": ["offline_access"],
        }
        url = await parts.login("alice")
        assert asked(url)["client_id"] == f"{PUBLIC}/api/v1/oauth/client-metadata.json"
        assert (asked(url)["scope"], asked(url)["prompt"]) == ("offline_access", "consent")
        assert provider.forms[0]["client_id"] == asked(url)["client_id"]
        assert not provider.registrations

    within(tmp_path / "1", agreed, client_id="known", secret=Hidden("pre"))
    within(tmp_path / "2", document)


def test_the_gateway_itself_logs_in_for_all(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        assert (await parts.upstream.describe()).tools
        assert (await called(parts, "alice")).error is None
        assert (await called(parts, "bob")).error is None
        assert [form["grant_type"] for form in provider.forms] == ["client_credentials"]
        assert provider.forms[0]["scope"] == "read"
        provider.granted.clear()
        assert (await called(parts, "alice")).error is None
        assert len(provider.forms) == 2
        assert not parts.links.serves("files")
        provider.refusal = "invalid_client"
        provider.granted.clear()
        with pytest.raises(UpstreamFault):
            await called(parts, "alice")
        await parts.holder.follow()
        assert parts.news == []

    within(tmp_path, scenario, client_id="robot", secret=Hidden("pw"), own=True, scopes=("read",))


def test_a_server_that_refuses_every_token_of_the_gateway_costs_two_for_a_call(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.token = {"access_token": "unknown-to-the-server"}
        with pytest.raises(UpstreamFault, match="own token"):
            await called(parts, "alice")
        assert len(provider.forms) == 2

    within(tmp_path, scenario, client_id="robot", secret=Hidden("pw"), own=True)


def test_what_is_noted_while_a_token_is_renewed_does_not_lose_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    exchange = authorities.Authorities.tokens

    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.refresh = True
        await parts.login("alice")
        owner = who("alice").owner

        async def interrupted(*given: Any) -> Any:
            found = await exchange(*given)
            kept = parts.vault.find(server="files", owner=owner)
            assert kept is not None
            noted = msgspec.structs.replace(entries.entry_of(kept), wanted=("write",))
            assert parts.vault.amend(kept, msgspec.json.encode(noted), clock.now, release=False)
            later = parts.vault.find(server="files", owner=owner)
            assert later is not None and not parts.vault.claim(later, clock.now)
            return found

        monkeypatch.setattr(authorities.Authorities, "tokens", interrupted)
        clock.now += 4000
        held = await parts.holder.held(parts.grantor, owner)
        kept = parts.vault.find(server="files", owner=owner)
        assert kept is not None
        entry = entries.entry_of(kept)
        assert entry.wanted == ("write",) and entry.tokens is not None
        assert held.credential.reveal()[1] == f"Bearer {entry.tokens.access.value}"

    within(tmp_path, scenario, clock=clock)


def test_two_workers_renew_once_and_both_get_what_it_brought(tmp_path: Path) -> None:
    clock = HandClock()

    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.refresh = True
        await parts.login("alice")
        other = Parts(provider, tmp_path, clock=clock)
        try:
            clock.now += 4000
            owner = who("alice").owner
            one, two = await asyncio.gather(
                parts.holder.held(parts.grantor, owner), other.holder.held(other.grantor, owner)
            )
            assert one.credential.reveal() == two.credential.reveal()
            assert [form["grant_type"] for form in provider.forms[1:]] == ["refresh_token"]
            await other.holder.follow()
            assert other.holder.known(other.grantor, owner) is None
            assert other.news == ["files"]
        finally:
            await other.close()

    within(tmp_path, scenario, clock=clock)


def test_a_session_of_a_client_reaches_every_caller_of_it(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        assert not parts.upstream.watch(frozenset())
        await parts.upstream.describe()
        assert not parts.upstream.watch(frozenset({"file:///a"}))
        request = msgspec.structs.replace(call(principal=who("alice").owner), session="s")
        assert (await parts.upstream.request(request)).error is None
        await parts.upstream.tell_session("s", "notifications/roots/list_changed")
        await parts.upstream.unsubscribe("s", "file:///a")
        await parts.upstream.end_session("s")
        await parts.upstream.sweep()

    within(tmp_path, scenario, era="legacy")


def test_an_end_for_a_person_ends_every_login_of_that_person(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        await parts.login("bob")
        await called(parts, "alice")
        assert await parts.links.forget_subject("nobody") == 0
        assert await parts.links.forget_subject("https://idp.example|alice") == 1
        with pytest.raises(LoginNeeded):
            await called(parts, "alice")
        assert (await called(parts, "bob")).error is None

    within(tmp_path, scenario)


def test_a_registration_that_is_not_known_any_more_is_made_anew(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.refusal = "invalid_client"
        with pytest.raises(LinkRefused):
            await parts.login("alice")
        provider.refusal = ""
        await parts.login("alice")
        assert len(provider.registrations) == 2

    within(tmp_path, scenario)


def test_a_token_that_somebody_else_renews_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()
    monkeypatch.setattr(holding, "LOOK", 0.001)
    monkeypatch.setattr(holding, "LOOKS", 3)

    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.refresh = True
        await parts.login("alice")
        owner = who("alice").owner
        kept = parts.vault.find(server="files", owner=owner)
        assert kept is not None and "refresh" not in repr(kept)
        clock.now += 4000
        assert parts.vault.claim(kept, clock.now)
        assert not parts.vault.claim(kept, clock.now)
        with pytest.raises(UpstreamFault, match="not renewed in time"):
            await parts.holder.held(parts.grantor, owner)
        provider.granted.clear()
        clock.now -= 4000
        with pytest.raises(UpstreamFault, match="refuses every credential"):
            await called(parts, "alice")
        clock.now += 8000
        provider.token = {"access_token": "late"}
        original = parts.vault.amend

        def ended(*given: Any) -> Any:
            parts.vault.forget(owner=owner)
            return original(*given)

        monkeypatch.setattr(parts.vault, "amend", ended)
        with pytest.raises(LoginNeeded):
            await parts.holder.held(parts.grantor, owner)

    within(tmp_path, scenario, clock=clock)


def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "MOST", 1)
    monkeypatch.setattr(personal, "SEATS", 1)
    monkeypatch.setattr(authorities, "WAYS", 1)

    async def scenario(provider: Provider, parts: Parts) -> None:
        for name in ("alice", "bob"):
            await parts.login(name)
            assert (await called(parts, name)).error is None
        assert parts.holder.known(parts.grantor, who("alice").owner) is None
        provider.server.stop_listening()
        for writer in provider.server.writers:
            writer.transport.abort()
        await until(lambda: provider.server.closed == provider.server.opened)
        await until(lambda: not parts.upstream.busy)
        await parts.upstream.sweep()
        assert parts.upstream.seats == 1

    within(tmp_path, scenario)


def test_a_refusal_that_is_no_matter_of_scopes_is_none_of_logins(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")

        async def forbidden(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(http(403))

        provider.mcp.on["tools/call"] = forbidden
        with pytest.raises(UpstreamFault) as fault:
            await called(parts, "alice")
        assert fault.value.reason == "upstream_unavailable"
        assert (await parts.links.status(who("alice")))[0].connected

    within(tmp_path, scenario)


def test_servers_that_answer_nothing_end_a_login(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        url = await parts.links.begin(server="files", who=who("alice"), browser="cookie")

        async def broken(seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(http(503))

        provider.authority.handler = broken
        with pytest.raises(UpstreamFault, match="HTTP 503"):
            await parts.links.finish(provider.consents(url), browser="cookie")
        provider.server.stop_listening()
        with pytest.raises(LinkRefused) as refused:
            await parts.links.begin(server="files", who=who("alice"), browser="cookie")
        assert refused.value.reason == "link_discovery_failed"

    within(tmp_path, scenario)


def test_the_challenge_may_be_one_of_several(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.challenge = 'Basic realm="x"\r\nWWW-Authenticate: Bearer scope="basic"'
        assert asked(await parts.login("alice"))["scope"] == "basic"

    within(tmp_path, scenario)


def test_a_silent_authorization_server_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "TOTAL", 0.3)

    async def scenario(provider: Provider, parts: Parts) -> None:
        provider.authority.handler = silence
        with pytest.raises(LinkRefused) as refused:
            await parts.links.begin(server="files", who=who("alice"), browser="cookie")
        assert refused.value.reason == "link_discovery_failed"

    within(tmp_path, scenario)


def test_a_token_goes_nowhere_but_to_the_server_it_is_for(tmp_path: Path) -> None:
    async def scenario(provider: Provider, parts: Parts) -> None:
        await parts.login("alice")
        owner = who("alice").owner
        before = await parts.holder.held(parts.grantor, owner)
        elsewhere = msgspec.structs.replace(parts.grantor, url="https://other.example/mcp")
        stricter = msgspec.structs.replace(parts.grantor, issuers=("https://other.example",))
        for changed in (elsewhere, stricter):
            parts.holder.add(changed)
            with pytest.raises(LoginNeeded):
                await parts.holder.held(changed, owner)
        same = msgspec.structs.replace(parts.grantor)
        parts.holder.add(same)
        assert parts.holder.known(same, owner) is None
        after = await parts.holder.held(same, owner)
        assert after.credential.reveal() == before.credential.reveal()
        parts.holder.remove(parts.grantor)
        assert parts.links.serves("files")

    within(tmp_path, scenario)
