"""Every rule fires on its attack and is silent on what looks like it (I15), and says what it is."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec
import pytest
import yaml

from airlock.incident.detect import replay, traces, windows
from airlock.incident.detect.catalogue import files_of, rules, source, taxonomy, trace
from airlock.incident.detect.memory import Memory
from airlock.incident.detect.seen import COLUMNS, Seen
from airlock.model.detection import Setting, Settings
from airlock.model.incident import Finding
from scripts import rules as compiler

START = datetime(2026, 11, 16, 8, tzinfo=UTC).timestamp()
"""A Monday, 8 o'clock."""


def play(text: str, rule: str, settings: Settings | None = None) -> list[Finding]:
    memory = Memory()
    try:
        player = replay.Replay(memory, (rules()[rule],), settings)
        return list(player.play(traces.rows(text, START), since=START))
    finally:
        memory.close()


def test_the_catalogue_has_29_rules() -> None:
    assert list(rules()) == [f"MCP-{number:03}" for number in range(1, 30)]


@pytest.mark.parametrize("rule", rules())
def test_i15_a_rule_fires_on_its_attack(rule: str) -> None:
    found = play(trace(rule, "attack"), rule)
    assert found
    assert {each.rule for each in found} == {rule}
    for each in found:
        assert each.event_ids
        assert START - 1 <= each.since <= each.until


@pytest.mark.parametrize("rule", rules())
def test_i15_a_rule_is_silent_on_honest_traffic(rule: str) -> None:
    assert play(trace(rule, "benign"), rule) == []


GRAVEST = {
    "MCP-011": "P1",
    "MCP-014": "P1",
    "MCP-013": "P0",
    "MCP-021": "P0",
    "MCP-023": "P0",
    "MCP-015": "P3",
}


@pytest.mark.parametrize("rule", GRAVEST)
def test_a_finding_is_as_grave_as_the_gravest_way_to_fire(rule: str) -> None:
    assert min(each.severity for each in play(trace(rule, "attack"), rule)) == GRAVEST[rule]


def test_what_is_checked_in_is_what_the_sources_compile_to() -> None:
    assert (compiler.RULES / "compiled.json").read_bytes() == compiler.compiled()


def test_every_technique_exists_in_its_list() -> None:
    known = {id for each in yaml.safe_load(files_of("techniques.json")) for id in each["ids"]}
    named = {id for rule in rules().values() for id in rule.mapping}
    assert named - known == set()
    assert len(named) > 30


def test_the_taxonomy_names_every_field() -> None:
    told = yaml.safe_load(taxonomy())
    assert (told["product"], told["service"]) == ("mcp_gateway", "audit")
    assert tuple(told["fields"]) == COLUMNS


def test_a_rule_says_what_it_does_and_where_it_errs() -> None:
    for rule in rules().values():
        assert rule.description, rule.id
        assert rule.false_positives, rule.id
        assert rule.responses, rule.id
        for document in yaml.safe_load_all(source(rule.id)):
            assert document["level"] in {"critical", "high", "medium", "low"}


def test_the_ids_of_sigma_documents_are_their_own() -> None:
    ids = Counter(document["id"] for rule in rules() for document in yaml.safe_load_all(source(rule)))
    assert [id for id, count in ids.items() if count > 1] == []


def refusals(subjects: tuple[str, ...], count: int) -> list[Seen]:
    return [
        Seen(
            id=f"{subject}-{number}", at=START + number, event_type="call", decision="deny", phase="single",
            subject=subject, source_ip="203.0.113.7",
        )
        for number in range(count)
        for subject in subjects
    ]  # fmt: skip


def burst(rows: list[Seen], settings: Settings | None = None) -> list[Finding]:
    memory = Memory()
    try:
        memory.feed(rows)
        return windows.run(memory.db, (rules()["MCP-001"],), START + 60, settings or {})
    finally:
        memory.close()


def test_group_keys_are_compared_by_case() -> None:
    assert burst(refusals(("Ada", "ada"), 12)) == []
    (found,) = burst(refusals(("Ada", "ada"), 12) + refusals(("ada",), 10))
    assert found.group["subject"] == "ada"


def test_a_finding_has_at_most_1000_ids_and_a_pass_at_most_1000_groups() -> None:
    (found,) = burst([msgspec.structs.replace(each, at=START) for each in refusals(("ada",), 1200)])
    assert (len(found.event_ids), found.metric, found.severity) == (1000, 1200.0, "P1")
    many = [
        Seen(
            id=f"{n}",
            at=START,
            event_type="call",
            decision="deny",
            subject=f"s{n}",
            source_ip="::1",
            times=20,
        )
        for n in range(1100)
    ]
    assert len(burst(many)) == 1000


def test_a_row_that_stands_for_many_counts_in_full() -> None:
    rows = [msgspec.structs.replace(each, times=5) for each in refusals(("ada",), 4)]
    assert [each.metric for each in burst(rows)] == [20.0]


def test_thresholds_of_everywhere_and_of_one_tenant_hold() -> None:
    rows = refusals(("ada",), 20)
    everywhere = {("MCP-001", ""): Setting(thresholds={"count": 30})}
    assert burst(rows, everywhere) == []
    own = {**everywhere, ("MCP-001", "acme"): Setting(thresholds={"count": 10})}
    assert burst(rows, own) == []
    of_acme = [msgspec.structs.replace(each, tenant="acme") for each in refusals(("ada",), 12)]
    assert [each.tenant for each in burst(rows + of_acme, own)] == ["acme"]


def test_an_inactive_rule_is_not_asked_and_a_tenant_may_differ() -> None:
    rows = refusals(("ada",), 20)
    assert burst(rows, {("MCP-001", ""): Setting(mode="inactive")}) == []
    assert len(burst(rows, {("MCP-001", ""): Setting(mode="monitor")})) == 1
    of_acme = [msgspec.structs.replace(each, tenant="acme") for each in rows]
    settings = {("MCP-001", ""): Setting(mode="inactive"), ("MCP-001", "acme"): Setting(mode="active")}
    assert [each.tenant for each in burst(rows + of_acme, settings)] == ["acme"]


def test_only_what_is_newer_or_graver_is_news() -> None:
    news = windows.News()
    first, later = burst(refusals(("ada",), 20)), burst(refusals(("ada",), 21))
    graver = [msgspec.structs.replace(later[0], severity="P1")]
    assert news.of(first) == news.of(first) == first
    news.told(first)
    assert news.of(first) == []
    assert news.of(later) == later
    news.told(later)
    assert news.of(graver) == graver
    news.told([])
    assert news.of(first) == first


def test_volume_without_a_past_is_unsure() -> None:
    rows = [
        Seen(
            id=f"{n}", at=START + n, event_type="call", phase="outcome", decision="allow", subject="ada",
            bytes=30_000_000, sensitivity="high",
        )
        for n in range(2)
    ]  # fmt: skip
    memory = Memory()
    memory.feed(rows)
    (found,) = windows.run(memory.db, (rules()["MCP-008"],), START + 60, {})
    memory.close()
    assert (found.severity, found.confidence, found.labels) == ("P0", "low", {"fire": "classified"})


@pytest.mark.parametrize("asked", [-5.0, 10.0], ids=["before the hour is over", "in the next hour"])
def test_what_is_judged_is_not_what_is_usual(asked: float) -> None:
    """A server that became slow right before the hour is slow right after it, too."""
    rows = [
        Seen(
            id=f"{n}", at=START - 60 + n / 2, event_type="call", phase="outcome", decision="allow",
            server="notes", latency_ms=1200,
        )
        for n in range(100)
    ]  # fmt: skip
    memory = Memory()
    memory.feed(rows)
    found = windows.run(memory.db, (rules()["MCP-025"],), START + asked, {})
    memory.close()
    assert [(each.group["server"], each.severity) for each in found] == [("notes", "P1")]


def test_a_trace_with_a_mistake_names_its_line() -> None:
    for wrong in ('{"at": 0}\n{"nope": 1}', '{}\n{"repeat": 0}', "{}\nno json", '{}\n{"bytes": "many"}'):
        with pytest.raises(ValueError, match=r"^line 2: "):
            traces.rows(wrong, START)


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ("detection: {s: {nope: 1}, condition: s}", "no field is called nope"),
        (
            "correlation: {type: event_count, rules: [a], group-by: [subject], timespan: 5m,"
            " condition: {lt: 2}}\n"
            "airlock: {severity: P2, threshold: count}",
            "needs a condition gte or gt",
        ),
        (
            "correlation: {type: event_count, rules: [a], group-by: [nope], timespan: 5m,"
            " condition: {gte: 2}}\n"
            "airlock: {severity: P2, threshold: count}",
            "no column is called nope",
        ),
    ],
)
def test_a_rule_with_a_mistake_does_not_compile(document: str, match: str) -> None:
    head = "logsource: {product: mcp_gateway}\nid: 0fa89f5e-f383-5276-aa66-1df1035ab6b"
    about = (
        "airlock: {rule: MCP-001, tier: T1, severity: P2, mode: active, window: 5m, responses: [],"
        " mapping: []}"
    )
    first = f"title: t\nname: a\n{head}1\ndetection: {{s: {{decision: deny}}, condition: s}}\n{about}\n"
    second = f"---\ntitle: u\nname: b\n{head}2\n{document}\n"
    with pytest.raises(compiler.Defect, match=match):
        compiler.compile_rule(first + second)


def test_a_rule_without_its_head_does_not_compile() -> None:
    text = source("MCP-001")
    with pytest.raises(compiler.Defect, match="must have `airlock`"):
        compiler.compile_rule(text.partition("airlock:")[0] + "---\n" + text.partition("---\n")[2])
