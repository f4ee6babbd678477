"""The command line as a client of the management API."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from airlock.cli.api import get, send
from airlock.core.config import Config, EdgeTls, ServerSection
from airlock.core.errors import ConfigError
from tests.certificates import Authority
from tests.cli.admin_api import Answer, gateway

PATH = "/admin/policy/status"


def config(
    port: int, data_dir: Path, host: str = "127.0.0.1", certificate: tuple[Path, Path] | None = None
) -> Config:
    tls = EdgeTls(cert_file=str(certificate[0]), key_file=str(certificate[1])) if certificate else None
    return Config(data_dir=str(data_dir), server=ServerSection(host=host, port=port, tls=tls))


def serving(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return context


def token_file(folder: Path, mode: int) -> None:
    file = folder / "admin.token"
    file.write_text("from-file\n")
    file.chmod(mode)


def test_nothing_listens(tmp_path: Path) -> None:
    assert get(config(1, tmp_path), PATH, token="", environ={}) is None


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [("a", "b", "Bearer a"), ("", "b", "Bearer b"), ("", "", "Bearer from-file")],
)
def test_the_token_comes_from_option_variable_or_file(
    tmp_path: Path, option: str, variable: str, expected: str
) -> None:
    token_file(tmp_path, 0o600)
    with gateway(Answer({"x": 1})) as server:
        found = get(config(server.port, tmp_path), PATH, token=option, environ={"AIRLOCK_TOKEN": variable})
    assert found == {"x": 1}
    assert server.requests == [(PATH, expected)]


def test_without_a_token_none_is_sent(tmp_path: Path) -> None:
    with gateway(Answer({})) as server:
        assert get(config(server.port, tmp_path, host="0.0.0.0"), PATH, token="", environ={}) == {}  # noqa: S104
    assert server.requests == [(PATH, "")]


def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    token_file(tmp_path, 0o640)
    with gateway(Answer({})) as server, pytest.raises(ConfigError, match="others can read this token"):
        get(config(server.port, tmp_path), PATH, token="", environ={})
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer({}, status=403), "answered 403 Forbidden"),
        (Answer({}, status=404), "answered 404 Not Found"),
        (Answer(b"<html>"), "something else than a JSON object"),
        (Answer([]), "something else than a JSON object"),
        (Answer(b"", status=0), "did not answer"),
    ],
)
def test_any_other_answer_is_an_error(tmp_path: Path, answer: Answer, why: str) -> None:
    with gateway(answer) as server, pytest.raises(ConfigError, match=why):
        get(config(server.port, tmp_path), PATH, token="x", environ={})


@pytest.mark.parametrize("status", [200, 207, 404, 409, 422])
def test_yes_and_no_are_answers(tmp_path: Path, status: int) -> None:
    with gateway(Answer({"x": 1}, status=status)) as server:
        found = send(config(server.port, tmp_path), "POST", PATH, token="x", environ={}, body={"y": 2})
    assert found is not None
    assert (found.status, found.document) == (status, {"x": 1})
    assert server.asked == [("POST", {"y": 2})]


def test_an_error_that_is_no_object_is_none(tmp_path: Path) -> None:
    with (
        gateway(Answer(b"<html>", status=404)) as server,
        pytest.raises(ConfigError, match="answered 404 Not Found"),
    ):
        send(config(server.port, tmp_path), "DELETE", PATH, token="x", environ={})


def test_a_gateway_with_tls_is_known_by_its_own_certificate(tmp_path: Path) -> None:
    own = Authority(tmp_path).vouch("gateway", "airlock.example")
    chain = Authority(tmp_path, "another").file.read_text()
    with gateway(Answer({"x": 1}), serving(*own)) as server:
        own[0].write_text(own[0].read_text() + chain)
        asked = config(server.port, tmp_path, certificate=own)
        assert get(asked, PATH, token="x", environ={}) == {"x": 1}


def test_a_token_is_not_sent_to_somebody_with_another_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, other = authority.vouch("gateway"), authority.vouch("other")
    with (
        gateway(Answer({"x": 1}), serving(*other)) as server,
        pytest.raises(ConfigError, match="does not show the configured certificate"),
    ):
        get(config(server.port, tmp_path, certificate=own), PATH, token="x", environ={})
    assert server.requests == []


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "gateway.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"gateway\.pem: is not a certificate"):
        get(config(1, tmp_path, certificate=(file, file)), PATH, token="x", environ={})
