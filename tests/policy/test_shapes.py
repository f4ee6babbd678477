from __future__ import annotations

from typing import Any

import pytest

from airlock.model.decision import TargetInput
from airlock.policy import doubts
from airlock.policy.sample import complete
from airlock.policy.shapes import MOST_NAMES, Shape, kind, shape, shapes


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "null"),
        (True, "boolean"),
        (1, "number"),
        (1.5, "number"),
        ("", "string"),
        ([], "array"),
        ({}, "object"),
    ],
)
def test_kinds_are_those_of_rego(value: Any, word: str) -> None:
    assert kind(value) == word


@pytest.mark.parametrize(
    ("name", "values", "folders"),
    [
        ("path", ["/srv/docs/a.txt", "/srv/docs/b/c.txt"], ("/srv/docs",)),
        ("path", ["/srv/docs"], ("/srv/docs",)),
        ("path", ["/srv/docs/"], ("/srv/docs",)),
        ("path", ["/srv/a.txt", "/home/me/b.txt"], ("/home/me", "/srv")),
        ("path", ["/a.txt"], ("/",)),
        ("path", ["a.txt", "b"], (".",)),
        ("path", ["./a.txt"], (".",)),
        ("path", ["public/a.txt", "public/b"], ("public",)),
        ("path", ["~/notes/a.txt"], ("~/notes",)),
        ("path", ["~"], ("~",)),
        ("paths", [["/srv/a.txt", "/srv/b.txt"]], ("/srv",)),
        ("outputFile", ["out/x.txt"], ("out",)),
        ("path", [f"/{number}/x.txt" for number in range(9)], ("/",)),
        ("path", [f"{number}/x.txt" for number in range(9)], (".",)),
        ("q", ["/srv/docs/a.txt"], ("/srv/docs",)),
        ("q", ["/help"], ()),
        ("q", ["/go to/the shop"], ()),
        ("path", ["../a"], ()),
        ("path", ["a\\b"], ()),
        ("path", ["~root/x"], ()),
        ("path", ["/a", 1], ()),
        ("path", ["a.txt", "mailto:b"], ()),
        ("path", ["C:/docs/a.txt"], ("C:/docs",)),
        ("path", [], ()),
        ("path", ["/srv/[REDACTED:email]/x"], ()),
    ],
)
def test_folders(name: str, values: list[Any], folders: tuple[str, ...]) -> None:
    assert shape(name, values).folders == folders


def test_a_place_of_secrets_is_questioned_though_a_wider_folder_holds_it() -> None:
    found = shape("path", ["/srv/me/docs/a.txt", "/srv/me/.ssh/id_rsa"])
    assert found.folders == ("/srv/me",)
    assert list(doubts.of_arguments({"path": found})) == [
        "path reaches /srv/me/.ssh/id_rsa, where secrets are kept"
    ]


@pytest.mark.parametrize(
    ("values", "origins"),
    [
        (["https://a.example/x", "https://a.example?y", "https://a.example#z"], ("https://a.example",)),
        (["https://a.example:8443/", "http://[::1]/"], ("http://[::1]", "https://a.example:8443")),
        (["https://user@a.example/"], ()),
        (["https://a.example/", "gopher://b.example/"], ()),
        ([f"https://{letter}.example/" for letter in "abcdefghi"], ()),
    ],
)
def test_origins(values: list[Any], origins: tuple[str, ...]) -> None:
    assert shape("url", values).origins == origins


def test_too_many_names_are_not_listed() -> None:
    assert shapes([{f"name-{number}": 1} for number in range(MOST_NAMES + 1)]) is None


def test_what_redaction_took_out_is_known_at_any_depth() -> None:
    assert shape("x", [{"a": [{"b": "is [REDACTED:email]"}]}]).redacted
    assert not shape("x", [{"a": [{"b": 1}]}]).redacted


def tool(name: str, **more: Any) -> TargetInput:
    return complete({"target": {"name": name, **more}}).target


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("delete_file", "it deletes"),
        ("removeUser", "it deletes"),
        ("run-command", "it runs commands"),
        ("sendEmail", "it reaches people outside"),
        ("rotate_API_token", "it deals with secrets"),
    ],
)
def test_names_that_a_person_should_question(name: str, word: str) -> None:
    assert word in list(doubts.of_tool(tool(name)))


def test_ordinary_tools_are_not_questioned() -> None:
    assert list(doubts.of_tool(tool("search_documents"))) == []


def test_a_sensitive_tool_is_questioned() -> None:
    (found,) = doubts.of_tool(tool("search", sensitivity="critical"))
    assert found.startswith("its sensitivity is critical")


def text(**more: Any) -> Shape:
    return Shape(types=("string",), **more)


@pytest.mark.parametrize(
    ("name", "seen", "doubt"),
    [
        ("apiKey", text(), "apiKey may carry a secret"),
        ("note", text(redacted=True), "note held something that redaction took out"),
        ("path", text(seen=("/home/me/.ssh",)), "path reaches /home/me/.ssh, where secrets are kept"),
        ("path", text(folders=("/home/me",)), "path may be anything below /home/me"),
        ("path", text(folders=("/",)), "path may be anything below /"),
        ("path", text(folders=("/home",)), "path may be anything below /home"),
        ("path", text(folders=(".",)), "path may be anything below ."),
        ("url", text(origins=("https://a.example",)), "url leads outside, to https://a.example"),
    ],
)
def test_arguments_that_a_person_should_question(name: str, seen: Shape, doubt: str) -> None:
    assert list(doubts.of_arguments({name: seen})) == [doubt]


@pytest.mark.parametrize(
    "seen",
    [
        text(),
        text(folders=("/srv/docs",)),
        text(origins=("http://localhost:80", "http://10.0.0.1", "http://[::1]")),
    ],
)
def test_what_stays_inside_is_not_questioned(seen: Shape) -> None:
    assert list(doubts.of_arguments({"x": seen})) == []


def test_arguments_without_a_list_are_questioned() -> None:
    assert list(doubts.of_arguments(None)) == [
        "its arguments have too many names to list: any is let through"
    ]
