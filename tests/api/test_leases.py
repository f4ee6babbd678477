"""Containment of whatever kind over HTTP: `/api/v1/leases`."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.store import leases
from tests.api.containing import House
from tests.gateway.parts import NOW

LEASES = "/api/v1/leases"
SUSPEND = {"action": "subject.suspend", "selector": {"subject": "bob"}, "ttl": "30m", "reason": "stolen"}


def give(house: House, **more: Any) -> Any:
    status, answer = house.ask("POST", LEASES, {**SUSPEND, **more})
    assert status == 200, answer
    return answer


def test_the_answer_has_the_lease_and_who_enforces_it(house: House) -> None:
    answer = give(house, incident="INC-1")
    lease = answer.pop("lease")
    assert answer == {
        "lease_id": lease["id"],
        "epoch": 1,
        "replicas_acked": 2,
        "replicas_total": 2,
        "missing": [],
        "audit_seq": 1,
    }
    assert lease == {
        "id": lease["id"],
        "action": "subject.suspend",
        "selector": {"subject": "bob"},
        "state": "active",
        "reason": "stolen",
        "actor": "https://issuer.example|alice",
        "origin": "api",
        "incident": "INC-1",
        "epoch": 1,
        "created_at": "2027-01-15T08:00:00Z",
        "expires_at": "2027-01-15T08:30:00Z",
        "max_until": "2027-01-16T08:00:00Z",
        "remaining_seconds": 1800,
        "ended_at": None,
        "ended_by": "",
        "end_reason": "",
    }


@pytest.mark.parametrize(
    ("action", "selector", "seconds"),
    [
        ("ip.block", {"cidr": "203.0.113.0/24"}, 3600),
        ("subject.suspend", {"subject": "bob", "tenant": "acme"}, 3600),
        ("token.revoke", {"token": "jti-1"}, None),
        ("session.terminate", {"session": "a" * 64}, None),
        ("tool.quarantine", {"server": "notes", "tool": "write"}, 3600),
        ("server.disable", {"server": "notes"}, 14400),
        ("tenant.isolate", {"tenant": "acme"}, 3600),
        ("ratelimit.tighten", {"per_token": "10/min"}, 3600),
    ],
)
def test_without_a_ttl_a_lease_lasts_as_is_usual(
    house: House, action: str, selector: dict[str, str], seconds: int | None
) -> None:
    order = {"action": action, "selector": selector, "reason": "x"}
    status, answer = house.ask("POST", LEASES, order)
    assert (status, answer["lease"]["remaining_seconds"]) == (200, seconds)
    assert answer["lease"]["selector"] == selector


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"action": "subject.delete"}, 422, "action_unknown"),
        ({"selector": {}}, 422, "selector_invalid"),
        ({"selector": {"subject": "*"}}, 422, "selector_invalid"),
        ({"selector": {"subject": ""}}, 422, "selector_invalid"),
        ({"selector": {"server": "notes"}}, 422, "selector_invalid"),
        ({"selector": {"subject": 7}}, 422, "invalid_params"),
        ({"selector": "bob"}, 422, "invalid_params"),
        ({"ttl": "25h"}, 422, "duration_too_long"),
        ({"ttl": "soon"}, 422, "duration_invalid"),
        ({"reason": ""}, 422, "reason_invalid"),
        ({"reason": "x" * 513}, 422, "reason_invalid"),
        ({"until": "tomorrow"}, 422, "invalid_params"),
        ({"action": "token.revoke", "selector": {"token": "jti"}}, 422, "duration_invalid"),
        ({"action": "ip.block", "selector": {"cidr": "127.0.0.1"}}, 422, "would_lock_out"),
        ({"action": "ip.block", "selector": {"cidr": "localhost"}}, 422, "invalid_ip"),
    ],
)
def test_what_is_unfit_changes_nothing(house: House, change: dict[str, Any], status: int, word: str) -> None:
    assert house.ask("POST", LEASES, {**SUSPEND, **change}) == (status, word)
    assert leases.listing(house.store, now=NOW, include_ended=True) == []


def test_a_lease_without_a_reason_is_not_given(house: House) -> None:
    order = {key: value for key, value in SUSPEND.items() if key != "reason"}
    assert house.ask("POST", LEASES, order) == (422, "invalid_params")


def test_the_same_key_gives_the_same_lease(house: House) -> None:
    first = house.ask("POST", LEASES, SUSPEND, idempotency_key="k1")
    assert house.ask("POST", LEASES, SUSPEND, idempotency_key="k1") == first
    other = {**SUSPEND, "selector": {"subject": "carol"}}
    assert house.ask("POST", LEASES, other, idempotency_key="k1") == (409, "idempotency_conflict")
    assert len(leases.listing(house.store, now=NOW)) == 1


def test_a_key_that_is_too_long_is_refused(house: House) -> None:
    found = house.ask("POST", LEASES, SUSPEND, idempotency_key="k" * 129)
    assert found == (422, "idempotency_key_invalid")


def test_the_list_has_what_is_in_force_unless_all_is_asked_for(house: House) -> None:
    give(house)
    give(house, selector={"subject": "carol"}, ttl="10s")
    house.clock.seconds += 60

    def listed(query: str) -> list[tuple[str, str, int]]:
        status, answer = house.ask("GET", LEASES + query)
        assert status == 200
        return [
            (lease["selector"]["subject"], lease["state"], lease["remaining_seconds"])
            for lease in answer["leases"]
        ]

    assert listed("") == listed("?state=active") == [("bob", "active", 1740)]
    assert listed("?state=all") == [("bob", "active", 1740), ("carol", "expired", 0)]


@pytest.mark.parametrize("query", ["?state=ended", "?all", "?state=all&state=all"])
def test_a_query_that_nobody_understands(house: House, query: str) -> None:
    assert house.ask("GET", LEASES + query) == (422, "invalid_params")


def test_one_lease_is_shown(house: House) -> None:
    given = give(house)
    status, answer = house.ask("GET", f"{LEASES}/{given['lease_id']}")
    assert (status, answer["lease"]) == (200, given["lease"])


def test_a_lease_that_is_not_there(house: House) -> None:
    assert house.ask("GET", f"{LEASES}/nothing") == (404, "lease_unknown")
    assert house.ask("DELETE", f"{LEASES}/nothing") == (404, "lease_unknown")


def test_a_release_is_told_with_its_reason(house: House) -> None:
    given = give(house)
    status, answer = house.ask("DELETE", f"{LEASES}/{given['lease_id']}", {"reason": "found"})
    lease = answer["lease"]
    assert (status, answer["replicas_acked"], answer["audit_seq"]) == (200, 2, 2)
    assert (lease["state"], lease["end_reason"], lease["remaining_seconds"]) == ("released", "found", 0)
    assert (lease["ended_by"], lease["ended_at"]) == ("https://issuer.example|alice", "2027-01-15T08:00:00Z")


@pytest.mark.parametrize("body", [{"why": "x"}, {"reason": 7}])
def test_a_release_with_another_body_releases_nothing(house: House, body: object) -> None:
    given = give(house)
    assert house.ask("DELETE", f"{LEASES}/{given['lease_id']}", body) == (422, "invalid_params")
    assert len(leases.listing(house.store, now=NOW)) == 1


def test_what_is_irreversible_is_not_taken_back(house: House) -> None:
    order = {"action": "token.revoke", "selector": {"token": "jti-1"}, "reason": "leaked"}
    given = house.ask("POST", LEASES, order)[1]
    assert house.ask("DELETE", f"{LEASES}/{given['lease_id']}") == (409, "irreversible")


def test_a_lease_that_ended_is_not_taken_back(house: House) -> None:
    given = give(house)
    house.clock.seconds += 3600
    assert house.ask("DELETE", f"{LEASES}/{given['lease_id']}") == (409, "lease_ended")


def test_every_worker_is_told_to_look_at_every_change(house: House) -> None:
    given = give(house)
    house.ask("DELETE", f"{LEASES}/{given['lease_id']}")
    assert house.workers.looks == 2


def test_a_release_that_a_worker_has_not_seen_is_no_success(house: House) -> None:
    given = give(house)
    house.workers.asleep.add("one")
    status, answer = house.ask("DELETE", f"{LEASES}/{given['lease_id']}")
    assert (status, answer["missing"]) == (207, ["one"])
