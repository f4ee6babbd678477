"""The identity provider as seen by us, its client: where to send a person, and who came back.

The provider's address comes from the configuration, everything else from its discovery document, which must
name the same issuer. What is fetched goes through functions that guard and bound it; nothing of it is shown
to a client. A provider that fails us ends the login, never the gateway.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeVar
from urllib.parse import quote

import msgspec

from airlock.core.clock import Clock
from airlock.core.errors import Fault, Rejected, Stage, Unauthenticated
from airlock.identity import idtoken, jws
from airlock.identity.claims import Claims
from airlock.identity.discovery import BadDocument, Metadata, locations, read_metadata
from airlock.identity.flow import Trip
from airlock.identity.oauth import challenge_of, with_parameters, wrong
from airlock.identity.refusals import Reason
from airlock.identity.tokens import Issuer

FRESH = 300.0
"""Seconds for which a discovery document counts without being asked for again."""


class Answer(Protocol):
    """What a fetch brings."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...


class Get(Protocol):
    """A bounded, guarded GET. Raises `Fault`."""

    def __call__(self, url: str) -> Awaitable[Answer]: ...


class Post(Protocol):
    """A bounded, guarded POST of a form. Raises `Fault`."""

    def __call__(
        self, url: str, form: Mapping[str, str], headers: Mapping[str, str]
    ) -> Awaitable[Answer]: ...


class _Tokens(msgspec.Struct, frozen=True, kw_only=True):
    id_token: str


class _Refusal(msgspec.Struct, frozen=True, kw_only=True):
    error: str = ""


_Document = TypeVar("_Document", bound=msgspec.Struct)


class RelyingParty:
    """We, as the client of one provider. Used on the event loop only."""

    def __init__(
        self,
        *,
        issuer: Issuer,
        client_id: str,
        secret: str,
        scopes: tuple[str, ...],
        callback: str,
        get: Get,
        post: Post,
        keys: Callable[[], Mapping[str, tuple[str, jws.Key]]],
        unknown_key: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        """`secret` may be empty: then PKCE alone protects us. `keys` are those pinned for the issuer now;
        `unknown_key` returns when they were looked for again."""
        self._issuer = issuer
        self._client_id = client_id
        self._secret = secret
        self._scopes = scopes
        self._callback = callback
        self._get = get
        self._post = post
        self._keys = keys
        self._unknown_key = unknown_key
        self._clock = clock
        self._known: tuple[float, Metadata] | None = None

    async def leave(self, trip: Trip, state: str) -> str:
        """Where to send the person. Raises `Fault`."""
        metadata = await self._metadata()
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._callback,
            "scope": " ".join(self._scopes),
            "state": state,
            "nonce": trip.nonce,
            "code_challenge": challenge_of(trip.verifier),
            "code_challenge_method": "S256",
        }
        if trip.request.acr_values:
            asked["acr_values"] = trip.request.acr_values
        if trip.request.max_age is not None:
            asked["max_age"] = str(trip.request.max_age)
        return with_parameters(metadata.authorization_endpoint, asked)

    async def who(self, trip: Trip, given: Mapping[str, str]) -> Claims:
        """Who came back with these parameters.

        1 the answer is this provider's (RFC 9207): a code of another one would go to the wrong place
        2 it is a code, and no refusal
        3 the code for tokens, over our own connection
        4 the identity token

        Raises `Rejected` and `Fault`.
        """
        metadata = await self._metadata()
        iss = given.get("iss")
        if iss != self._issuer.identifier and (
            iss is not None or metadata.authorization_response_iss_parameter_supported
        ):  # 1
            text = "The answer comes from another identity provider than the one that was asked."
            raise wrong("access_denied", "login_issuer_mismatch", text)
        code = given.get("code", "")
        if "error" in given or not code:  # 2
            raise refused(given.get("error", ""))
        answer = await self._exchange(metadata, code, trip.verifier)  # 3
        return await self._verified(_document(answer.body, _Tokens, "token answer").id_token, trip)  # 4

    async def _exchange(self, metadata: Metadata, code: str, verifier: str) -> Answer:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": verifier,
        }
        headers: dict[str, str] = {}
        if not self._secret:
            form["client_id"] = self._client_id
        elif "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = (
                f"{quote(self._client_id, safe='')}:{quote(self._secret, safe='')}"  # RFC 6749 section 2.3.1
            )
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        try:
            answer = await self._post(metadata.token_endpoint, form, headers)
        except Fault as failed:
            raise unavailable(failed.detail) from failed
        if 400 <= answer.status < 500:
            raise refused(_document(answer.body, _Refusal, "refusal").error)
        if answer.status != 200:
            raise unavailable(f"the token endpoint answered {answer.status}")
        return answer

    async def _verified(self, token: str, trip: Trip) -> Claims:
        """A key that is not pinned yet is looked for once: providers rotate them."""
        try:
            return self._verify(token, trip)
        except Unauthenticated as unknown:
            if unknown.reason != Reason.KEY_UNKNOWN:
                raise _no_identity() from unknown
        await self._unknown_key()
        try:
            return self._verify(token, trip)
        except Unauthenticated as invalid:
            raise _no_identity() from invalid

    def _verify(self, token: str, trip: Trip) -> Claims:
        return idtoken.verify(
            token,
            issuer=self._issuer,
            keys=self._keys(),
            client_id=self._client_id,
            nonce=trip.nonce,
            max_age=trip.request.max_age,
            now=self._clock.wall(),
        )

    async def _metadata(self) -> Metadata:
        """The discovery document, asked for again when it is old. Raises `Fault`."""
        now = self._clock.monotonic()
        if self._known is not None and now < self._known[0]:
            return self._known[1]
        try:
            metadata = await self._discover()
        except Fault as failed:
            raise unavailable(failed.detail) from failed
        except BadDocument as bad:
            raise unavailable(f"{bad.reason}: {bad}") from bad
        if not metadata.authorization_endpoint or not metadata.token_endpoint:
            raise unavailable("the discovery document names no endpoints to log in at")
        self._known = (now + FRESH, metadata)
        return metadata

    async def _discover(self) -> Metadata:
        for url in locations(self._issuer.identifier):
            answer = await self._get(url)
            if answer.status == 200:
                return read_metadata(answer.body, self._issuer.identifier)
        raise BadDocument("metadata_invalid", "there is no discovery document")


def _document(body: bytes, kind: type[_Document], what: str) -> _Document:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise unavailable(f"the {what} cannot be read") from broken


def refused(error: str) -> Rejected:
    """The provider says no. Its words go no further: they are chosen by whoever made the answer."""
    word = (
        "access_denied"
        if error in ("access_denied", "login_required", "consent_required")
        else "server_error"
    )
    return wrong(word, "login_provider_refused", "The identity provider did not log you in.")


def _no_identity() -> Rejected:
    return wrong(
        "access_denied", "login_identity_invalid", "The identity provider's answer is not valid here."
    )


def unavailable(detail: str) -> Fault:
    """The provider cannot be reached, or answers what is no answer."""
    text = "The identity provider cannot be used at the moment. Try again later."
    return Fault(Stage.AUTHENTICATE, 50302, "login_provider_unavailable", text, detail=detail, retry_after=30)
