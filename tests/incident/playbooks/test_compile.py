"""Playbooks compile to a plan, or are refused with the line of everything that is wrong."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.incident.playbooks.compile import LARGEST, compile_playbook, used
from airlock.incident.playbooks.problem import PlaybookError
from airlock.incident.playbooks.write import write
from airlock.model.playbook import Call, Manual
from tests.incident.playbooks.texts import FRONT, WHOLE, with_steps

ESCALATE = 'escalate(level="L2", reason="r")'


def problems(source: str) -> list[tuple[int, str]]:
    with pytest.raises(PlaybookError) as caught:
        compile_playbook(source)
    return [(found.line, found.text) for found in caught.value.problems]


def test_the_plan_says_what_the_text_says() -> None:
    compiled = compile_playbook(WHOLE)
    plan = compiled.plan
    assert (plan.id, plan.severity_floor, plan.reviewed_on, plan.start) == (
        "tool-rug-pull", "P1", "2026-11-22", "freeze",
    )  # fmt: skip
    assert [step.id for step in plan.steps] == ["freeze", "quarantine", "disable", "again", "step_5"]
    freeze, quarantine, disable, again, last = plan.steps
    assert freeze.title == "Keep what is there"
    assert freeze.do == Call(
        action="evidence.snapshot", params={"scope": "server:${server_id}", "window": "2h"}
    )
    assert (quarantine.ttl, quarantine.on_success, quarantine.on_failure) == (3600.0, "again", "disable")
    assert (disable.approvals, disable.on_success, disable.on_failure) == (2, "again", "stop")
    assert again.do == Manual(language="bash", text="kubectl rollout restart deployment/airlock")
    assert (again.delay, again.timeout, again.on_success) == (30.0, 3600.0, "step_5")
    assert last.do == Manual(language="text", text="nothing in particular ~~~~")
    assert compiled.lines["quarantine"] == 22
    assert used(plan) == {"server_id", "tool", "new_digest"}


def test_a_plan_is_written_as_a_text_that_gives_the_same_plan() -> None:
    plan = compile_playbook(WHOLE).plan
    again = compile_playbook(write(plan)).plan
    assert again == plan
    assert again.digest == plan.digest


def test_line_ends_of_other_systems_change_nothing() -> None:
    assert compile_playbook(WHOLE.replace("\n", "\r\n")).plan == compile_playbook(WHOLE).plan


@pytest.mark.parametrize(
    ("fence", "line", "text"),
    [
        ('action {"id": "a"}\nrun.shell(command="ls")', 13, "there is no action run.shell"),
        ("action\nimport os", 14, "NAME(KEY=VALUE"),
        ('action\nescalate(level="L2", reason=open("/etc/passwd"))', 14, "a value is JSON"),
        ('action\nescalate(level="L2",\n reason="${"+"x}")', 15, "no code and no template"),
        ('action\nescalate(level="L2", reason="$(id)")', 14, "no code and no template"),
        ('action\nescalate(level="L2", reason="`id`")', 14, "no code and no template"),
        ('action\nescalate(level="L2", reason="{{ 7 }}")', 14, "no code and no template"),
        ('action\nescalate("L2")', 14, "KEY=VALUE"),
        ('action\nescalate(level="L2", level="L3")', 14, "given twice"),
        ('action\nescalate(level="L2" reason="r")', 14, "a comma or the closing bracket"),
        (f"action\n{ESCALATE}\n{ESCALATE}", 15, "one call"),
        ('action\nescalate(level="L2", reason="${secret}")', 13, "there is no variable secret"),
        ('action\nescalate(level="L9", reason="r")', 13, "level is one of L2"),
        ('action\nescalate(level="L2")', 13, "escalate needs reason"),
        ('action\nescalate(level=["L2"], reason="r")', 13, "level is a text"),
        ('action\nescalate(level="L2", reason="r", sudo=true)', 13, "not sudo"),
        ('action\nwebhook.call(target="a", body="b")', 13, "body is an object"),
        ('action\nwebhook.call(target="a", body={"a": 1, "a": 2})', 14, "a value is JSON"),
        ('action\nwebhook.call(target="a", body={"a": NaN})', 14, "a value is JSON"),
        ('action\nwebhook.call(target="a", body=[[[[[[[[[1]]]]]]]]])', 14, "8 levels"),
        ('action\nwebhook.call(target="a", body=' + "[" * 4000 + ")", 14, "a value is JSON"),
        ('action\nwebhook.call(target="a", body=' + '{"a":' * 500 + "1" + "}" * 500 + ")", 14, "8 levels"),
        ("action\n" + "x" * 5000, 14, "4096 characters"),
        ('action\nevidence.snapshot(window="soon")', 13, "window is"),
        ('action\nip.block(cidr="300.1.1.1")', 13, "300.1.1.1"),
        ('action {"ttl": "48h"}\nip.block(cidr="192.0.2.1")', 13, "lasts 1d at most"),
        (f'action {{"ttl": "1h"}}\n{ESCALATE}', 13, "takes no ttl"),
        (f'action {{"ttl": "0s"}}\n{ESCALATE}', 13, "ttl: from 1s"),
        (f'action {{"ttl": "soon"}}\n{ESCALATE}', 13, "ttl: not a duration"),
        (f'action {{"approvals": 3}}\n{ESCALATE}', 13, "0, 1 or 2 people"),
        (f'action {{"approvals": true}}\n{ESCALATE}', 13, "0, 1 or 2 people"),
        (f'action {{"id": "A-1"}}\n{ESCALATE}', 13, "id: a lower-case letter"),
        (f'action {{"id": "end"}}\n{ESCALATE}', 13, "end is no name"),
        (f'action {{"shell": "x"}}\n{ESCALATE}', 13, "not shell"),
        (f"action id=x\n{ESCALATE}", 13, "one JSON object"),
        (f'action {{"id": "a", "id": "b"}}\n{ESCALATE}', 13, "one JSON object"),
        (f'action {{"when": ""}}\n{ESCALATE}', 13, "when: one line of text"),
        (f'action {{"when": "exec(1)"}}\n{ESCALATE}', 13, "when: nothing is called exec"),
        (f'action {{"on_success": "b"}}\n{ESCALATE}', 13, "there is no step b"),
        (f'action {{"id": "a", "on_success": "a"}}\n{ESCALATE}', 13, "a leads back to a"),
        ('bash {"ttl": "1h"}\nls', 13, "ttl is for actions"),
        ("bash\n", 14, "says what to do"),
        ("bash\nkubectl delete pod x", 13, "evidence.snapshot"),
        ("bash\n# safe\nhelm rollback airlock", 13, "evidence.snapshot"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_step_is_told_with_its_line(fence: str, line: int, text: str) -> None:
    found = problems(with_steps(fence))
    assert [place for place, said in found if text in said] == [line], found


def test_loops_and_steps_that_nothing_leads_to_are_refused() -> None:
    loop = with_steps(
        f'action {{"id": "a"}}\n{ESCALATE}',
        f'action {{"id": "b", "on_failure": "c"}}\n{ESCALATE}',
        f'action {{"id": "c", "on_success": "a"}}\n{ESCALATE}',
    )
    assert problems(loop) == [(19, "c leads back to a: a playbook has no loop")]
    lost = with_steps(f'action {{"id": "a", "on_success": "end"}}\n{ESCALATE}', "bash\nls")
    assert problems(lost) == [(16, "step_2 is never reached: no step leads to it")]
    twice = with_steps(f'action {{"id": "a"}}\n{ESCALATE}', f'action {{"id": "a"}}\n{ESCALATE}')
    assert problems(twice) == [(16, "a is a step already, in line 13")]


def test_evidence_comes_before_a_restart_on_every_way() -> None:
    restart = 'bash {"id": "again"}\nkubectl rollout restart deploy/x'
    keep = 'action {"id": "keep"}\nevidence.snapshot(window="1h")'
    compile_playbook(with_steps(keep, restart))
    compile_playbook(with_steps('bash {"id": "keep"}\nairlock evidence collect --incident X', restart))
    for other in (
        keep.replace('"keep"', '"keep", "when": "severity == \'P0\'"'),
        keep.replace('"keep"', '"keep", "on_failure": "again"'),
        'bash\necho airlock evidence collect',
    ):  # fmt: skip
        assert any("this restarts" in text for _, text in problems(with_steps(other, restart)))


@pytest.mark.parametrize(
    ("old", "new", "line", "text"),
    [
        ("---\n", "", 1, "begins with its front matter"),
        ("types: [security_incident]", "typs: [security_incident]", 4, "did you mean types"),
        ("types: [security_incident]", "types: [panic]", 4, "one or more of"),
        ("types: [security_incident]", "types: security_incident", 4, "a list"),
        ("severity_floor: P1", "severity_floor: P9", 5, "one of P0"),
        ("id: tool-rug-pull", "id: Tool Rug", 2, "lower-case letters"),
        ("id: tool-rug-pull", "id: a\nid: b", 3, "given twice"),
        ("title: A tool changed", "title: ''", 3, "not an empty one"),
        ("title: A tool changed\n", "", 1, "title is missing"),
        ("reviewed_on: 2026-11-22", "reviewed_on: 2026-13-22", 9, "YYYY-MM-DD"),
        ("owner: security", "owner: [a]", 8, "one line of text"),
        ("owner: security", f"owner: {'x' * 501}", 8, "500 characters"),
        ("owner: security", "active: maybe", 8, "true or false"),
        ("pre_approved: [quarantine]", "pre_approved: [again]", 1, "there is no step again with an action"),
        ("owner: security", "owner: {{", 10, "YAML"),
    ],
)
def test_what_is_wrong_with_the_front_matter_is_told_with_its_line(
    old: str, new: str, line: int, text: str
) -> None:
    found = problems(WHOLE.replace(old, new, 1))
    assert [place for place, said in found if text in said], found
    assert line in [place for place, _ in found]


def test_a_playbook_has_bounds() -> None:
    assert problems("x" * (LARGEST + 1)) == [(1, f"a playbook has {LARGEST} characters at most")]
    assert problems(with_steps(*(["bash\nls"] * 101)))[0][1] == "a playbook has 100 steps at most"
    assert "at least one step" in problems(FRONT.replace("[quarantine]", "[]"))[0][1]


@given(st.text(max_size=200), st.text(alphabet='{}[]":, ~`action\n()=$', max_size=200))
def test_no_text_breaks_the_compiler(info: str, content: str) -> None:
    with contextlib.suppress(PlaybookError):
        compile_playbook(with_steps(f"action {info}\n{content}"))
    with contextlib.suppress(PlaybookError):
        compile_playbook(f"---\n{info}\n---\n{content}")
