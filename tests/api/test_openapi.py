"""The document of the management API: valid, whole, and true of what is routed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from airlock.api.entries import PERMISSIONS
from airlock.api.openapi import OpenApi, document
from airlock.store.database import Store
from tests.api.containing import House
from tests.api.doors import ask, request, told
from tests.gateway.parts import PUBLIC

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERBS = ("get", "post", "patch", "delete")


@pytest.fixture
def shown(store: Store) -> dict[str, Any]:
    return document(House(store).entries, PUBLIC)


def operations(shown: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in shown["paths"].items():
        for verb, operation in verbs.items():
            yield verb, path, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():  # pyright: ignore[reportUnknownVariableType]
            if key == "$ref":
                yield str(each)  # pyright: ignore[reportUnknownArgumentType]
            yield from references(each)
    elif isinstance(value, list):
        for each in value:  # pyright: ignore[reportUnknownVariableType]
            yield from references(each)


def resolved(shown: dict[str, Any], reference: str) -> Any:
    found: Any = shown
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_every_entry_is_one_operation_and_nothing_else_is(store: Store) -> None:
    house = House(store)
    shown = document(house.entries, PUBLIC)
    there = {(verb.upper(), path) for verb, path, _ in operations(shown)}
    assert there == {(entry.method, entry.path) for entry in house.entries}
    assert {verb for verb, _, _ in operations(shown)} <= set(VERBS)


def test_it_says_which_version_of_openapi_it_is_and_where_the_gateway_is(shown: dict[str, Any]) -> None:
    assert shown["openapi"] == "3.1.0"
    assert shown["servers"] == [{"url": PUBLIC}]
    assert shown["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_every_schema_is_one(shown: dict[str, Any]) -> None:
    for schema in shown["components"]["schemas"].values():
        assert jsonschema_rs.meta.is_valid({**schema, "$schema": DIALECT})


def test_every_reference_leads_somewhere(shown: dict[str, Any]) -> None:
    for reference in set(references(shown)):
        assert isinstance(resolved(shown, reference), dict), reference


def test_every_operation_has_a_name_of_its_own(shown: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(shown)]
    assert len(names) == len(set(names))


def test_every_operation_says_who_may(shown: dict[str, Any]) -> None:
    for _, _, operation in operations(shown):
        assert operation["x-permission"] in PERMISSIONS
        assert operation["summary"].endswith(".")


def test_every_variable_of_a_path_is_a_parameter(shown: dict[str, Any]) -> None:
    for _, path, operation in operations(shown):
        there = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
        assert there == set(re.findall(r"\{([a-z_]+)\}", path)), path


def test_what_a_query_and_the_head_may_hold_is_there(shown: dict[str, Any]) -> None:
    listed = shown["paths"]["/api/v1/incidents"]["get"]["parameters"]
    assert {each["name"]: each["required"] for each in listed} == {"state": False, "limit": False}
    changed = shown["paths"]["/api/v1/incidents/{id}"]["patch"]["parameters"]
    assert {each["name"] for each in changed if each["in"] == "header"} == {"Idempotency-Key", "If-Match"}


def test_a_body_is_described_and_answers_have_their_status(shown: dict[str, Any]) -> None:
    opened = shown["paths"]["/api/v1/incidents"]["post"]
    assert opened["requestBody"]["required"] is True
    assert set(opened["responses"]) == {"200", "201", "default"}
    schema = resolved(shown, opened["requestBody"]["content"]["application/json"]["schema"]["$ref"])
    assert "severity" in schema["properties"]


def test_the_document_is_answered_and_made_once(store: Store) -> None:
    api = OpenApi(public_url=PUBLIC)
    api.over(House(store).entries)
    first = ask(api.document, request("GET"))
    api.over(())
    assert told(first)[1] == told(ask(api.document, request("GET")))[1]
