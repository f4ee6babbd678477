"""A few keys of a configuration: what they may be, and what only a whole configuration can say."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core import fragment
from airlock.core.errors import ConfigError
from airlock.core.settings import BASELESS, load


def read(text: str) -> fragment.Fragment:
    return fragment.read(text.encode(), lambda line: f"o.yaml:{line}")


def complaints(text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as error:
        read(text)
    return [(each.where, each.what) for each in error.value.problems]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('rate_limiting:\n  per_token: "10/min"\n', {"rate_limiting.per_token": ("10/min", "o.yaml:2")}),
        ("rateLimiting: {perIp: 50/min}", {"rate_limiting.per_ip": ("50/min", "o.yaml:1")}),
        ("rate_limiting: {per_tenant: null}", {"rate_limiting.per_tenant": (None, "o.yaml:1")}),
        (
            "logging:\n  level: DEBUG\n  auditAllRequests: true\n",
            {"logging.level": ("debug", "o.yaml:2"), "logging.audit_all_requests": (True, "o.yaml:3")},
        ),
        (
            "policy:\n  cacheTTL: 10m\n  cacheSize: 20000\n",
            {"policy.cache_ttl": (600.0, "o.yaml:2"), "policy.cache_size": (20000, "o.yaml:3")},
        ),
        (
            "server: {maxConnections: 1000, maxClients: 500}",
            {"server.max_connections": (1000, "o.yaml:1"), "server.max_clients": (500, "o.yaml:1")},
        ),
        ("{}", {}),
        ("", {}),
        ("# nothing\n", {}),
    ],
)
def test_a_fragment_asks_for_a_few_keys(text: str, asked: dict[str, tuple[object, str]]) -> None:
    found = read(text)
    assert {each.key: (each.value, each.where) for each in found.asked} == asked
    assert found.duration is None


def test_a_duration_is_no_wish_of_its_own() -> None:
    found = read("monitoring: {enhanced: true, duration: 12h}")
    assert [(each.key, each.value) for each in found.asked] == [("monitoring.enhanced", True)]
    assert found.duration == 12 * 3600


@pytest.mark.parametrize(
    ("text", "where", "word"),
    [
        ("auth: {local_issuer: false}", "o.yaml:1", "belongs into the whole configuration"),
        ("logging: {level: debug}\nservers: []", "o.yaml:2", "belongs into the whole configuration"),
        ("server: {port: 80}", "o.yaml:1", "belongs into the whole configuration"),
        ("\nrate_limiting: {per_tokn: 1/s}", "o.yaml:2", "unknown key"),
        ("logging: {level: loud}", "o.yaml:1", "found `loud`"),
        ("rate_limiting: {per_token: fast}", "o.yaml:1", "found `fast`"),
        ("monitoring: {enhanced: true, duration: 100d}", "o.yaml:1", "duration"),
        ("- a", "o.yaml:1", "found a list value"),
        ("logging: [", "o.yaml:1", "not readable as YAML"),
        ("logging: {audit_all_requests: !!bool maybe}", "o.yaml:1", "found `maybe`"),
        ("logging: !!map debug", "o.yaml:1", "found a other value"),
        ("#" * (fragment.LARGEST + 1), "o.yaml:1", "larger than"),
    ],
)
def test_what_is_no_fragment_is_refused_with_its_place(text: str, where: str, word: str) -> None:
    (complaint,) = complaints(text)
    assert complaint[0] == where
    assert word in complaint[1]


def test_every_complaint_is_said_at_once() -> None:
    assert len(complaints("logging: {level: loud}\nauth: {local_issuer: true}\n")) == 2


@pytest.mark.parametrize(
    ("key", "text", "found"),
    [
        ("rateLimiting.perToken", "10/min", ("rate_limiting.per_token", "10/min")),
        ("logging.level", "warning", ("logging.level", "warn")),
        ("policy.cacheTTL", "10m", ("policy.cache_ttl", 600.0)),
        ("server.max_clients", "500", ("server.max_clients", 500)),
        ("monitoring.enhanced", "true", ("monitoring.enhanced", True)),
    ],
)
def test_one_key_is_read_as_in_a_file(key: str, text: str, found: tuple[str, object]) -> None:
    (asked,) = fragment.single(key, text).asked
    assert (asked.key, asked.value) == found


@pytest.mark.parametrize(
    ("key", "text", "word"),
    [
        ("logging.levle", "debug", "did you mean logging.level"),
        ("auth.local_issuer", "true", "one of rate_limiting.per_token"),
        ("monitoring.duration", "3h", "did you mean"),
        ("level", "debug", "one of"),
        ("policy.cache_size", "many", "expected a whole number"),
        ("logging.level", "[", "not readable"),
    ],
)
def test_another_key_or_value_is_refused(key: str, text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        fragment.single(key, text)


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ('rate_limiting: {per_token: "10/min"}', True),
        ("monitoring: {enhanced: true, duration: 24h}", True),
        ("logging: {level: debug}\nserver: {port: 8081}", False),
        ("{}", False),
    ],
)
def test_a_fragment_alone_is_no_configuration(tmp_path: Path, text: str, lost: bool) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert (BASELESS in load(path, {}).not_ready) is lost


def test_variables_are_no_base(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("logging: {level: debug}")
    assert load(path, {"AIRLOCK__SERVER__PORT": "8081"}).not_ready == (BASELESS,)
