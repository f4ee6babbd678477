"""Whether a value fits a schema of a tool; what cannot be checked does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from airlock.gateway import fit
from airlock.gateway.fit import Fit
from airlock.model.server import Item
from tests.gateway.parts import definition, registered


def tool(output: Any) -> Item:
    catalog = registered("docs", definition("echo", outputSchema=output)).catalog
    assert catalog is not None
    return catalog.tools["echo"]


STRING = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_a_value_fits_or_not() -> None:
    of = tool(STRING)
    check = Fit()
    assert check(of, "outputSchema", {"a": "x"})
    assert not check(of, "outputSchema", {"a": 1})


def test_without_a_schema_anything_fits() -> None:
    catalog = registered("docs", definition("echo")).catalog
    assert catalog is not None
    assert Fit()(catalog.tools["echo"], "outputSchema", {"a": 1})


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://elsewhere.test/x"},
        {"type": "object", "properties": {"a": {"pattern": "("}}},
        {"type": 5},
    ],
)
def test_nothing_fits_a_schema_that_cannot_be_used(schema: dict[str, Any]) -> None:
    assert not Fit()(tool(schema), "outputSchema", {"a": "x"})


def test_what_is_deeper_than_can_be_checked_does_not_fit() -> None:
    schema = {"type": "object", "additionalProperties": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {"a": value}
    assert not Fit()(tool(schema), "outputSchema", value)


def test_compiled_schemas_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "MAX_COMPILED", 2)
    check = Fit()
    for most in range(5):
        check(tool({**STRING, "maxProperties": most}), "outputSchema", {})
    assert len(check) == 2
