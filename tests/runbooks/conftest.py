"""Checks under one fault run one after another, whatever the order of tests, so that the fault is made once.
Those without a fault run first, before the log is full of what faults leave there."""

from __future__ import annotations

import pytest

from tests.runbooks.registry import HEALTHY

QUIET = (HEALTHY, "F7e")
"""Under these no call fails: failed calls would open incidents again that are watched."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups by fault, in the order in which the faults come up; everything else stays where it is."""
    places = [place for place, item in enumerate(items) if fault_of(item)]
    scenes = [fault_of(items[place]) for place in places]
    quiet = sorted({each for each in scenes if each.split()[0] in QUIET})
    order = list(dict.fromkeys([*quiet, *scenes]))
    grouped = sorted((items[place] for place in places), key=lambda item: order.index(fault_of(item)))
    for place, item in zip(places, grouped, strict=True):
        items[place] = item


def fault_of(item: pytest.Item) -> str:
    """The scene that is made for a test; empty where none is."""
    call = item.callspec if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    return str(call.params.get("scene", "")) if call is not None else ""
