"""A suggested policy allows what was seen, little else, and is a bundle that passes its own tests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from airlock.policy.bundle import Bundle
from airlock.policy.check import check_bundle
from airlock.policy.embedded import EmbeddedEngine
from airlock.policy.sample import complete
from airlock.policy.suggest import GOLDEN, POLICY, Seen, Suggestion, suggest
from airlock.policy.suite import run_tests


def seen(
    tool: str = "files/read",
    arguments: dict[str, Any] | None = None,
    *,
    roles: tuple[str, ...] = ("developer",),
    tenant: str = "acme",
    person: str = "alice",
    phase: str = "call",
    recorded: bool = True,
    would_deny: str = "",
    **target: Any,
) -> Seen:
    server, _, name = tool.partition("/")
    question = {
        "phase": phase,
        "subject": {"id": person, "tenant": tenant, "roles": roles},
        "target": {"server": server, "name": name, **target},
        "arguments": arguments or {},
    }
    return Seen(question=complete(question), recorded=recorded, would_deny=would_deny)


def suggested(*calls: Seen) -> Suggestion:
    return suggest(calls, period="since then")


def bundle(*calls: Seen) -> Bundle:
    return Bundle.of(suggested(*calls).files, origin="suggested")


def answer(of: Bundle, asked: Seen) -> tuple[bool, str]:
    decision = EmbeddedEngine(of).decide(asked.question)
    return decision.allow, decision.reason


def text(*calls: Seen) -> str:
    return suggested(*calls).files[POLICY].decode()


DAY = (
    seen("files/read", {"path": "/srv/docs/a.txt"}),
    seen("files/read", {"path": "/srv/docs/b/c.txt", "head": 3}),
    seen("files/many", {"paths": ["/srv/docs/a.txt", "/srv/docs/b"]}),
    seen("web/fetch", {"url": "https://docs.example/x?y"}, roles=("viewer", "admin")),
    seen("web/fetch", {"url": "https://docs.example"}, roles=("viewer",)),
    seen("shop/price", {"item": "lamp", "tags": ["a"], "deep": {"x": 1}, "on": True, "none": None}),
    seen("shop/price", {}, roles=(), person="bob"),
)


@pytest.mark.parametrize("call", DAY, ids=lambda call: call.question.target.name)
def test_what_was_seen_is_allowed_and_listed(call: Seen) -> None:
    of = bundle(*DAY)
    assert answer(of, call) == (True, "granted")
    subject, target = call.question.subject, call.question.target
    tool = f"{target.server}/{target.name}"
    assert answer(of, seen(tool, roles=subject.roles, person=subject.id, phase="list")) == (True, "granted")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (seen("files/read", {"path": "/srv/docs/a.txt"}, roles=("viewer",)), "not_granted"),
        (seen("files/read", {"path": "/srv/docs/a.txt"}, roles=()), "not_granted"),
        (seen("files/read", {"path": "/srv/docs/a.txt"}, tenant="globex"), "not_granted"),
        (seen("files/write", {"path": "/srv/docs/a.txt"}), "not_granted"),
        (seen("files/read", {"path": "/srv/docs/a.txt"}, approved=False), "definition_not_approved"),
        (seen("shop/price", {}, roles=(), person="eve"), "not_granted"),
    ],
)
def test_who_was_not_seen_with_it_does_not_get_it(call: Seen, reason: str) -> None:
    assert answer(bundle(*DAY), call)[1] == reason


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("files/read", {"path": "/srv/docs/../secret"}),
        ("files/read", {"path": "/srv/docs-2/a.txt"}),
        ("files/read", {"path": "/srv"}),
        ("files/read", {"path": "srv/docs/a.txt"}),
        ("files/read", {"path": "/srv/docs/a\\..\\b"}),
        ("files/read", {"path": "/srv/docs/a\u0000.txt"}),
        ("files/read", {"path": 7}),
        ("files/read", {"path": ["/srv/docs/a", "/etc/passwd"]}),
        ("files/read", {"path": {"x": "/srv/docs/a"}}),
        ("files/read", {"path": "/srv/docs/a", "tail": 1}),
        ("files/read", {"path": "/srv/docs/a", "head": "3"}),
        ("files/many", {"paths": ["/srv/docs/a.txt", 7]}),
        ("shop/price", {"item": ["lamp"]}),
        ("shop/price", {"on": 1}),
        ("shop/price", {"none": False}),
    ],
)
def test_arguments_of_another_shape_are_refused(tool: str, arguments: dict[str, Any]) -> None:
    assert answer(bundle(*DAY), seen(tool, arguments)) == (False, "argument_not_seen")


@pytest.mark.parametrize(
    "url",
    [
        "https://docs.example.evil.example/x",
        "https://docs.example@evil.example/",
        "https://docs.example:443@evil.example/",
        "https://docs.example\\@evil.example/",
        "https://docs.example:8443/",
        "http://docs.example/",
        "file:///etc/passwd",
        "//docs.example/",
        "",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    call = seen("web/fetch", {"url": url}, roles=("viewer",))
    assert answer(bundle(*DAY), call) == (False, "argument_not_seen")


def test_the_bundle_is_accepted_without_a_warning() -> None:
    assert check_bundle(bundle(*DAY)).warnings == ()


def test_the_bundle_passes_its_own_tests() -> None:
    results = run_tests(bundle(*DAY))
    assert [test.name for test in results.tests if not test.passed] == []
    assert len(results.tests) > len(DAY)


def test_no_value_of_an_argument_is_copied() -> None:
    files = suggested(seen("shop/pay", {"note": "meet Mallory", "n": 4711})).files
    assert b"Mallory" not in files[POLICY] + files[GOLDEN]
    assert b"4711" not in files[POLICY] + files[GOLDEN]


def test_a_role_that_explains_more_is_taken_and_no_administrator_for_nothing() -> None:
    calls = [seen(roles=("admin", "developer")), seen(roles=("developer",), person="bob")]
    assert [grant.role for grant in suggested(*calls).grants] == ["developer"]
    assert [grant.role for grant in suggested(seen(roles=("admin", "writer"))).grants] == ["writer"]


def test_people_without_a_role_are_named_and_questioned() -> None:
    calls = (seen(roles=(), person="bob"), seen())
    assert ("bob", "has no role") in suggested(*calls).questions
    assert '\tinput.subject.id == "bob"' in text(*calls)


def test_arguments_that_were_not_recorded_are_let_through_and_questioned() -> None:
    call = seen("files/read", recorded=False)
    assert "# QUESTION: its arguments were not recorded: any are let through" in text(call)
    assert answer(bundle(call), seen("files/read", {"any": "thing"})) == (True, "granted")


def test_a_definition_that_changed_is_questioned() -> None:
    assert "its definition changed while it was observed" in text(seen(would_deny="definition_not_approved"))


def test_names_enter_the_policy_as_quoted_text_only() -> None:
    bad = '"}\n}\ngranted := true # 😀\r\u2028\x7f${x}'
    call = seen(f"files/{bad}", {bad: {bad: 1}}, roles=(bad,), person=bad, tenant=bad)
    of = bundle(call)
    assert answer(of, call) == (True, "granted")
    assert answer(of, seen("files/other")) == (False, "not_granted")
    assert run_tests(of).passed
    assert of.files[POLICY].decode().replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize("action", ["prompts/get", "completion/complete"])
def test_a_prompt_that_was_used_is_allowed_and_no_tool_that_is_called_the_same(action: str) -> None:
    used = seen("docs/prompt:greet", {"who": "Ann"}, kind="prompt")
    used = Seen(question=structs.replace(used.question, action=action))
    of = bundle(used)
    assert answer(of, used) == (True, "granted")
    assert answer(of, seen("docs/greet", {"who": "Ann"})) == (False, "not_granted")


def test_nothing_seen_gives_no_policy() -> None:
    with pytest.raises(ValueError, match="nothing was seen"):
        suggested()


WORDS = st.text(st.sampled_from('ab./~: \\\n"é?#-'), max_size=8)
PLACES = st.sampled_from(
    ["/", "", "~", "~/", "~/x", "~a", ".", "./", "./x", "a/b.txt", "/srv/a.txt", "/srv/b", "/etc/x/y",
     "//x/y",
     "http://a.example", "https://b.example:8080/x", "https://a.example/?q", "https://a.example\n",
     "http://[::1]/"]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS
    | PLACES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["path", "url", "x", "filePath", 'q"']), VALUES, max_size=3)


@settings(max_examples=60, deadline=None)
@given(calls=st.lists(st.tuples(st.sampled_from(["a/x", "a/y"]), ARGUMENTS), min_size=1, max_size=5))
def test_whatever_was_seen_is_allowed(calls: list[tuple[str, dict[str, Any]]]) -> None:
    every = [seen(tool, arguments) for tool, arguments in calls]
    of = bundle(*every)
    engine = EmbeddedEngine(of)
    assert [engine.decide(call.question).reason for call in every] == ["granted"] * len(every)
    assert [(test.name, test.detail) for test in run_tests(of).tests if not test.passed] == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("b.txt", True), ("b/c:d.txt", True), ("file:///etc/passwd", False), ("C:/x", False), ("file:x", False)],
)
def test_a_relative_path_leads_to_no_other_scheme(path: str, allowed: bool) -> None:
    of = bundle(seen(arguments={"path": "a.txt"}))
    assert answer(of, seen(arguments={"path": path}))[0] is allowed


@pytest.mark.parametrize(
    ("tenants", "arguments", "asked"),
    [
        (("acme", "beta"), {"path": "/srv/a/x.txt"}, True),
        (("acme", "acme"), {"path": "/srv/a/x.txt"}, False),
        (("acme", "beta"), {"query": "x"}, False),
    ],
)
def test_places_that_tenants_share_are_questioned(
    tenants: tuple[str, ...], arguments: dict[str, Any], asked: bool
) -> None:
    of = suggested(*(seen(arguments=arguments, tenant=tenant) for tenant in tenants))
    assert any("2 tenants use it" in doubt for _, doubt in of.questions) is asked
