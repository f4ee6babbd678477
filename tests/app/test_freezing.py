"""While a lease freezes policy or administration, a reload changes neither."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import msgspec
import pytest

from airlock.app.freezing import refuse_frozen
from airlock.core.clock import SYSTEM
from airlock.core.config import Config, ObserveSection, RateLimitingSection
from airlock.core.errors import ConfigError
from airlock.model.lease import Action, Selector
from airlock.store import leases
from airlock.store.database import FILE, Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Generator[Store]:
    opened = open_store(tmp_path / FILE)
    yield opened
    opened.close()


def give(store: Store, action: Action) -> str:
    given = leases.activate(
        store, action=action, selector=Selector(), ttl=None, reason="r", actor="me", origin="api",
        now=SYSTEM.wall(),
    )  # fmt: skip
    return given.lease.id


def reload(folder: Path, *, policy: bool = False, **changed: object) -> str:
    """Why it is refused; empty where it is not."""
    running = Config(data_dir=str(folder))
    wanted = msgspec.structs.replace(running, **changed)
    try:
        refuse_frozen(running, wanted, other_policy=policy, clock=SYSTEM)
    except ConfigError as refused:
        return str(refused)
    return ""


def test_without_a_freeze_everything_may_change(store: Store, tmp_path: Path) -> None:
    assert reload(tmp_path, policy=True) == ""


def test_a_frozen_policy_stays_and_the_rest_may_change(store: Store, tmp_path: Path) -> None:
    lease = give(store, "policy.freeze")
    assert f"policy is frozen by lease {lease}" in reload(tmp_path, policy=True)
    assert "policy is frozen" in reload(tmp_path, observe=ObserveSection(tenants=("acme",)))
    assert reload(tmp_path, rate_limiting=RateLimitingSection(burst=7)) == ""
    leases.release(store, id=lease, actor="me", reason="r", now=SYSTEM.wall())
    assert reload(tmp_path, policy=True) == ""


def test_while_administration_is_frozen_nothing_changes(store: Store, tmp_path: Path) -> None:
    lease = give(store, "admin.freeze")
    told = reload(tmp_path, rate_limiting=RateLimitingSection(burst=7))
    assert f"administration is frozen by lease {lease}" in told
    assert reload(tmp_path) == ""
