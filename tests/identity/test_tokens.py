"""Which tokens count. Every attack has a twin of the same shape that must be let in."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airlock.core.errors import Unauthenticated
from airlock.identity.refusals import Reason
from airlock.identity.tokens import Issuer, Verifier, bearer
from airlock.model.principal import Principal
from airlock.model.snapshot import Keys, Revocations


class Forge(Protocol):
    now: int
    issuer: str
    keys: Keys
    far: Any
    nobody: Any
    hmac: Callable[[bytes], bytes]
    rs256: Callable[[bytes], bytes]
    ps256: Callable[[bytes], bytes]

    def token(self, *, header: Any = None, claims: Any = None, sign: Any = None) -> str: ...
    def claims(self) -> dict[str, Any]: ...
    def verifier(self, *, cache_tokens: int = 100) -> Verifier: ...
    def verify(self, token: str, **circumstances: Any) -> Principal: ...


Make = Callable[[Forge], str]

RSA = {"alg": "RS256", "kid": "rsa"}


def reason(forge: Forge, token: str, **circumstances: Any) -> str:
    with pytest.raises(Unauthenticated) as refused:
        forge.verify(token, **circumstances)
    assert (refused.value.http, refused.value.error) == (401, "invalid_token")
    return refused.value.reason


def sound(forge: Forge) -> str:
    return forge.token()


def signed(header: Any = None, claims: Any = None) -> Make:
    return lambda forge: forge.token(header=header, claims=claims)


def by(signature: str, header: dict[str, Any]) -> Make:
    return lambda forge: forge.token(header=header, sign=getattr(forge, signature))


def unsigned(spelling: str) -> Make:
    return lambda forge: forge.token(header={"alg": spelling}, sign=no_signature).rstrip(".") + "."


def timed(**offsets: int) -> Make:
    return lambda forge: forge.token(claims={name: forge.now + offset for name, offset in offsets.items()})


def no_signature(_message: bytes) -> bytes:
    return b""


def zero_signature(_message: bytes) -> bytes:
    return bytes(8)


def respelled(forge: Forge) -> str:
    """The last character of an Ed25519 signature carries four unused bits."""
    token = forge.token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def twice_in_header(forge: Forge) -> str:
    return forge.token(header=b'{"typ":"at+jwt","alg":"none","alg":"Ed25519","kid":"ed"}')


def twice_in_claims(forge: Forge) -> str:
    return forge.token(claims=json.dumps(forge.claims()).replace("{", '{"sub":"mallory",', 1).encode())


def changed_claims(forge: Forge) -> str:
    header, _, signature = forge.token().split(".")
    body = json.dumps(forge.claims() | {"roles": ["admin"]}).encode()
    return f"{header}.{base64.urlsafe_b64encode(body).rstrip(b'=').decode()}.{signature}"


def attackers_jwk(forge: Forge) -> str:
    x = base64.urlsafe_b64encode(forge.nobody.public_key().public_bytes_raw()).rstrip(b"=").decode()
    return forge.token(
        header={"jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}, "kid": None}, sign=forge.nobody.sign
    )


CONFUSIONS: list[tuple[str, Make, Reason, Make]] = [
    ("none", unsigned("none"), Reason.UNSIGNED, sound),
    ("None", unsigned("None"), Reason.UNSIGNED, sound),
    ("NONE", unsigned("NONE"), Reason.UNSIGNED, sound),
    ("nOnE", unsigned("nOnE"), Reason.UNSIGNED, sound),
    ("none with the old signature", signed({"alg": "none"}), Reason.UNSIGNED, sound),
    ("hmac with public key", by("hmac", {"alg": "HS256", "kid": "rsa"}), Reason.ALGORITHM, by("rs256", RSA)),
    ("alg is no text", signed({"alg": ["Ed25519"]}), Reason.ALGORITHM, sound),
    ("deprecated EdDSA", signed({"alg": "EdDSA"}), Reason.ALGORITHM, sound),
    ("other algorithm", by("ps256", {**RSA, "alg": "PS256"}), Reason.ALGORITHM_MISMATCH, by("rs256", RSA)),
    ("kid is a path", signed({"kid": "../../dev/null"}), Reason.KEY_UNKNOWN, signed({"kid": "team/2026"})),
    ("kid is SQL", signed({"kid": "' OR 1=1 --"}), Reason.KEY_UNKNOWN, signed({"kid": "ed"})),
    ("no kid", signed({"kid": None}), Reason.KEY_UNKNOWN, sound),
    ("kid is no text", signed({"kid": 1}), Reason.HEADER, sound),
    ("embedded jwk", attackers_jwk, Reason.KEY_EMBEDDED, sound),
    ("embedded x5c", signed({"x5c": ["MIIB"]}), Reason.KEY_EMBEDDED, sound),
    ("jku", signed({"jku": "http://127.0.0.1:9/jwks"}), Reason.KEY_REMOTE, sound),
    ("x5u", signed({"x5u": "http://127.0.0.1:9/cert"}), Reason.KEY_REMOTE, sound),
    ("unknown crit", signed({"crit": ["exp2"], "exp2": 1}), Reason.CRITICAL, sound),
    ("crit of a known member", signed({"crit": ["kid"]}), Reason.CRITICAL, sound),
    ("unencoded payload", signed({"b64": False, "crit": ["b64"]}), Reason.CRITICAL, sound),
    ("other header member", signed({"zip": "DEF"}), Reason.HEADER, signed({"x5t": "a", "x5t#S256": "b"})),
    ("typ of another kind", signed({"typ": "dpop+jwt"}), Reason.TYPE, signed({"typ": "JWT"})),
    ("no typ", signed({"typ": None}), Reason.TYPE, signed({"typ": "application/at+jwt"})),
    ("expired", timed(iat=-3600, exp=-60), Reason.EXPIRED, timed(iat=-3600, exp=-59)),
    ("nbf in future", timed(nbf=61, exp=3600), Reason.NOT_YET_VALID, timed(nbf=60, exp=3600)),
    ("iat in future", timed(iat=61, exp=3600), Reason.NOT_YET_VALID, timed(iat=60, exp=3600)),
    ("no exp", signed(claims={"exp": None}), Reason.EXPIRY_MISSING, sound),
    ("lasts too long", timed(iat=0, exp=86401), Reason.LIFETIME, timed(iat=0, exp=86400)),
    ("ends before it begins", timed(nbf=100, exp=100), Reason.LIFETIME, timed(nbf=10, exp=100)),
    ("signature stripped", lambda forge: forge.token(sign=no_signature), Reason.SIGNATURE_STRIPPED, sound),
    ("claims changed", changed_claims, Reason.SIGNATURE, sound),
    ("short signature", lambda forge: forge.token(sign=zero_signature), Reason.SIGNATURE, sound),
    ("key of nobody", lambda forge: forge.token(sign=forge.nobody.sign), Reason.SIGNATURE, sound),
    ("key of another issuer",
     lambda forge: forge.token(header={"kid": "far"}, sign=forge.far.sign), Reason.KEY_UNKNOWN,
     lambda forge: forge.token(
         header={"kid": "far"}, claims={"iss": "https://other.example"}, sign=forge.far.sign)),
    ("alg twice", twice_in_header, Reason.DUPLICATE_MEMBER, sound),
    ("sub twice", twice_in_claims, Reason.DUPLICATE_MEMBER, sound),
    ("alg in two cases", signed({"Alg": "none"}), Reason.MALFORMED, sound),
    ("1 MB", lambda forge: forge.token(claims={"pad": "x" * 1_000_000}), Reason.TOO_LARGE,
     lambda forge: forge.token(claims={"groups": [f"group-{n:04}" for n in range(500)]})),
    ("respelled base64", respelled, Reason.MALFORMED, sound),
    ("padded base64", lambda forge: forge.token() + "==", Reason.MALFORMED, sound),
    ("base64 of impossible length", lambda forge: forge.token() + "AAA", Reason.MALFORMED, sound),
    ("trailing newline", lambda forge: forge.token() + "\n", Reason.MALFORMED, sound),
    ("inner space", lambda forge: forge.token().replace(".", ". ", 1), Reason.MALFORMED, sound),
    ("not ASCII", lambda forge: forge.token() + "\u00e9", Reason.MALFORMED, sound),
    ("two parts", lambda forge: forge.token().rpartition(".")[0], Reason.MALFORMED, sound),
    ("five parts", lambda forge: forge.token() + ".AA.AA", Reason.MALFORMED, sound),
    ("empty", lambda _: "", Reason.MALFORMED, sound),
    ("claims are no object", signed(claims=b"[]"), Reason.MALFORMED, sound),
    ("claims are no JSON", signed(claims=b"\xff"), Reason.MALFORMED, sound),
    ("unknown issuer", signed(claims={"iss": "https://idp.example/"}), Reason.ISSUER, sound),
    ("no issuer", signed(claims={"iss": None}), Reason.ISSUER, sound),
    ("issuer is no text", signed(claims={"iss": ["https://idp.example"]}), Reason.ISSUER, sound),
    ("foreign audience", signed(claims={"aud": "https://api.other"}), Reason.AUDIENCE, sound),
    ("ours and a foreign audience", signed(claims={"aud": ["https://gw.example", "https://api.other"]}),
     Reason.AUDIENCE, signed(claims={"aud": ["https://gw.example", "https://api.example"]})),
    ("another resource of ours", signed(claims={"aud": "https://gw.example/mcp/a"}), Reason.RESOURCE, sound),
    ("no audience", signed(claims={"aud": None}), Reason.CLAIMS, sound),
    ("empty audience", signed(claims={"aud": []}), Reason.CLAIMS, sound),
    ("roles as text", signed(claims={"roles": "admin"}), Reason.CLAIMS, signed(claims={"roles": ["admin"]})),
    ("scope as list", signed(claims={"scope": ["mcp.call"]}), Reason.CLAIMS,
     signed(claims={"scope": "mcp.call"})),
    ("scope with two spaces", signed(claims={"scope": "a  b"}), Reason.CLAIMS, signed(claims={"scope": ""})),
    ("exp as text", signed(claims={"exp": "1900000000"}), Reason.CLAIMS, timed(exp=1)),
    ("exp beyond time", signed(claims={"exp": 2**62}), Reason.CLAIMS, timed(exp=1)),
    ("NUL in subject", signed(claims={"sub": "a\0b"}), Reason.CLAIMS, signed(claims={"sub": "a b"})),
    ("no subject", signed(claims={"sub": None}), Reason.SUBJECT_MISSING,
     signed(claims={"sub": None, "client_id": "robot"})),
    ("no tenant", signed(claims={"tenant": None}), Reason.TENANT_MISSING, sound),
    ("empty tenant", signed(claims={"tenant": ""}), Reason.CLAIMS, sound),
]  # fmt: skip


@pytest.mark.parametrize(
    ("attack", "expected", "twin"),
    [pytest.param(attack, word, twin, id=name) for name, attack, word, twin in CONFUSIONS],
)
def test_xc6_the_attack_is_refused_with_its_reason_and_its_twin_is_let_in(
    forge: Forge, attack: Make, expected: Reason, twin: Make
) -> None:
    verifier = forge.verifier()
    assert forge.verify(twin(forge), verifier=verifier).tenant == "t1"
    assert reason(forge, attack(forge), verifier=verifier) == expected
    assert reason(forge, attack(forge), verifier=verifier) == expected


def test_the_text_for_the_caller_never_tells_which_check_failed(forge: Forge) -> None:
    texts: set[str] = set()
    for _, attack, _, _ in CONFUSIONS:
        with pytest.raises(Unauthenticated) as refused:
            forge.verify(attack(forge))
        texts.add(refused.value.text)
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("audience", "opens"),
    [
        ("https://gw.example", ("", "a", "b")),
        ("https://gw.example/mcp", ("", "a", "b")),
        ("https://gw.example/mcp/a", ("a",)),
        ("https://api.example", ()),
    ],
)
def test_a4_a_token_opens_its_own_resource_and_what_lies_under_it(
    forge: Forge, audience: str, opens: tuple[str, ...]
) -> None:
    verifier = forge.verifier()
    token = forge.token(claims={"aud": audience})
    for server in ("", "a", "b"):
        if server in opens:
            assert forge.verify(token, verifier=verifier, server=server).audience == (audience,)
        else:
            assert reason(forge, token, verifier=verifier, server=server) == Reason.RESOURCE


def test_the_principal_is_what_the_claims_say(forge: Forge) -> None:
    token = forge.token(
        claims={
            "aud": ["https://gw.example", "https://api.example"],
            "client_id": "ide",
            "groups": ["staff"],
            "acr": "2",
            "auth_time": forge.now - 5.5,
            "act": {"sub": "agent", "act": {"sub": "scheduler"}},
            "unknown": {"deep": [1]},
        }
    )
    assert forge.verify(token) == Principal(
        issuer=forge.issuer,
        subject="alice",
        tenant="t1",
        roles=("developer",),
        groups=("staff",),
        scopes=("mcp.list", "mcp.call"),
        client_id="ide",
        auth="oidc",
        token_id="j-1",
        audience=("https://gw.example", "https://api.example"),
        auth_time=forge.now - 6,
        acr="2",
        actor=("agent", "scheduler"),
        expires_at=forge.now + 3600,
    )


def test_a_token_without_jti_is_known_by_a_truncated_digest(forge: Forge) -> None:
    token_id = forge.verify(forge.token(claims={"jti": None})).token_id
    assert len(bytes.fromhex(token_id)) == 16


def test_a_delegation_chain_has_an_end(forge: Forge) -> None:
    actor: dict[str, Any] | None = None
    for _ in range(9):
        actor = {"sub": "agent"} | ({"act": actor} if actor else {})
    assert reason(forge, forge.token(claims={"act": actor})) == Reason.CLAIMS


def test_a_token_without_iat_may_not_outlast_the_longest_lifetime(forge: Forge) -> None:
    claims = {"iat": None, "exp": forge.now + 86401}
    assert reason(forge, forge.token(claims=claims)) == Reason.LIFETIME
    assert forge.verify(forge.token(claims=claims | {"exp": forge.now + 86400})).subject == "alice"


def test_a_remembered_token_is_refused_when_it_expires_and_then_forgotten(forge: Forge) -> None:
    verifier, token = forge.verifier(), forge.token()
    assert forge.verify(token, verifier=verifier).subject == "alice"
    assert verifier.remembered == 1
    assert forge.verify(token, verifier=verifier, now=forge.now + 3659.9).subject == "alice"
    assert reason(forge, token, verifier=verifier, now=forge.now + 3660) == Reason.EXPIRED
    assert verifier.remembered == 0


def test_a_remembered_token_is_refused_when_the_clock_is_set_back_before_it(forge: Forge) -> None:
    verifier, token = forge.verifier(), forge.token()
    forge.verify(token, verifier=verifier)
    assert reason(forge, token, verifier=verifier, now=forge.now - 61) == Reason.NOT_YET_VALID


@pytest.mark.parametrize("issuers", [{}, {"https://idp.example": {}}], ids=["issuer gone", "kid gone"])
def test_a_remembered_token_is_refused_when_its_key_is_gone(forge: Forge, issuers: dict[str, Any]) -> None:
    verifier, token = forge.verifier(), forge.token()
    forge.verify(token, verifier=verifier)
    assert reason(forge, token, verifier=verifier, keys=Keys(issuers=issuers)) == Reason.KEY_UNKNOWN
    assert verifier.remembered == 0


def test_a_remembered_token_is_refused_when_another_key_took_its_kid(forge: Forge) -> None:
    verifier, token = forge.verifier(), forge.token()
    forge.verify(token, verifier=verifier)
    exchanged = {forge.issuer: {"ed": forge.keys.issuers["https://other.example"]["far"]}}
    assert reason(forge, token, verifier=verifier, keys=Keys(issuers=exchanged)) == Reason.SIGNATURE
    assert forge.verify(token, verifier=verifier).subject == "alice"


def test_xc7_a_remembered_token_is_refused_when_it_or_its_subject_is_revoked(forge: Forge) -> None:
    verifier, token = forge.verifier(), forge.token()
    forge.verify(token, verifier=verifier)
    one = Revocations(token_ids=frozenset(("j-1",)))
    assert reason(forge, token, verifier=verifier, revocations=one) == Reason.REVOKED
    whole = Revocations(subjects=frozenset((("t1", forge.issuer, "alice"),)))
    assert reason(forge, token, verifier=verifier, revocations=whole) == Reason.SUBJECT_REVOKED


@pytest.mark.parametrize(
    "owner", [("t2", "https://idp.example", "alice"), ("t1", "https://x.example", "alice")]
)
def test_a_revoked_subject_is_one_of_one_tenant_and_issuer(forge: Forge, owner: tuple[str, str, str]) -> None:
    revocations = Revocations(subjects=frozenset((owner,)), token_ids=frozenset(("j-2",)))
    assert forge.verify(forge.token(), revocations=revocations).subject == "alice"


def test_the_oldest_remembered_token_makes_room(forge: Forge) -> None:
    verifier = forge.verifier(cache_tokens=3)
    for number in range(10):
        forge.verify(forge.token(claims={"jti": f"j-{number}"}), verifier=verifier)
        assert verifier.remembered <= 3
    assert forge.verify(forge.token(claims={"jti": "j-0"}), verifier=verifier).token_id == "j-0"


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), character=st.characters(max_codepoint=0x7F))
def test_a_token_with_any_one_character_changed_is_refused(
    forge: Forge, place: float, character: str
) -> None:
    verifier, token = forge.verifier(), forge.token()
    forge.verify(token, verifier=verifier)
    index = int(place * len(token))
    changed = token[:index] + character + token[index + 1 :]
    if changed != token:
        assert reason(forge, changed, verifier=verifier)


CIRCUMSTANCES = st.fixed_dictionaries(
    {
        "server": st.sampled_from(["", "a", "b"]),
        "age": st.integers(-100, 4000),
        "pinned": st.booleans(),
        "revoked": st.sampled_from(["", "token", "subject"]),
        "audience": st.sampled_from(["https://gw.example", "https://gw.example/mcp/a"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(history=st.lists(CIRCUMSTANCES, min_size=2, max_size=8))
def test_memory_never_changes_an_answer(forge: Forge, history: list[dict[str, Any]]) -> None:
    remembering = forge.verifier()
    tokens = {
        audience: forge.token(claims={"aud": audience})
        for audience in ("https://gw.example", "https://gw.example/mcp/a")
    }

    def answer(verifier: Verifier, moment: dict[str, Any]) -> str:
        revocations = Revocations(
            token_ids=frozenset(("j-1",) if moment["revoked"] == "token" else ()),
            subjects=frozenset((("t1", forge.issuer, "alice"),) if moment["revoked"] == "subject" else ()),
        )
        try:
            return forge.verify(
                tokens[moment["audience"]],
                verifier=verifier,
                server=moment["server"],
                now=forge.now + moment["age"],
                keys=forge.keys if moment["pinned"] else Keys(),
                revocations=revocations,
            ).subject
        except Unauthenticated as refused:
            return refused.reason

    for moment in history:
        assert answer(remembering, moment) == answer(forge.verifier(), moment)


@pytest.mark.parametrize(
    ("value", "token"),
    [("Bearer a.b.c", "a.b.c"), ("bearer a-b._~+/==", "a-b._~+/=="), ("BEARER   x", "x")],
)
def test_a_bearer_header_carries_a_token(value: str, token: str) -> None:
    assert bearer(value) == token


@pytest.mark.parametrize("value", [None, "", "Basic YTpi", "Bearerx", " Bearer x", "a.b.c"])
def test_no_bearer_header_is_no_credential(value: str | None) -> None:
    with pytest.raises(Unauthenticated) as refused:
        bearer(value)
    assert (refused.value.reason, refused.value.error) == (Reason.MISSING, None)


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer a\n", "Bearer ="])
def test_a_bearer_header_with_anything_but_one_token_is_malformed(value: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        bearer(value)
    assert (refused.value.reason, refused.value.error) == (Reason.MALFORMED, "invalid_token")


def test_whoever_follows_an_issuer_is_told_of_a_key_that_is_not_here(forge: Forge) -> None:
    told: list[str] = []
    issuer = Issuer(identifier=forge.issuer, own="https://gw.example", max_lifetime=86400, auth="oidc")
    verifier = Verifier(issuers=[issuer], unknown_key=told.append)
    assert reason(forge, forge.token(header={"kid": "new"}), verifier=verifier) == "token_key_unknown"
    forge.verify(forge.token(), verifier=verifier)
    assert told == [forge.issuer]


@pytest.mark.parametrize(
    ("claims", "circumstances", "about"),
    [
        (
            {"aud": "https://gw.example/mcp"},
            {"now": 10_000},
            {"aud": ["https://gw.example/mcp"], "kid": "ed"},
        ),
        ({"exp": 1_800_000_100}, {"now": 1_800_000_700}, {"expired_for_s": 600}),
        ({"nbf": 1_800_000_600}, {}, {"valid_in_s": 600}),
        ({"aud": ["https://gw.example/mcp", "y" * 999]}, {}, {"aud": ["https://gw.example/mcp", "y" * 128]}),
        ({"iss": "z" * 999}, {}, {"iss": "z" * 128}),
        ({"iss": 7, "aud": {"a": 1}}, {}, {"iss": "", "aud": []}),
    ],
)
def test_the_log_learns_what_a_refused_token_says_of_itself(
    forge: Forge, claims: dict[str, Any], circumstances: dict[str, Any], about: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated) as refused:
        forge.verify(forge.token(claims=claims), **circumstances)
    assert {name: refused.value.about[name] for name in about} == about
