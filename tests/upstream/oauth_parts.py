"""An authorization server and a protected MCP server that do what a test says, and the parts in front."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

from airlock.core import log
from airlock.core.clock import SYSTEM, Clock
from airlock.core.config import ServerEntry
from airlock.core.sealed import load_or_create_keys
from airlock.model.link import Who
from airlock.store.database import open_store
from airlock.store.vault import Vault
from airlock.upstream.authorities import Authorities
from airlock.upstream.grantor import Grantor
from airlock.upstream.holding import Holder
from airlock.upstream.linking import Links
from airlock.upstream.personal import Personal
from tests.upstream.http_parts import McpServer, RawServer, Seen, as_json, http

PUBLIC = "https://gateway.example"


@cache
def _empty() -> bytes:
    """A store of today, made once for all tests of a process."""
    with TemporaryDirectory() as folder:
        open_store(Path(folder) / "sark.db").close()
        return (Path(folder) / "sark.db").read_bytes()


def who(name: str, tenant: str = "acme") -> Who:
    return Who(tenant=tenant, owner=f"key-of-{name}", subject=f"https://idp.example|{name}")


class Provider:
    """Both servers. Attributes say what they do; `granted` has the scopes of every token that counts."""

    def __init__(self, *, era: str = "modern") -> None:
        self.mcp = McpServer(era=era)
        self.granted: dict[str, list[str]] = {}
        self.owners: dict[str, str] = {}
        self.metadata: dict[str, Any] = {}
        self.resource: dict[str, Any] = {}
        self.token: dict[str, Any] = {}
        self.issuer_path = ""
        self.resource_path = "/.well-known/oauth-protected-resource/mcp"
        self.challenge = 'Bearer resource_metadata="{prm}"'
        self.needs: list[str] = []
        self.refresh = False
        self.refusal = ""
        self.forgets = False
        self.forms: list[dict[str, str]] = []
        self.proofs: list[str] = []
        self.registrations: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self._count = 0

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self.server = await self._stack.enter_async_context(RawServer(self._protected))
        self.authority = await self._stack.enter_async_context(RawServer(self._authority))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def issuer(self) -> str:
        return self.authority.url.removesuffix("/mcp") + self.issuer_path

    async def _protected(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        origin = self.server.url.removesuffix("/mcp")
        if seen.method == "GET":
            self.paths.append(seen.target)
            found = {"resource": self.server.url, "authorization_servers": [self.issuer], **self.resource}
            writer.write(as_json(found) if seen.target == self.resource_path else http(404))
            return
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        prm = f"{origin}{self.resource_path}"
        if token not in self.granted:
            writer.write(http(401, b"", f"WWW-Authenticate: {self.challenge.format(prm=prm)}"))
        elif not set(self.needs) <= {*self.granted[token]} and seen.rpc == "tools/call":
            text = f'Bearer error="insufficient_scope", scope="{" ".join(self.needs)}"'
            writer.write(http(403, b"", f"WWW-Authenticate: {text}"))
        else:
            await self.mcp(seen, writer)

    async def _authority(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        path = urlsplit(seen.target).path
        self.paths.append(path)
        if path == f"/.well-known/oauth-authorization-server{self.issuer_path}":
            writer.write(as_json(self.published()))
        elif path == "/register":
            self.registrations.append(seen.message)
            writer.write(as_json({"client_id": "registered", "client_secret": "s3cret"}, 201))
        elif path == "/token":
            writer.write(self._token(dict(parse_qsl(seen.body.decode())), seen))
        else:
            writer.write(http(404))

    def published(self) -> dict[str, Any]:
        origin = self.authority.url.removesuffix("/mcp")
        found = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{origin}/authorize",
            "token_endpoint": f"{origin}/token",
            "registration_endpoint": f"{origin}/register",
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _token(self, form: dict[str, str], seen: Seen) -> bytes:
        self.forms.append(form)
        self.proofs.append(seen.headers.get("authorization", ""))
        if self.refusal:
            return as_json({"error": self.refusal}, 400)
        scopes: list[str] = []
        if form["grant_type"] == "authorization_code":
            asked = self.codes.pop(form["code"])
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
            assert (form["redirect_uri"], form["resource"]) == (asked["redirect_uri"], asked["resource"])
            scopes = asked.get("scope", "").split()
        self._count += 1
        token = f"token-{self._count}"
        if not self.forgets:
            self.granted[token] = scopes
        answer: dict[str, Any] = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
        if self.refresh:
            answer["refresh_token"] = f"refresh-{self._count}"
        return as_json({**answer, **self.token})

    def consents(self, url: str) -> dict[str, str]:
        """What a person brings back who agrees."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = f"code-{len(self.codes)}-{asked['state'][:8]}"
        self.codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.issuer}


class Parts:
    """What a worker has of logins, in front of a provider."""

    def __init__(self, provider: Provider, folder: Path, *, clock: Clock = SYSTEM, **more: Any) -> None:
        self.told: list[tuple[str, ...]] = []
        self.news: list[str] = []
        self.provider = provider
        self.clock = clock
        folder.mkdir(exist_ok=True)
        if not (folder / "sark.db").exists():
            (folder / "sark.db").write_bytes(_empty())
        self.store = open_store(folder / "sark.db")
        self.vault = Vault(store=self.store, sealer=load_or_create_keys(folder))
        authorities = Authorities(public_url=PUBLIC, clock=clock)

        async def told(*said: str) -> None:
            self.told.append(said)

        self.holder = Holder(
            vault=self.vault, authorities=authorities, news=self.news.append, told=told, clock=clock
        )
        self.links = Links(
            vault=self.vault,
            authorities=authorities,
            holder=self.holder,
            public_url=PUBLIC,
            told=told,
            clock=clock,
        )
        wanted: dict[str, Any] = {"register": ("*",), "allow_private": True, **more}
        url = provider.server.url
        self.grantor = Grantor(server="files", tenant=wanted.pop("tenant", ""), url=url, **wanted)
        self.upstream = Personal(
            entry=ServerEntry(name="files", transport="http", url=url, tenant=""),
            grantor=self.grantor,
            holder=self.holder,
            clock=clock,
            logger=log.get("upstream"),
        )

    async def login(self, name: str) -> str:
        """Somebody logs in; the address at which that was agreed to."""
        url = await self.links.begin(server="files", who=who(name), browser=f"cookie-{name}")
        await self.links.finish(self.provider.consents(url), browser=f"cookie-{name}")
        return url

    async def close(self) -> None:
        await self.upstream.close()
        self.store.close()


def asked(url: str) -> dict[str, str]:
    """The parameters of an authorization request."""
    return dict(parse_qsl(urlsplit(url).query))
