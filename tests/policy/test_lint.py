"""What a policy may not contain, and where it is told."""

from __future__ import annotations

import pytest

from airlock.policy.bundle import Bundle
from airlock.policy.lint import lint
from airlock.policy.problem import PolicyRejected
from tests.policy.policies import SHIPPED, bundle, shipped

REFUSED = {
    "allow if io.jwt.decode(input.x)": "a.rego:2:23: function io.jwt.decode is not available to policies",
    "allow if {\n  http.send({})\n}": "a.rego:3:12: function http.send is not available to policies",
    "allow if time.now_ns() > 1": "function time.now_ns is not available",
    "allow if crypto.sha256(input.v) == input.v": "function crypto.sha256 is not available",
    "allow if net.cidr_merge([]) == []": "function net.cidr_merge is not available",
    "allow if rand.intn(input.v, 2) == 1": "function rand.intn is not available",
    "allow if print(input)": "function print is not available",
    "allow if data.lib.f(1)": "function data.lib.f is not available",
    "allow if nothing(1)": "function nothing is not available",
    'allow if $"a {input.v}" == "a"': "a.rego:2:10: invalid character",
    "allow { true }": "`if` keyword is required before rule body",
    "allow if {": "a.rego:2:11: expecting expression",
    "import rego.v0\nallow := true": "rego.v0",
    "x := 1": "a.rego:1:1: package airlock defines neither `decision` nor `allow`",
    "allow contains 1": "`allow` must be one value",
    "decision.allow := true": "`decision` must be one value",
    "decision(x) := x": "`decision` must be one value",
    'allow if count([]) == 0\ncount(x) := "mine"': "'count' is the name of a built-in function",
    "allow := true\nregex.mine(x) := x": "'regex' is the name of a built-in function",
    "allow if input.v with input.v as 1": "a.rego:2:18: `with` replaces facts: only tests may do that",
    "allow if { every x in [1] { x with input as {} } }": "`with` replaces facts",
    "allow := f(1)\nf(x) := g(x)\ng(x) := f(x)": "a.rego:3:1: recursion: airlock.f -> airlock.g -> airlock.f",
    "allow := allow": "recursion: airlock.allow -> airlock.allow",
    "allow if data[input.v].x": "recursion",
    "import data.airlock.q as p\nallow if p\nq if allow": "airlock.allow -> airlock.q -> airlock.allow",
    "allow := r0\nr200 := 1\n" + "".join(f"r{n} := r{n + 1}\n" for n in range(200)): "chain of more than 100",
    "allow := true\nd contains input.a[x] if some x in [1]": "a.rego:3:19: bind it in the body first",
    "allow := true\nd[x.y] := 1 if some x in [{}]": "bind it in the body first",
    "allow := input[v] if { v := 1 } else := false": "a.rego:2:15: bind it in the body first",
    "allow := true if input.v else := f(1) if true\nf(x) := x": "a.rego:2:35: bind it in the body first",
    "f(x) := upper(x) if true\nallow if f(input.v)": "bind it in the body first",
}


@pytest.mark.parametrize("text", REFUSED)
def test_it_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(PolicyRejected) as caught:
        lint(bundle(text))
    assert REFUSED[text] in str(caught.value)


ALLOWED = [
    "allow := true",
    "import rego.v1\nallow if input.v == 1",
    "import future.keywords.if\nallow if input.v == 1",
    "import data.lib\nallow if lib.x",
    "import input.subject as s\nallow if s.id",
    "default allow := false\nallow if f(input.v)\nf(x) if x == 1",
    "default f(_) := false\nallow := f(1)",
    "allow if lib.f(1)\nlib.f(x) if x == 1",
    "allow := [x | some x in input.v] == [] if true",
    'decision := {"a": x, "b": [x, input.v, {1, x}]} if x := input.y',
    "allow if { some r in input.subject.roles; r in roles }\nroles := {1}",
    "decision := 1 if { every k, v in input.arguments { k == v } }",
    "allow if { x := 1; x == 1 }\nx if allow",
    "allow if d[input.v]\nd contains x if some x in input.subject.roles",
    "p[x] := 1 if some x in [1]\nallow if p[input.v]",
    "allow := r0\nr90 := 1\n" + "".join(f"r{n} := r{n + 1}\n" for n in range(90)),
]


@pytest.mark.parametrize("text", ALLOWED)
def test_it_is_allowed(text: str) -> None:
    assert [problem.message for problem in lint(bundle(text))] == ["the bundle has no tests"]


WARNED = {
    "allow if regex.match(`[0-9]\\w`, input.v)": r"a.rego:2:23: '[0-9]\\w': \d \w \s \b in a pattern",
    'allow if regex.match("a\\\\d", input.v)': r"\d \w \s \b in a pattern",
    'allow if glob.match("a**", [], input.v)': "in a glob only `*` means the same",
    "allow if glob.match(data.globs[_], [], input.v)": "data.json: '{a,b}*': in a glob",
    "allow if lower(input.v) == input.v": "a.rego:2:15: lower: letters outside ASCII",
    "allow if not input.arguments.v in [1]": "a.rego:2:29: input.arguments.v may be missing here",
    "allow if not startswith(input.arguments.v, input.subject.id)": "input.arguments.v may be missing",
    "allow if not input.arguments.v > 1": "input.arguments.v may be missing",
    "allow if not input.subject[input.arguments.v]": "input.arguments.v may be missing",
    "allow if not input.arguments[_] + 1 == 2": "input.arguments.[] may be missing",
    "allow if { some r in [{}]; not r.x in [1] }": "r.x may be missing",
    "allow if not data.none in [1]": "data.none may be missing",
    "allow if not r in [1]\nr := 1 if input.v": "r may be missing",
    "allow if not f(1) == 2\nf(x) := 1 if x == 3": "f.[] may be missing",
}


@pytest.mark.parametrize("text", WARNED)
def test_it_draws_a_warning(text: str) -> None:
    warnings = lint(bundle(text, data_json=b'{"globs": ["a*", "{a,b}*"]}'))
    assert any(WARNED[text] in str(warning) for warning in warnings), warnings


QUIET = [
    "allow if not input.arguments.v",
    "allow if not input.arguments.v == 1",
    "allow if not f(1)\nf(x) if x == 2",
    "allow if not input.action in uses\nuses := {1}",
    "allow if not input.subject.id in data.lists.people",
    "allow if not input.subject.id in data.airlock.seen\nseen contains 1",
    "allow if { some x in [1]; not x in [input.subject.id] }",
    "import input.subject as s\nallow if not s.id in [1]",
    "allow if not 1 in {x | some x in input.arguments.v}",
    "default r := 1\nallow if not r in [1]",
]


@pytest.mark.parametrize("text", QUIET)
def test_a_negation_of_what_is_always_there_draws_none(text: str) -> None:
    warnings = lint(bundle(text, data_json=b'{"lists": {"people": []}}', b_test_rego=b""))
    assert [str(warning) for warning in warnings] == ["test: the bundle has no tests"]


def test_tests_may_replace_facts_and_print_but_give_the_policy_no_functions() -> None:
    tests = b"package t\nhelp(x) := x\ntest_a if { print(1); data.airlock.allow with input as {}; help(1) }\n"
    files = {"a.rego": b"package airlock\nallow := true", "a_test.rego": tests}
    assert lint(Bundle.of(files, origin="t")) == []
    files["a.rego"] += b" if data.t.help(1)"
    with pytest.raises(PolicyRejected, match=r"data\.t\.help is not available"):
        lint(Bundle.of(files, origin="t"))


def test_data_under_the_name_of_a_package_is_refused() -> None:
    with pytest.raises(PolicyRejected, match="package airlock is also in data"):
        lint(bundle("allow := true", data_json=b'{"airlock": {}}'))


def test_malformed_data_is_refused() -> None:
    with pytest.raises(PolicyRejected, match=r"data\.json: is not a JSON object"):
        lint(bundle("allow := true", data_json=b"[]"))


def test_data_that_only_the_engine_refuses_is_refused() -> None:
    deep = b'{"a":' + b"[" * 200 + b"]" * 200 + b"}"
    with pytest.raises(PolicyRejected, match=r"data\.json: recursion limit"):
        lint(bundle("allow := true", data_json=deep))


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(PolicyRejected) as caught:
        lint(bundle("allow if foo(1)\nb if bar(1)"))
    assert [(found.line, found.file) for found in caught.value.findings] == [(2, "a.rego"), (3, "a.rego")]
    assert len(caught.value.problems) == 2
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_draws_no_warning(name: str) -> None:
    assert lint(shipped(name)) == []
