"""A login on its way: what is asked for, and that each step belongs to the browser of the step before."""

from __future__ import annotations

import pytest

from airlock.core.errors import Rejected
from airlock.identity import flow, login
from airlock.identity.flow import Request
from tests.gateway.parts import NOW
from tests.identity.login_parts import CLIENT, GATEWAY, SEALER, given, request


def reason(**changed: str | None) -> str:
    with pytest.raises(Rejected) as refused:
        flow.read(CLIENT, given(**changed), GATEWAY)
    return refused.value.reason


def test_a_request_is_read() -> None:
    assert flow.read(CLIENT, given(), GATEWAY) == request()


def test_a_request_may_name_a_server_scopes_and_a_strength() -> None:
    asked = given(
        resource=f"{GATEWAY}/mcp/notes",
        scope="openid mcp.list mcp.call.notes",
        acr_values="gold",
        max_age="60",
    )
    found = flow.read(CLIENT, asked, GATEWAY)
    assert (found.resource, found.scopes) == (f"{GATEWAY}/mcp/notes", ("mcp.list", "mcp.call.notes"))
    assert (found.acr_values, found.max_age) == ("gold", 60)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"redirect_uri": "https://evil.example/"}, "login_redirect_mismatch"),
        ({"redirect_uri": None}, "login_redirect_mismatch"),
        ({"response_type": "token"}, "login_request_invalid"),
        ({"response_mode": "fragment"}, "login_request_invalid"),
        ({"request": "x"}, "login_request_invalid"),
        ({"request_uri": "x"}, "login_request_invalid"),
        ({"code_challenge": None}, "login_pkce_required"),
        ({"code_challenge_method": "plain"}, "login_pkce_required"),
        ({"code_challenge_method": None}, "login_pkce_required"),
        ({"state": "x" * 1025}, "login_request_invalid"),
        ({"state": "a\nb"}, "login_request_invalid"),
        ({"acr_values": "a\tb"}, "login_request_invalid"),
        ({"max_age": "-1"}, "login_request_invalid"),
        ({"resource": "https://evil.example/mcp"}, "login_resource_unknown"),
        ({"resource": f"{GATEWAY}.evil.example/mcp"}, "login_resource_unknown"),
        ({"resource": f"{GATEWAY}/other"}, "login_resource_unknown"),
        ({"resource": f"{GATEWAY}/mcp/Not_A_Server"}, "login_resource_unknown"),
        ({"scope": "openid offline_access"}, "login_scope_unknown"),
    ],
)
def test_a_wrong_request_is_refused(changed: dict[str, str | None], word: str) -> None:
    assert reason(**changed) == word


@pytest.mark.parametrize("wanted", [GATEWAY, f"{GATEWAY}/"])
def test_the_whole_gateway_is_a_resource(wanted: str) -> None:
    assert flow.resource(wanted, GATEWAY) == GATEWAY


def test_without_a_state_none_comes_back() -> None:
    assert flow.read(CLIENT, given(state=None), GATEWAY).state == ""


def test_a_consent_page_belongs_to_its_browser() -> None:
    field = flow.show(SEALER, request(), "one", NOW)
    assert flow.agreed(SEALER, field, "one", NOW) == request()
    for field_, browser in ((field, "two"), (field, ""), ("", "one"), ("é", "one")):
        with pytest.raises(Rejected) as refused:
            flow.agreed(SEALER, field_, browser, NOW)
        assert refused.value.reason == "login_browser_mismatch"


def test_a_consent_page_can_be_answered_for_ten_minutes() -> None:
    field = flow.show(SEALER, request(), "one", NOW)
    with pytest.raises(Rejected) as refused:
        flow.agreed(SEALER, field, "one", NOW + flow.PATIENCE)
    assert refused.value.reason == "login_expired"


def test_a_request_that_no_cookie_holds_is_refused() -> None:
    long = request(
        state="s" * 1024, redirect_uri="https://a.example/" + "x" * 490, resource="r" * 900, name="n" * 300
    )
    with pytest.raises(Rejected) as refused:
        flow.show(SEALER, long, "one", NOW)
    assert refused.value.reason == "login_request_invalid"


def shown(length: int) -> Request | None:
    """A request with a state of this length, if it can be shown."""
    asked = request(state="s" * length, redirect_uri="https://a.example/" + "x" * 490, acr_values="a" * 200)
    try:
        flow.show(SEALER, asked, "one", NOW)
    except Rejected:
        return None
    return asked


def test_the_longest_request_that_is_shown_fits_a_cookie() -> None:
    longest = next(asked for length in range(1024, 0, -1) if (asked := shown(length)))
    _, cookie = flow.depart(SEALER, longest, login.secret(), NOW)
    assert len(cookie) <= flow.MAX_SEALED


def test_a_trip_belongs_to_its_state() -> None:
    trip, cookie = flow.depart(SEALER, request(), "state", NOW)
    assert flow.arrive(SEALER, cookie, "state", NOW) == trip
    with pytest.raises(Rejected) as refused:
        flow.arrive(SEALER, cookie, "another", NOW)
    assert refused.value.reason == "login_browser_mismatch"


def test_a_trip_takes_ten_minutes_at_most() -> None:
    _, cookie = flow.depart(SEALER, request(), "state", NOW)
    with pytest.raises(Rejected) as refused:
        flow.arrive(SEALER, cookie, "state", NOW + flow.PATIENCE)
    assert refused.value.reason == "login_expired"


def test_a_page_is_no_trip_and_no_refresh_token() -> None:
    field = flow.show(SEALER, request(), "one", NOW)
    with pytest.raises(Rejected):
        flow.arrive(SEALER, field, "one", NOW)
    with pytest.raises(Rejected):
        flow.refreshed(SEALER, field)


def test_a_refresh_token_names_its_grant() -> None:
    token, digest = flow.refresh_token(SEALER, "grant")
    assert flow.refreshed(SEALER, token) == ("grant", digest)
    assert flow.refresh_token(SEALER, "grant")[1] != digest
