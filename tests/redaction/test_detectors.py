"""What each detector stands for, by hand: forms that it must take, and what it must leave."""

from __future__ import annotations

import pytest
from stdnum import luhn

from airlock.core.config import RedactionSection
from airlock.redaction import fields
from airlock.redaction.detectors import NAMES, SHAPES
from airlock.redaction.validate import is_card
from tests.redaction.made import AWS, AWS_SECRET, BODY, CARD, EMAIL, IBAN, JWT, SSN, dice, found, kinds, pem

SECRETS = [
    ("private_key", pem()),
    ("private_key", pem("")),
    ("private_key", pem("OPENSSH ")),
    ("private_key", pem("EC ", end="\r\n")),
    ("private_key", pem("ENCRYPTED ", body=" ".join(BODY.split()))),
    ("private_key", pem(body=f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00AA\n\n{BODY}")),
    ("private_key", pem("PGP ").replace("KEY-----", "KEY BLOCK-----")),
    ("aws_key", AWS),
    ("aws_key", AWS.replace("AKIA", "ASIA")),
    ("github_token", "gho_" + "z9" * 18),
    ("github_token", "github_pat_" + "11AAAAAA0_" * 6),
    ("slack_token", "xoxp-" + "123456789012-abcdefABCDEF"),
    ("slack_token", "xapp-1-" + "A012345-6789-0123456789abcdef"),
    ("slack_token", "hooks.slack.com/" + "services/T00000000/B00000000/" + "X" * 24),
    ("jwt", JWT),
    ("jwt", "eyJlbmMiOiJBMTI4R0NNIn0" + "..aaaaaaaaaaaa.bbbbbbbbbbbb.cccccccc"),
    ("credit_card", CARD),
    ("credit_card", CARD.replace(" ", "")),
    ("credit_card", CARD.replace(" ", "-")),
    ("credit_card", "3782 822463 " + "10005"),
    ("credit_card", "3056 930902 " + "5904"),
    ("credit_card", "5555.5555." + "5555.4444"),
    ("credit_card", "6011" + "000990139424"),
    ("credit_card", "2223003122" + "003222"),
    ("iban", IBAN),
    ("iban", IBAN.replace(" ", "")),
    ("iban", IBAN.lower()),
    ("iban", "GB82 WEST 1234 " + "5698 7654 32"),
    ("ssn", SSN),
    ("ssn", SSN.replace("-", " ")),
    ("ssn", "078-05" + "-1120"),
    ("email", EMAIL),
    ("email", "first.last+tag@sub.example.co.uk"),
    ("email", "o'neill@example.xn--p1ai"),
    ("phone", "+1 212 555 0123"),
    ("phone", "(212) 555-0123"),
    ("phone", "212-555-0123"),
    ("phone", "+49 (0)30 901820"),
    ("phone", "+442079460958"),
    ("phone", "0049 30 90182000"),
]


@pytest.mark.parametrize(("detector", "secret"), SECRETS)
def test_a_secret_is_found_as_a_whole(detector: str, secret: str) -> None:
    assert found(f"Here: {secret} .") == [(detector, secret)]


IN_CONTEXT = [
    ("aws_key", f"aws_secret_access_key = {AWS_SECRET}", AWS_SECRET),
    ("aws_key", f'"SecretAccessKey": "{AWS_SECRET}"', AWS_SECRET),
    ("ssn", "SSN: 123456789", "123456789"),
    ("ssn", 'social security number "123456789"', "123456789"),
    ("phone", "Phone: 030 90182000", "030 90182000"),
    ("phone", "mobile=0151 2345678", "0151 2345678"),
    ("password", "password=hunter2", "hunter2"),
    ("password", "password: hunter2", "hunter2"),
    ("password", "db:\n  password: swordfish\n  host: x", "swordfish"),
    ("password", "DB_PASSWORD='correct horse battery'", "correct horse battery"),
    ("password", '{"password": "correct horse, battery"}', "correct horse, battery"),
    ("password", '{\\"password\\": \\"tr0ub4dor\\"}', "tr0ub4dor"),
    ("password", "The password is Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("password", "api_key: 9f86d081884c7d65", "9f86d081884c7d65"),
    ("password", "clientSecret=aB3dE5fG7", "aB3dE5fG7"),
    ("password", "Server=db;User Id=sa;Password=S3cret;Encrypt=yes", "S3cret"),
    ("password", "postgres://app:s3cr3t@db/main", "s3cr3t"),
    ("password", "redis://:s3cr3t@cache:6379/0", "s3cr3t"),
    ("password", "mongodb+srv://u:p%40ss@cluster0/x", "p%40ss"),
    ("password", "https://user:pa:ss@host/x", "pa:ss"),
    ("password", "Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA=="),
    ("password", "authorization: Bearer abcdef123456", "abcdef123456"),
    ("password", "mysql --password hunter2 -h db", "hunter2"),
    ("password", "password: password: hunter2", "hunter2"),
    ("password", "secret=" + "x1" * 100, "x1" * 100),
]


@pytest.mark.parametrize(("detector", "text", "secret"), IN_CONTEXT)
def test_what_a_name_announces_is_found_and_the_name_stays(detector: str, text: str, secret: str) -> None:
    assert found(text) == [(detector, secret)]


@pytest.mark.parametrize("word", ["example", "EXAMPLE", "sample", "test", "dummy", "fake", "no key:"])
@pytest.mark.parametrize(("detector", "secret"), [("aws_key", AWS), ("credit_card", CARD), ("email", EMAIL)])
def test_no_word_beside_it_hides_a_secret(word: str, detector: str, secret: str) -> None:
    for text in (f"{word} {secret}", f"{secret} {word}", f"{word}: {secret} ({word})", f"#{word}\n{secret}"):
        assert kinds(text) == [detector], text


def test_the_secret_beside_a_key_id_is_found_without_a_name() -> None:
    assert found(f"{AWS},{AWS_SECRET}") == [("aws_key", AWS), ("aws_key", AWS_SECRET)]


def test_a_secret_glued_to_letters_is_found() -> None:
    assert kinds("example4111111111111111example") == ["credit_card"]
    assert kinds(f"key{AWS}example") == ["aws_key"]


def test_digits_before_a_card_do_not_hide_it() -> None:
    assert found(f"2024 {CARD} 12") == [("credit_card", CARD)]


def test_a_header_that_is_none_does_not_hide_the_token_behind_it() -> None:
    assert kinds(f"eyJxxxxxxxx.a.b {JWT}") == ["jwt"]


def test_a_file_name_does_not_hide_the_address_glued_to_it() -> None:
    assert found("logo@2x.png@example.com") == [("email", "2x.png@example.com")]


@pytest.mark.parametrize("cut", [90, 200, 300])
def test_a_private_key_without_its_end_is_found_to_where_it_stops(cut: int) -> None:
    assert found(f"{pem()[:cut]}\n\nThat was it.")[0][1].rstrip() == pem()[:cut]


def test_a_private_key_without_its_beginning_is_found() -> None:
    assert kinds(pem()[60:]) == ["private_key"]


def test_a_frame_around_nothing_is_no_key() -> None:
    assert found(pem(body="...")) == []


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "0.4111111111111111",
        "9" * 16,
        "4111111111111111e3b0c44298fc1c149afbf4c8996fb924",
        "e3b0c44298fc1c149afbf4c89964111111111111111",
        "XX82 WEST 1234 5698 7654 32",
        "DE89370400440532013000X",
        "000-12-3456",
        "123 45-6789",
        "x" + SSN.replace("-", "") + " ",
        "+999 123 456 789",
        "a+12125550123",
        "xoxb-no-digits-here",
        "eyJhbGci.a.b",
        "secret_access_key = " + "a" * 40,
        "my_password_length=12",
        "password = settings.secret_value",
        "password=" + "*" * 12,
        "password=${PASSWORD}" + "x" * 70,
        "postgres://app:${DB_PASSWORD}@db/x",
        "git@github.com:org/repo",
    ],
)
def test_what_only_looks_like_a_secret_is_left(text: str) -> None:
    assert found(text) == []


def test_the_check_digit_of_a_card_is_the_one_of_the_standard() -> None:
    numbers = dice(1)
    for _ in range(5000):
        digits = "4" + "".join(numbers.choices("0123456789", k=15))
        assert is_card(digits) == luhn.is_valid(digits)


@pytest.mark.parametrize("digits", ["", "4" * 13, "4" * 20, "41111111x1111111"])
def test_other_lengths_and_signs_are_no_card(digits: str) -> None:
    assert not is_card(digits)


@pytest.mark.parametrize(
    ("name", "value", "detector"),
    [
        ("password", "swordfish", "password"),
        ("dbPassword", "abc", "password"),
        ("client_secret", "correct horse", "password"),
        ("apiKey", "abc", "password"),
        ("ssn", "123456789", "ssn"),
        ("socialSecurityNumber", "123-45-6789", "ssn"),
        ("phone", "03090182000", "phone"),
        ("mobile_number", "+49 151 2345678", "phone"),
        ("password", "", None),
        ("password", "****", None),
        ("password", "{{ vault }}", None),
        ("password_length", "12", None),
        ("ssn", "000456789", None),
        ("ssn", "none", None),
        ("phone", "12", None),
        ("phone", "none of them", None),
        ("nextToken", "abc", None),
        ("name", "swordfish", None),
        ("x" * 200 + "password", "swordfish", None),
        ("\ud800password", "\ud800", "password"),
    ],
)
def test_a_field_tells_what_its_value_is(name: str, value: str, detector: str | None) -> None:
    named = fields.named(name)
    assert (named if named and fields.holds(named, value) else None) == detector


def test_every_detector_has_a_shape_and_the_configuration_has_them_all() -> None:
    assert {shape.detector for shape in SHAPES} == set(NAMES) == set(RedactionSection().detectors)
