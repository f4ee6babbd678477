"""XC-1 token passthrough, XC-2 resource ignored, XC-6 verifier confusion: tokens of a real provider, and
forgeries of them, at a real gateway with two workers. Each attack stands beside its benign twin."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from airlock.core.clock import SYSTEM
from tests.system.deployment import Answer, Deployment, until
from tests.system.listener import Listener
from tests.system.provider import Provider
from tests.system.recorder import Recorder

ROUTES = [("/mcp", "notes__echo"), ("/mcp/notes", "echo")]
ERAS = [False, True]


class Site(msgspec.Struct, frozen=True):
    """A gateway between a provider and a server that records."""

    gateway: Deployment
    provider: Provider
    upstream: Recorder

    def token(self, audience: str | list[str] = "/mcp", **claims: object) -> str:
        named = [audience] if isinstance(audience, str) else audience
        urls = [self.gateway.url + name if name.startswith("/") else name for name in named]
        return self.provider.token("alice", urls[0] if len(urls) == 1 else urls, **claims)

    def call(
        self,
        token: str,
        text: str = "x",
        *,
        path: str = "/mcp",
        tool: str = "notes__echo",
        modern: bool = False,
    ) -> Answer:
        return self.gateway.call(tool, {"text": text}, token, path=path, modern=modern)

    def reached(self, text: str) -> bool:
        """Whether the server saw a call with this text."""
        return any(call["params"]["arguments"].get("text") == text for call in self.upstream.calls())

    def refused(self, answer: Answer, reason: str, *, resource: str = "/mcp") -> None:
        """401, a challenge that leads to the metadata, and the reason on the record; not in the answer."""
        assert answer.status == 401, answer.body
        where = f'resource_metadata="{self.gateway.url}/.well-known/oauth-protected-resource{resource}"'
        assert where in answer.headers["www-authenticate"]
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert reason.encode() not in answer.body
        rows = self.gateway.recorded("action='token_validate' AND decision='deny' AND reason=?", reason)
        assert rows[0]["severity"] == "MEDIUM"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Recorder() as upstream, Provider() as provider:
        low = {"transport": "http", "url": upstream.url, "sensitivity": "low", "read_only": True}
        servers = [{"name": "notes", **low}, {"name": "mail", **low}]
        deployment = Deployment(tmp_path_factory.mktemp("tokens"), servers)
        ours = [deployment.url, *(f"{deployment.url}/mcp{rest}" for rest in ("", "/notes", "/mail"))]
        issuer = {"issuer": provider.url, "allow_private": True, "audience": [*ours, "https://own.example"]}
        deployment.sections["auth"] = {"local_issuer": False, "issuers": [issuer]}
        deployment.write()
        with deployment:
            served = Site(deployment, provider, upstream)
            until(lambda: all(served.call(served.token()).status == 200 for _ in range(12)), within=30)
            yield served


# XC-1


@pytest.mark.parametrize("modern", ERAS)
@pytest.mark.parametrize(("path", "tool"), ROUTES)
@pytest.mark.parametrize("others", [["https://other.example"], ["/mcp", "https://other.example"]])
def test_xc1_a_token_for_somebody_else_too_opens_nothing(
    site: Site, others: list[str], path: str, tool: str, *, modern: bool
) -> None:
    marker = f"stranger {others} {path} {modern}"
    answer = site.call(site.token(others), marker, path=path, tool=tool, modern=modern)
    site.refused(answer, "token_audience", resource=path)
    assert not site.reached(marker)


@pytest.mark.parametrize("modern", ERAS)
@pytest.mark.parametrize(("path", "tool"), ROUTES)
def test_xc1_the_clients_token_reaches_no_upstream(site: Site, path: str, tool: str, *, modern: bool) -> None:
    token = site.token([path, "https://own.example"])
    marker = f"through {path} {modern}"
    assert site.call(token, marker, path=path, tool=tool, modern=modern).status == 200
    assert site.reached(marker)
    sent = b"\n".join(json.dumps(seen.headers).encode() + seen.body for seen in site.upstream.seen)
    pieces = {token, *token.split("."), base64.b64encode(token.encode()).decode()}
    assert [piece for piece in pieces if piece.encode() in sent] == []


# XC-2


@pytest.mark.parametrize("modern", ERAS)
@pytest.mark.parametrize(
    ("issued_for", "path", "tool"),
    [
        ("/mcp/notes", "/mcp/mail", "echo"),
        ("/mcp/notes", "/mcp", "mail__echo"),
        ("/mcp/mail", "/mcp", "mail__echo"),
    ],
)
def test_xc2_a_token_counts_for_its_own_resource_only(
    site: Site, issued_for: str, path: str, tool: str, *, modern: bool
) -> None:
    token, marker = site.token(issued_for), f"elsewhere {issued_for} {path} {modern}"
    answer = site.call(token, marker, path=path, tool=tool, modern=modern)
    site.refused(answer, "resource_mismatch", resource=path)
    assert not site.reached(marker)
    assert site.call(token, path=issued_for, tool="echo", modern=modern).status == 200


@pytest.mark.parametrize("ancestor", ["", "/mcp"])
def test_xc2_a_token_for_an_ancestor_opens_the_route(site: Site, ancestor: str) -> None:
    token = site.token([site.gateway.url + ancestor])
    assert site.call(token, path="/mcp/notes", tool="echo").status == 200


# XC-6


def encode(value: bytes | dict[str, Any]) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def header_of(token: str) -> dict[str, Any]:
    part = token.partition(".")[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def with_header(token: str, **members: Any) -> str:
    """The same payload and signature under another header."""
    _, payload, signature = token.split(".")
    return f"{encode({**header_of(token), **members})}.{payload}.{signature}"


def unsigned(token: str, spelling: str) -> str:
    return with_header(token, alg=spelling).rpartition(".")[0] + "."


def by_public_key(token: str, provider: Provider) -> str:
    """HS256 with the published key as the secret."""
    pem = provider.keys[0].as_pem(private=False)
    _, payload, _ = token.split(".")
    message = f"{encode({**header_of(token), 'alg': 'HS256'})}.{payload}"
    return f"{message}.{encode(hmac.digest(pem, message.encode(), hashlib.sha256))}"


def doubled(token: str) -> str:
    header, payload, signature = token.split(".")
    text = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    return f"{encode(text[:-1] + b',' + text[1:])}.{payload}.{signature}"


def embedded(token: str, provider: Provider) -> str:
    return with_header(token, jwk=provider.keys[0].as_dict(private=False))


def other_payload(token: str, provider: Provider) -> str:
    header, _, signature = token.split(".")
    return f"{header}.{encode({'iss': provider.url, 'sub': 'root'})}.{signature}"


Forge = Callable[[str, Provider], str]

FORGERIES: dict[str, tuple[str, Forge]] = {
    "alg none": ("token_unsigned", lambda token, _: with_header(token, alg="none")),
    "alg None": ("token_unsigned", lambda token, _: with_header(token, alg="None")),
    "alg NONE": ("token_unsigned", lambda token, _: with_header(token, alg="NONE")),
    "alg nOnE": ("token_unsigned", lambda token, _: with_header(token, alg="nOnE")),
    "alg none, no signature": ("token_unsigned", lambda token, _: unsigned(token, "none")),
    "HS256 by the public key": ("token_algorithm", by_public_key),
    "another algorithm": ("token_algorithm_mismatch", lambda token, _: with_header(token, alg="RS256")),
    "kid as a path": ("token_key_unknown", lambda token, _: with_header(token, kid="../../dev/null")),
    "kid as SQL": ("token_key_unknown", lambda token, _: with_header(token, kid="' OR 1=1 --")),
    "embedded key": ("token_key_embedded", embedded),
    "embedded chain": ("token_key_embedded", lambda token, _: with_header(token, x5c=["MIIB"])),
    "unknown crit": ("token_critical", lambda token, _: with_header(token, crit=["x"], x=1)),
    "signature stripped": ("token_signature_stripped", lambda token, _: token.rpartition(".")[0] + "."),
    "header said twice": ("token_duplicate_member", lambda token, _: doubled(token)),
    "another payload": ("token_signature", other_payload),
    "typ of another purpose": ("token_type", lambda token, _: with_header(token, typ="dpop+jwt")),
}  # fmt: skip


@pytest.mark.parametrize("modern", ERAS)
@pytest.mark.parametrize("name", sorted(FORGERIES))
def test_xc6_a_forged_token_opens_nothing(site: Site, name: str, *, modern: bool) -> None:
    reason, forge = FORGERIES[name]
    sound, marker = site.token(), f"forged {name} {modern}"
    site.refused(site.call(forge(sound, site.provider), marker, modern=modern), reason)
    assert not site.reached(marker)
    assert site.call(sound, modern=modern).status == 200


@pytest.mark.parametrize("member", ["jku", "x5u"])
def test_xc6_no_address_in_a_token_is_ever_asked(site: Site, member: str) -> None:
    sound = site.token()
    with Listener() as listener:
        site.refused(site.call(with_header(sound, **{member: listener.url})), "token_key_remote")
        assert site.call(sound).status == 200
        assert listener.accepted == 0


def clock(offsets: dict[str, int | None]) -> dict[str, Any]:
    """Seconds from now as claims; None stays, and leaves the claim out."""
    now = int(SYSTEM.wall())
    return {name: None if offset is None else now + offset for name, offset in offsets.items()}


@pytest.mark.parametrize(
    ("offsets", "reason"),
    [
        ({"iat": -400, "exp": -100}, "token_expired"),
        ({"nbf": 200}, "token_not_yet_valid"),
        ({"exp": None}, "token_expiry_missing"),
        ({"exp": 90 * 86400}, "token_lifetime"),
    ],
)
def test_xc6_a_token_outside_its_time_opens_nothing(
    site: Site, offsets: dict[str, int | None], reason: str
) -> None:
    site.refused(site.call(site.token(**clock(offsets))), reason)


@pytest.mark.parametrize("offsets", [{"iat": -300, "exp": -20}, {"nbf": 40, "iat": 40}, {}])
def test_xc6_a_minute_of_skew_is_no_attack(site: Site, offsets: dict[str, int | None]) -> None:
    assert site.call(site.token(**clock(offsets))).status == 200


def test_xc6_a_token_longer_than_any_opens_nothing(site: Site) -> None:
    assert site.call(site.token() + "A" * 20_000, "longer").status == 431
    assert not site.reached("longer")


def test_xc6_a_token_of_a_megabyte_opens_nothing(site: Site) -> None:
    sound = site.token()
    try:
        status = site.call(sound + "A" * 1_000_000, "megabyte").status
    except OSError:
        status = 0  # the connection ended while the rest was still being sent
    assert status in (0, 401, 431)
    assert not site.reached("megabyte")
    assert site.call(sound).status == 200
