"""Contexts from files: what does not fit is refused, and what is renewed is taken over by new connections."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from airlock.core import certificates
from airlock.core.certificates import Renewed, edge_renewed, upstream_renewed
from airlock.core.config import EdgeTls, UpstreamTls
from tests.certificates import Authority, replace


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def served(authority: Authority, what: str = "gate", **more: str) -> EdgeTls:
    cert_file, key_file = authority.vouch(what)
    return EdgeTls(cert_file=str(cert_file), key_file=str(key_file), **more)


def met(client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost") -> str:
    """The common name that the client sees after a handshake in memory; or raises."""
    asking, _ = shaken(client, server, name)
    seen = x509.load_der_x509_certificate(asking.getpeercert(binary_form=True) or b"")
    (common,) = seen.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common.value)


def shaken(
    client: ssl.SSLContext,
    server: ssl.SSLContext,
    name: str = "localhost",
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """The client's and the server's end after a handshake in memory; or raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(down, up, server_hostname=name, session=session)
    answering = server.wrap_bio(up, down, server_side=True)
    ends = [asking, answering]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
    assert not ends
    return asking, answering


def trusting(authority: Authority, **more: str) -> ssl.SSLContext:
    return certificates.upstream(UpstreamTls(ca_file=str(authority.file), **more))


def test_a_client_that_trusts_the_authority_is_served(authority: Authority) -> None:
    assert met(trusting(authority), certificates.edge(served(authority))) == "gate"


def test_another_name_is_not_trusted(authority: Authority) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        met(trusting(authority), certificates.edge(served(authority)), "elsewhere.test")


def test_another_authority_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        met(trusting(other), certificates.edge(served(authority)))


def test_old_versions_are_not_spoken(authority: Authority) -> None:
    context = certificates.edge(served(authority))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert certificates.upstream(None).minimum_version == ssl.TLSVersion.TLSv1_2
    assert certificates.upstream(None).verify_mode == ssl.CERT_REQUIRED


def test_a_client_certificate_is_demanded_where_an_authority_is_named(authority: Authority) -> None:
    context = certificates.edge(served(authority, client_ca_file=str(authority.file)))
    cert_file, key_file = authority.vouch("client")
    assert met(trusting(authority, cert_file=str(cert_file), key_file=str(key_file)), context) == "gate"
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        met(trusting(authority), context)


def test_a_certificate_and_its_key_in_one_file(authority: Authority) -> None:
    cert_file, key_file = authority.vouch("client")
    cert_file.write_bytes(cert_file.read_bytes() + key_file.read_bytes())
    assert certificates.upstream(UpstreamTls(cert_file=str(cert_file)))


@pytest.mark.parametrize(
    "broken", ["mismatch", "garbage", "encrypted", "missing", "authority", "no authority"]
)
def test_what_does_not_fit_is_named(authority: Authority, tmp_path: Path, broken: str) -> None:
    tls = served(authority, client_ca_file=str(authority.file))
    match broken:
        case "mismatch":
            Path(tls.key_file).write_bytes(authority.vouch("other")[1].read_bytes())
            wrong = "the key is not that of the certificate"
        case "garbage":
            Path(tls.cert_file).write_text("hello")
            wrong = "not PEM"
        case "encrypted":
            authority.vouch("gate", password=b"secret")
            wrong = "encrypted"
        case "missing":
            Path(tls.key_file).unlink()
            wrong = "No such file"
        case "authority":
            authority.file.write_text("hello")
            wrong = "no certificates in PEM"
        case _:
            authority.file.unlink()
            wrong = "No such file"
    with pytest.raises(ValueError, match=wrong):
        certificates.edge(tls)


def test_a_renewed_certificate_is_shown_to_whoever_comes_next(authority: Authority) -> None:
    renewed = edge_renewed(served(authority))
    first = renewed.context
    assert renewed.renew() is False
    authority.vouch("gate", "localhost", "fresh.test")
    assert met(trusting(authority), first) == "gate"
    with pytest.raises(ssl.SSLCertVerificationError):
        met(trusting(authority), first, "fresh.test")
    assert renewed.renew() is True
    assert met(trusting(authority), first, "fresh.test") == "gate"


def test_an_authority_that_is_removed_vouches_for_nobody(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "other")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    renewed = edge_renewed(served(authority, client_ca_file=str(trusted)))
    first = renewed.context
    cert_file, key_file = authority.vouch("client")
    shown = {"cert_file": str(cert_file), "key_file": str(key_file)}
    assert met(trusting(authority, **shown), first) == "gate"
    replace(trusted, other.file.read_bytes())
    assert renewed.renew()
    with pytest.raises(ssl.SSLError):
        met(trusting(authority, **shown), first)


def test_a_resumed_session_does_not_outlive_the_authority(authority: Authority, tmp_path: Path) -> None:
    """TLS 1.2: who resumes a session is not asked for a certificate again."""
    (tmp_path / "other").mkdir()
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    renewed = edge_renewed(served(authority, client_ca_file=str(trusted)))
    first = renewed.context
    cert_file, key_file = authority.vouch("client")
    client = trusting(authority, cert_file=str(cert_file), key_file=str(key_file))
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    one = shaken(client, first)  # kept: a server forgets the session of a connection that is cut
    session = one[0].session
    other = shaken(client, first, session=session)
    assert other[0].session_reused
    replace(trusted, Authority(tmp_path / "other", "other").file.read_bytes())
    assert renewed.renew()
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shaken(client, first, session=session)


def test_files_that_do_not_fit_yet_change_nothing_and_are_said_once(authority: Authority) -> None:
    tls = served(authority)
    renewed = edge_renewed(tls)
    first, old = renewed.context, Path(tls.key_file).read_bytes()
    authority.vouch("gate", "localhost", "fresh.test")
    key = Path(tls.key_file).read_bytes()
    replace(Path(tls.key_file), old)
    with pytest.raises(ValueError, match="not that of the certificate"):
        renewed.renew()
    assert renewed.renew() is False
    assert met(trusting(authority), first) == "gate"
    replace(Path(tls.key_file), key)
    assert renewed.renew() is True
    assert met(trusting(authority), first, "fresh.test") == "gate"


def test_a_file_that_is_gone_for_a_moment_is_a_change(authority: Authority) -> None:
    tls = served(authority)
    renewed = edge_renewed(tls)
    os.unlink(tls.key_file)
    with pytest.raises(ValueError, match="No such file"):
        renewed.renew()


def test_a_server_without_files_of_its_own_is_trusted_as_the_system_says() -> None:
    assert upstream_renewed(None).renew() is False


def test_there_must_be_a_good_context_to_begin_with() -> None:
    def bad() -> ssl.SSLContext:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Renewed(bad, (None, "x"))
