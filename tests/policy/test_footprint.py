"""What a policy can read: every part of `input` that is proved, and why there is no proof."""

from __future__ import annotations

import pytest

from airlock.policy.bundle import load_bundle
from airlock.policy.embedded import EmbeddedEngine
from airlock.policy.footprint import COMPUTED, EVERYTHING, Footprint, prove
from airlock.policy.rego import compile_modules
from airlock.policy.syntax import read_modules
from tests.policy.policies import ROOT, SHIPPED, shipped


def footprint(text: str) -> Footprint:
    return prove(read_modules(compile_modules({"a.rego": f"package airlock\n{text}".encode()}, {})))


READS = {
    "allow := true": "",
    "allow if input.action": "action",
    'allow if input["action"] == `x`': "action",
    'allow if input["act\\u0069on"] == "x"': "action",
    "allow if input.subject.roles[0]": "subject.roles",
    "allow if input.subject.roles[_] == input.phase": "phase subject.roles",
    'allow if "admin" in input.subject.roles': "subject.roles",
    "allow if { some role in input.subject.roles; role == input.target.owner }": "subject.roles target.owner",
    "allow if { s := input.subject; s.tenant }": "subject",
    "allow if { input.subject; input.subject.id }": "subject",
    "allow if input.subject.tenant.x.y": "subject.tenant",
    "allow if input.context.time.hour < 12": "context.time.hour",
    "allow if input.context.time": "context.time",
    "allow if input.arguments.path": "arguments.path",
    'allow if input.arguments["a b"].c[0]': "arguments.a b",
    'allow if input.arguments["a\\\\b"]': "arguments",
    "allow if input.arguments[0]": "arguments",
    "allow if { some name, value in input.arguments; name == value }": "arguments",
    "allow if { input.arguments.a; count(input.arguments) > 1 }": "arguments",
    "allow if every name in object.keys(input.arguments) { name }": "arguments",
    'allow if object.get(input.arguments, "a", input.action)': "action arguments",
    'allow if object.get(input.arguments, ["a", 0], 1)': "arguments",
    "allow if data.x[input.subject.id][input.action]": "action subject.id",
    "allow if object.get(data.x, input.subject.id, 1)": "subject.id",
    "allow if walk(data.x, [input.action, 1])": "action",
    "allow if [input.v, input.phase][0]": "phase v",
    "allow if {k: input.action | some k in input.subject.groups}": "action subject.groups",
    "allow := input.action if not input.phase else := input.v": "action phase v",
    "import input.subject as who\nallow if who.id": "subject.id",
    "import input.subject.roles\nallow if roles[_]": "subject.roles",
    "import input as asked\nallow if asked.context.era": "context.era",
    "import data.airlock.f as g\nf(x) := x\nallow if g(input.target.uri)": "target.uri",
    "f(x) if x.id == input.action\nallow if f(input.subject)": "action subject",
    "default allow := false\nunused := input.target.name\nallow if 1 == 1": "target.name",
    "roles[input.subject.id] := 1\nallow if roles": "subject.id",
}


@pytest.mark.parametrize("text", READS)
def test_every_part_that_can_be_read_is_found(text: str) -> None:
    found = footprint(text)
    assert found.doubts == ()
    assert " ".join(".".join(path) for path in found.paths) == READS[text]


DOUBTS = {
    "allow if input": EVERYTHING,
    "allow if { x := input; x.action }": EVERYTHING,
    "allow if input[_]": EVERYTHING,
    "allow if count(input) > 1": EVERYTHING,
    "allow if { some k, v in input; k == v }": EVERYTHING,
    "import input as all\nallow if all": EVERYTHING,
    "allow if { x := input.action; input[x] }": COMPUTED,
    "allow if { some x; input.subject.roles[x] }": COMPUTED,
    "allow if input.arguments[input.action]": COMPUTED,
    'allow if input.arguments[concat("", ["a"])].b': COMPUTED,
    "import input.arguments as given\nallow if given[data.names[0]]": COMPUTED,
    "allow if walk(input.arguments, [1, 2])": "`walk` reads parts that cannot be told before",
    "allow if { x := input.arguments; some p, v; walk(x, [p, v]) }": "`walk` reads",
    "allow if object.get(input.arguments, input.action, 1)": "`object.get` with a computed key",
    'allow if { k := "a"; object.get(input.arguments, ["x", k], 1) }': "`object.get` with a computed key",
    "allow if time.now_ns() > 1": "function time.now_ns is not available",
    'allow if rand.intn("a", 2) == 1': "function rand.intn is not available",
    'allow if opa.runtime().env["HOME"]': "function opa.runtime is not available",
    "allow if f with input.action as 1\nf if input.action": "`with` replaces facts",
    "allow if input.subject.email": "input.subject.email is no part of the question",
    "allow if input.clock": "input.clock is no part of the question",
    "import data.x as input\nallow if input.action": "an import under the name of `input`",
}


@pytest.mark.parametrize("text", DOUBTS)
def test_one_doubt_and_nothing_is_proved(text: str) -> None:
    found = footprint(f"{text}\nother := input.phase")
    assert found.paths == ()
    assert [doubt.message for doubt in found.doubts if DOUBTS[text] in doubt.message]
    assert all(doubt.file == "a.rego" and doubt.line for doubt in found.doubts)


def test_syntax_that_the_proof_does_not_know_is_a_doubt() -> None:
    (module,) = read_modules(compile_modules({"a.rego": b"package airlock\nallow if input.action"}, {}))
    module.rules[0].node["Spec"]["bodies"].append({"Macro": {"span": {"line": 2, "col": 4}}})
    (doubt,) = prove([module]).doubts
    assert str(doubt) == "a.rego:2:4: `Macro` is syntax that the proof does not know"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_are_proved(name: str) -> None:
    found = EmbeddedEngine(shipped(name)).footprint
    assert found.doubts == ()
    assert ("subject", "roles") in found.paths


def test_the_starter_policy_reads_no_arguments_and_no_clock() -> None:
    paths = {".".join(path) for path in EmbeddedEngine(shipped("starter")).footprint.paths}
    assert paths == {
        "action",
        "phase",
        "subject.roles",
        "subject.tenant",
        "target.read_only",
        "target.sensitivity",
        "target.tenant",
    }


def test_the_demo_reads_one_argument() -> None:
    found = EmbeddedEngine(load_bundle(ROOT / "src/airlock/cli/demo/policy")).footprint
    assert ("arguments", "percent") in found.paths
    assert not [path for path in found.paths if path[0] == "context"]


def test_every_module_counts() -> None:
    library = b"package lib\nok if input.context.route"
    files = {"a.rego": b"package airlock\nallow if data.lib.ok", "lib.rego": library}
    found = prove(read_modules(compile_modules(files, {})))
    assert found.paths == (("context", "route"),)
