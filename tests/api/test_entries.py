"""The table of the management API: every entry asks who may, and takes no body that it does not declare."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
import pytest

from airlock.api.entries import PERMISSIONS, Entry, document, etag, expected, query, versioned
from airlock.core.errors import Rejected
from airlock.incident.orders import Open
from airlock.store.database import Store, open_store
from tests.api.containing import House
from tests.api.doors import request
from tests.gateway.parts import principal


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: Literal["open", "all"] = "open"
    limit: Annotated[int, msgspec.Meta(ge=1)] = 10
    name: str = ""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = open_store(tmp_path_factory.mktemp("entries") / "sark.db")
    yield opened
    opened.close()


def at(entry: Entry) -> str:
    return re.sub(r"\{[a-z_]+\}", "nothing", entry.path)


def test_every_address_is_closed_to_whoever_has_neither_the_role_nor_a_yes(shared: Store) -> None:
    house = House(shared, who=principal("mallory", roles=("developer",)))
    for entry in house.entries:
        assert house.ask(entry.method, at(entry)) == (403, "admin_role_required"), entry.path


def test_every_address_declares_a_permission_that_is_known(shared: Store) -> None:
    for entry in House(shared).entries:
        assert entry.permission in PERMISSIONS
        assert entry.writes or entry.permission in {
            "gateway.read", "incidents.read", "evidence.read", "reports.read"
        }, entry.path  # fmt: skip


def test_no_address_takes_a_member_that_it_does_not_declare(shared: Store) -> None:
    house = House(shared)
    for entry in house.entries:
        if entry.takes is not None:
            status, _ = house.ask(entry.method, at(entry), {"no such member": 1})
            assert status in (404, 422), entry.path


def test_no_address_takes_a_query_that_it_does_not_declare(shared: Store) -> None:
    house = House(shared)
    for entry in house.entries:
        if entry.asks is not None:
            status, _ = house.ask(entry.method, f"{at(entry)}?no_such_name=1")
            assert status in (404, 422), entry.path


def test_a_query_is_read_by_its_type() -> None:
    assert query(request(query=""), Asked) == Asked()
    assert query(request(query="state=all&limit=3&name=a%20b"), Asked) == Asked("all", 3, "a b")


@pytest.mark.parametrize("text", ["state", "state=other", "limit=0", "limit=x", "name=a&name=b", "x=1", "&"])
def test_a_query_that_does_not_fit(text: str) -> None:
    with pytest.raises(Rejected) as refused:
        query(request(query=text), Asked)
    assert (refused.value.http, refused.value.reason) == (422, "invalid_params")


@pytest.mark.parametrize(("sent", "version"), [((), None), (("*",), None), (('"7"',), 7), ((' "12" ',), 12)])
def test_the_version_that_is_demanded(sent: tuple[str, ...], version: int | None) -> None:
    assert expected(request(headers=tuple(("if-match", each) for each in sent))) == version


@pytest.mark.parametrize(
    "sent", [("7",), ('W/"7"',), ('"x"',), ('""',), ('"1", "2"',), ('"1"', '"1"'), ("",)]
)
def test_what_is_no_version_of_ours_matches_nothing(sent: tuple[str, ...]) -> None:
    with pytest.raises(Rejected) as refused:
        expected(request(headers=tuple(("if-match", each) for each in sent)))
    assert (refused.value.http, refused.value.reason) == (412, "version_conflict")


def test_an_answer_carries_the_version_that_a_change_may_demand() -> None:
    response = versioned(200, {}, 7)
    assert etag(7)[0] in response.headers
    assert expected(request(headers=(("if-match", dict(response.headers)["etag"]),))) == 7


def test_of_a_wrong_word_the_right_ones_are_named() -> None:
    with pytest.raises(Rejected) as refused:
        document(request(body=b'{"type": "alien"}'), Open)
    assert "One of: service_outage, security_incident, " in str(refused.value)
    with pytest.raises(Rejected) as refused:
        document(request(body=b'{"severity": "P9"}'), Open)
    assert "One of: P0, P1, P2, P3." in str(refused.value)
