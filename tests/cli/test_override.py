"""`airlock override` and `airlock policy reload`: on the files while nothing runs, and as clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airlock.cli.serve import overlay_file
from tests.cli.test_containment import Site, answering, site

__all__ = ["site"]

RELOADED: dict[str, Any] = {
    "desired_sha256": "b" * 64,
    "result": "accepted",
    "sections": ["lists"],
    "changed": ["lists.find_tools"],
    "replicas_acked": 2,
    "replicas_total": 2,
}


def test_a_key_is_held_in_the_files_and_given_back(site: Site) -> None:
    done = site.run("override", "set", "rateLimiting.perToken=10/min", "--ttl", "1h", "--reason", "attack")
    assert done.exit_code == 0
    assert "rate_limiting.per_token: 200/min -> 10/min, until" in done.stdout
    (lease,) = site.held()
    assert (lease.action, lease.selector.per_token, lease.reason) == ("ratelimit.tighten", "10/min", "attack")
    listed = site.run("override", "list").stdout
    assert "rate_limiting.per_token: 10/min instead of 200/min" in listed
    assert lease.id in listed
    site.run("override", "set", "server.max_clients=500")
    assert "server.max_clients: 500 instead of null" in site.run("override", "list").stdout
    site.run("override", "remove", "server.maxClients")
    document = json.loads(site.run("override", "list", "--json").stdout)
    assert document["overlay"] is None
    gone = site.run("override", "remove", "rate_limiting.per_token")
    assert gone.stdout.startswith("released: rate_limiting.per_token (1 in all)")
    assert (site.held(), site.run("override", "list").stdout) == ([], "no key is held\n")


def test_a_rehearsal_changes_nothing(site: Site) -> None:
    done = site.run("override", "set", "rate_limiting.per_ip=50/min", "--dry-run")
    assert (done.exit_code, done.stdout) == (0, "would be rate_limiting.per_ip: 1000/min -> 50/min\n")
    told = json.loads(site.run("override", "set", "rate_limiting.per_ip=5/s", "--dry-run", "--json").stdout)
    assert (told["dry_run"], told["hit"]) == (True, None)
    assert site.held() == []


@pytest.mark.parametrize(
    ("setting", "code", "why"),
    [
        ("logging.level", 2, "write KEY=VALUE"),
        ("logging.level=error", 1, "protects less than info"),
        ("server.port=1", 1, "no key that can be set for a while"),
    ],
)
def test_what_is_refused_is_said(site: Site, setting: str, code: int, why: str) -> None:
    done = site.run("override", "set", setting)
    assert (done.exit_code, done.stdout) == (code, "")
    assert why in done.stderr
    assert site.held() == []


def test_a_running_gateway_says_whom_it_would_hit_and_how_the_overlay_stands(tmp_path: Path) -> None:
    hit = {"callers": 3, "addresses": 2, "shared": 1, "behind": 2, "of": 9}
    told = {"key": "k", "before": "a", "after": "b", "dry_run": True, "hit": hit}
    with answering(tmp_path, told) as (site, server):
        done = site.run("override", "set", "k=b", "--dry-run", token=True)
    assert "3 callers from 2 addresses; 1 of these are shared, by 2 callers" in done.stdout
    assert server.asked[0][1] == {
        "key": "k", "value": "b", "ttl": "", "reason": "", "incident": "", "dry_run": True,
    }  # fmt: skip
    problems = [{"where": "o.yaml:3", "what": "unknown\x1b key"}]
    listed: dict[str, Any] = {
        "settings": [],
        "overlay": {"path": "o.yaml", "state": "refused", "problems": problems},
    }
    with answering(tmp_path, listed) as (site, _):
        lines = site.run("override", "list", token=True).stdout.splitlines()
    assert lines == ["no key is held", "overlay o.yaml: refused", "  o.yaml:3: unknown\\x1b key"]


@pytest.mark.parametrize(("acked", "flags", "code"), [(2, [], 0), (1, [], 0), (1, ["--all-replicas"], 1)])
def test_a_reload_says_who_took_it_over(tmp_path: Path, acked: int, flags: list[str], code: int) -> None:
    body = {**RELOADED, "replicas_acked": acked}
    with answering(tmp_path, body, 200 if acked == 2 else 207) as (site, server):
        done = site.run("policy", "reload", *flags, token=True)
    assert (done.exit_code, server.asked) == (code, [("POST", None)])
    assert done.stdout.splitlines() == [
        f"accepted: policy {'b' * 12}, changed: lists.find_tools",
        f"taken over by {acked} of 2 workers",
    ]


def test_a_reload_that_is_refused_says_where(tmp_path: Path) -> None:
    problem = {"detail": "no", "problems": [{"where": "a.rego:7:1", "what": "syntax"}]}
    with answering(tmp_path, problem, 409) as (site, _):
        done = site.run("policy", "reload", token=True)
        shown = site.run("policy", "reload", "--json", token=True)
    assert (done.exit_code, done.stdout) == (1, "refused, what ran stays:\n  a.rego:7:1: syntax\n")
    assert (shown.exit_code, json.loads(shown.stdout)) == (1, problem)
    with answering(tmp_path, {"detail": "later"}, 429) as (site, _):
        assert "  later\n" in site.run("policy", "reload", token=True).stdout


def test_a_reload_needs_a_gateway(site: Site) -> None:
    done = site.run("policy", "reload", token=True)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no gateway answers" in done.stderr


def test_the_overlay_is_named_by_option_or_variable() -> None:
    assert overlay_file(None, {}) is None
    assert overlay_file(None, {"AIRLOCK_OVERLAY": ""}) is None
    assert overlay_file(None, {"AIRLOCK_OVERLAY": "/etc/o.yaml"}) == Path("/etc/o.yaml")
    assert overlay_file(Path("o.yaml"), {"AIRLOCK_OVERLAY": "/etc/o.yaml"}) == Path("o.yaml").absolute()
