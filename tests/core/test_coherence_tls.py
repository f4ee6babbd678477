"""Certificates and keys of a configuration, seen through `load`."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.core.settings import load
from tests.certificates import Authority


@pytest.fixture
def file(tmp_path: Path) -> Path:
    authority = Authority(tmp_path)
    for what in ("gate", "spare"):
        authority.vouch(what)
    return tmp_path / "airlock.yaml"


def config(file: Path, text: str, **environ: str) -> Config:
    file.write_text(text)
    return load(file, environ).config


def refusals(file: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(file, text)
    return [part.what.replace(f"{file.parent}/", "") for part in caught.value.problems]


EDGE = "cert_file: gate.pem, key_file: gate.key"


def test_files_of_the_edge_are_relative_to_the_configuration(file: Path) -> None:
    server = config(file, f"server: {{port: 9, tls: {{{EDGE}, client_ca_file: test-ca.pem}}}}").server
    assert server.tls is not None
    assert server.tls.cert_file == str(file.parent / "gate.pem")
    assert server.tls.client_ca_file == str(file.parent / "test-ca.pem")
    assert server.public_url == "https://localhost:9"


def test_without_tls_the_address_is_plain(file: Path) -> None:
    assert config(file, "server: {port: 9, tls: null}").server.public_url == "http://localhost:9"


def test_variables_alone_make_a_section(file: Path) -> None:
    server = config(
        file, "{}", AIRLOCK__SERVER__TLS__CERT_FILE="gate.pem", AIRLOCK__SERVER__TLS__KEY_FILE="gate.key"
    ).server
    assert server.tls is not None
    assert server.tls.client_ca_file is None


@pytest.mark.parametrize(
    ("tls", "what"),
    [
        ("cert_file: gate.pem", "server.tls.key_file: missing"),
        ("cert_file: nowhere, key_file: gate.key", "server.tls.cert_file: no readable file nowhere"),
        (
            "cert_file: gate.pem, key_file: spare.key",
            "server.tls: gate.pem and spare.key: the key is not that of the certificate",
        ),
        ("cert_file: gate.key, key_file: gate.key", "server.tls: gate.key and gate.key: not PEM"),
        (f"{EDGE}, client_ca_file: gate.key", "server.tls: gate.key: no certificates in PEM"),
        (f"{EDGE}, ca_file: test-ca.pem", "server.tls.ca_file: unknown key"),
    ],
)
def test_files_that_do_not_fit_stop_the_start(file: Path, tls: str, what: str) -> None:
    assert what in refusals(file, f"server: {{tls: {{{tls}}}}}")


def behind(tls: str, rest: str = "transport: http, url: 'https://h/mcp'") -> str:
    return f"servers:\n- {{name: docs, {rest}, tls: {{{tls}}}}}\n"


def test_files_for_a_server_are_relative_to_the_configuration(file: Path) -> None:
    (entry,) = config(file, behind(f"ca_file: test-ca.pem, {EDGE}")).servers
    assert entry.tls is not None
    assert (entry.tls.ca_file, entry.tls.key_file) == (
        str(file.parent / "test-ca.pem"),
        str(file.parent / "gate.key"),
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (behind("cert_file: gate.pem"), "servers.0.tls: cert_file and key_file"),
        (behind("ca_file: nowhere"), "servers.0.tls.ca_file: no readable file nowhere"),
        (behind("ca_file: gate.key"), "servers.0.tls: gate.key: no certificates in PEM"),
        (
            behind("ca_file: test-ca.pem", "transport: http, url: 'http://h/mcp'"),
            "servers.0.tls: the server's URL is not https",
        ),
        (
            behind("ca_file: test-ca.pem", "transport: stdio, command: [sh]"),
            "servers.0.tls: not used by this transport",
        ),
    ],
)
def test_what_a_server_cannot_use_is_refused(file: Path, text: str, what: str) -> None:
    assert what in refusals(file, text)
