"""What is read and written of OAuth, without anybody at the other end."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc import jwt

from airlock.core.config import CredentialEntry, ServerEntry, UpstreamTls
from airlock.core.errors import ConfigError, LinkRefused
from airlock.upstream import credentials, oauth_client, oauth_discovery, oauth_tokens
from airlock.upstream.oauth_discovery import AuthorizationServer, Challenge, Resource, read_challenge
from airlock.upstream.oauth_tokens import Hidden, Identity

URL = "https://files.example/mcp"
ISSUER = "https://as.example"


def authority(**more: Any) -> AuthorizationServer:
    return AuthorizationServer(issuer=ISSUER, token_endpoint=f"{ISSUER}/token", **more)


@pytest.mark.parametrize(
    ("header", "challenge"),
    [
        ("", Challenge()),
        ("Basic realm=x", Challenge()),
        ("Bearer", Challenge()),
        ('bearer scope="a  b", error=invalid_token', Challenge(scopes=("a", "b"), error="invalid_token")),
        ('Basic realm="x, Bearer scope=no", Bearer scope="s"', Challenge(scopes=("s",))),
        ('Bearer scope="s", Basic scope="t"', Challenge(scopes=("s",))),
        ('Bearer resource_metadata="https://a/\\"b"', Challenge(resource_metadata='https://a/"b')),
        ('Bearer scope="first", scope="second"', Challenge(scopes=("first",))),
        ('Bearer scope="\x7f ok"', Challenge(scopes=("ok",))),
    ],
)
def test_a_challenge_is_read_for_what_it_is(header: str, challenge: Challenge) -> None:
    assert read_challenge(header) == challenge


def test_documents_are_looked_for_in_the_order_of_the_specification() -> None:
    places = oauth_discovery.resource_locations
    root = "https://files.example/.well-known/oauth-protected-resource"
    assert places(URL, Challenge()) == (f"{root}/mcp", root)
    assert places("https://files.example/", Challenge()) == (root,)
    assert places(URL, Challenge(resource_metadata="https://x/y")) == ("https://x/y",)
    assert oauth_discovery.issuer_locations(ISSUER) == (
        f"{ISSUER}/.well-known/oauth-authorization-server",
        f"{ISSUER}/.well-known/openid-configuration",
    )
    assert oauth_discovery.issuer_locations(f"{ISSUER}/t") == (
        f"{ISSUER}/.well-known/oauth-authorization-server/t",
        f"{ISSUER}/.well-known/openid-configuration/t",
        f"{ISSUER}/t/.well-known/openid-configuration",
    )


@pytest.mark.parametrize("resource", [URL, "https://files.example", "https://files.example/"])
def test_a_resource_may_be_the_server_or_what_it_lies_under(resource: str) -> None:
    found = oauth_discovery.read_resource(msgspec.json.encode({"resource": resource, "x": None}), URL)
    assert found.resource == resource


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"resource":"https://files.example/mc"}', "link_resource_mismatch"),
        (b'{"resource":"https://files.example/mcp/more"}', "link_resource_mismatch"),
        (b'{"resource":"https"}', "link_resource_mismatch"),
        (b'{"resource":5}', "link_discovery_failed"),
        (b"[]", "link_discovery_failed"),
        (b"{", "link_discovery_failed"),
    ],
)
def test_metadata_of_something_else_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(LinkRefused) as refused:
        oauth_discovery.read_resource(body, URL)
    assert refused.value.reason == reason


def test_only_an_allowed_authorization_server_is_chosen() -> None:
    found = Resource(resource=URL, authorization_servers=("javascript:x", "http://[", ISSUER, "https://b"))
    assert oauth_discovery.chosen(found, ()) == ISSUER
    assert oauth_discovery.chosen(found, ("https://b",)) == "https://b"
    with pytest.raises(LinkRefused):
        oauth_discovery.chosen(found, (f"{ISSUER}/",))


def test_an_authorization_server_on_tls_sends_nobody_off_it() -> None:
    published = {"issuer": ISSUER, "token_endpoint": "http://as.example/token"}
    with pytest.raises(LinkRefused):
        oauth_discovery.read_server(msgspec.json.encode(published), ISSUER)
    with pytest.raises(LinkRefused):
        oauth_discovery.read_server(msgspec.json.encode({**published, "token_endpoint": ""}), ISSUER)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"supported": ("a", "b")}, ("a", "b")),
        ({"challenged": ("c",), "supported": ("a",)}, ("c",)),
        ({"challenged": ("c",), "granted": ("g", "c")}, ("g", "c")),
        ({"configured": ("x",)}, ("x",)),
        ({}, ()),
        ({"authority": authority(scopes_supported=("offline_access",))}, ("offline_access",)),
        (
            {
                "challenged": ("offline_access",),
                "authority": authority(scopes_supported=("offline_access",)),
            },
            ("offline_access",),
        ),
    ],
)
def test_scopes_are_those_that_the_server_wants(given: dict[str, Any], wanted: tuple[str, ...]) -> None:
    nothing: dict[str, Any] = {"challenged": (), "granted": (), "supported": (), "configured": ()}
    asked: dict[str, Any] = {**nothing, "authority": authority(), **given}
    assert oauth_client.wanted_scopes(**asked) == wanted


@pytest.mark.parametrize(
    ("offered", "secret", "agreed", "method"),
    [
        (("none",), "", "client_secret_basic", "none"),
        (("client_secret_post",), "s", "", "client_secret_post"),
        (("client_secret_basic", "client_secret_post"), "s", "", "client_secret_basic"),
        (("client_secret_basic",), "s", "client_secret_post", "client_secret_post"),
        (("none",), "s", "none", "client_secret_basic"),
    ],
)
def test_a_client_proves_itself_as_agreed(
    offered: tuple[str, ...], secret: str, agreed: str, method: str
) -> None:
    here = authority(token_endpoint_auth_methods_supported=offered)
    assert oauth_client.identity("id", secret, agreed, here).method == method


def test_a_registration_says_who_we_are() -> None:
    here = authority(token_endpoint_auth_methods_supported=("private_key_jwt",))
    body = json.loads(oauth_client.registration("https://gw.example", here))
    assert body["token_endpoint_auth_method"] == "none"
    assert body["redirect_uris"] == ["https://gw.example/api/v1/oauth/callback"]
    document = oauth_client.client_document("https://gw.example")
    assert document["client_id"] == "https://gw.example/api/v1/oauth/client-metadata.json"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, b'{"error":"invalid_redirect_uri"}'),
        (201, b"{}"),
        (201, b"\xff"),
        (201, b'{"client_id":"a\xc3\xa9"}'),
    ],
)
def test_a_registration_that_failed_is_said(status: int, body: bytes) -> None:
    with pytest.raises(LinkRefused) as refused:
        oauth_client.registered(status, body, authority())
    assert refused.value.reason == "link_client_missing"


def test_secrets_are_in_no_repr() -> None:
    shown = repr(Identity(client_id="id", secret=Hidden("s3cret"), method="client_secret_post"))
    assert "s3cret" not in shown
    assert not Hidden()


def test_basic_encodes_what_it_must() -> None:
    client = Identity(client_id="a:b", secret=Hidden("c d"), method="client_secret_basic")
    fields, headers = oauth_tokens.proof(client, ISSUER, None, 0.0)
    assert fields == {}
    assert headers == {"Authorization": f"Basic {base64.b64encode(b'a%3Ab:c%20d').decode()}"}


def test_an_unexpected_answer_of_a_token_endpoint_says_a_word_at_most() -> None:
    for body in (b'{"error":"invalid_grant"}', b'{"error":"<script>"}', b"no"):
        with pytest.raises(LinkRefused) as refused:
            oauth_tokens.read_tokens(400, body, (), 0.0)
        assert oauth_tokens.gone(refused.value) is (b"grant" in body)
        assert "<" not in refused.value.detail
    answer = {"access_token": "t", "token_type": "bearer", "scope": "a b"}
    found = oauth_tokens.read_tokens(200, msgspec.json.encode(answer), ("x",), 100.0)
    assert (found.scopes, found.until) == (("a", "b"), 100.0 + oauth_tokens.LIFETIME_UNSAID)


def pem(key: Any) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def entry(**more: Any) -> ServerEntry:
    wanted = msgspec.convert({"mode": "user_oauth", **more}, CredentialEntry)
    return ServerEntry(name="files", transport="http", url=URL, credential=wanted)


def grantor(where: ServerEntry, **environ: str) -> Any:
    return credentials.load_grantor(where, environ, warn=lambda text: None)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
    ],
)
def test_a_private_key_proves_who_we_are(tmp_path: Path, key: Any, algorithm: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(pem(key))
    path.chmod(0o600)
    found = grantor(entry(mode="client_credentials", client_id="robot", key_file=str(path), issuers=[ISSUER]))
    assert found.own and "robot" not in repr(found)
    client = oauth_client.identity("robot", "", "", authority())
    fields, headers = oauth_tokens.proof(client, ISSUER, found.key, 1000.0)
    assert headers == {} and fields["client_id"] == "robot"
    token = jwt.decode(fields["client_assertion"], found.key, algorithms=[algorithm])
    assert {name: token.claims[name] for name in ("iss", "sub", "aud", "exp")} == {
        "iss": "robot",
        "sub": "robot",
        "aud": ISSUER,
        "exp": 1060,
    }


def test_a_login_of_the_configuration_is_read_with_its_secrets(tmp_path: Path) -> None:
    found = grantor(entry(env="SECRET", client_id="id", issuers=[ISSUER]), SECRET=" s3cret\n")
    assert (found.secret.value, found.client_id, found.own) == ("s3cret", "id", False)
    tls = msgspec.structs.replace(entry(), tls=UpstreamTls(ca_file="/ca.pem"))
    assert grantor(tls).ca_file == "/ca.pem"
    with pytest.raises(ConfigError, match="holds no secret"):
        grantor(entry(env="SECRET", client_id="id"))
    broken = tmp_path / "key.pem"
    broken.write_text("no key")
    broken.chmod(0o600)
    with pytest.raises(ConfigError, match=r"key\.pem"):
        grantor(entry(key_file=str(broken)))
    with pytest.raises(ConfigError, match="cannot be read"):
        grantor(entry(key_file=str(tmp_path / "absent")))
    assert credentials.load(entry(), {}, warn=lambda text: None) is None
