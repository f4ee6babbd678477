"""`redaction`: detectors by name, and hosts that addresses may lead to."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.settings import load


def loaded(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "airlock.yaml"
    file.write_text(text)
    return load(file, {}).config


def test_every_detector_is_on_and_no_host_is_asked_for_by_default(tmp_path: Path) -> None:
    section = loaded(tmp_path, "{}").redaction
    assert len(section.detectors) == 11
    assert section.url_allow == ()


def test_detectors_and_hosts_can_be_named(tmp_path: Path) -> None:
    section = loaded(
        tmp_path, "redaction: {detectors: [email, iban], url_allow: [docs.example, '*.a.example']}"
    ).redaction
    assert section.detectors == ("email", "iban")
    assert section.url_allow == ("docs.example", "*.a.example")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("detectors: [mail]", "redaction.detectors.0: found `mail`"),
        (
            "url_allow: [docs.example, 'https://a.example']",
            "redaction.url_allow.1: found `https://a.example`",
        ),
        ("url_allow: ['a.example:443']", "redaction.url_allow.0: found `a.example:443`"),
    ],
)
def test_what_is_no_detector_or_host_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, f"redaction: {{{text}}}")
    assert what in str(refused.value)


def test_the_hosts_to_which_a_server_may_send_people_are_hosts(tmp_path: Path) -> None:
    server = "servers: [{name: a, transport: http, url: 'http://127.0.0.1:9/mcp', elicitation_hosts: [%s]}]"
    (entry,) = loaded(tmp_path, server % "login.example").servers
    assert entry.elicitation_hosts == ("login.example",)
    with pytest.raises(ConfigError, match=r"elicitation_hosts\.0: found `https://login\.example`"):
        loaded(tmp_path, server % "'https://login.example'")
