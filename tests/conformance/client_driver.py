"""The client that the suite tests: a gateway with the scenario's server behind it, and an agent.

`python -m tests.conformance.client_driver GATEWAY URL`: `GATEWAY` is the file that tells of a running one.
The suite appends the server's URL and says the rest in the environment. The server becomes the gateway's
only one. The agent is the SDK's client of the scenario's era; it declares roots, sampling and elicitation,
lists the tools and calls each, or those that the scenario names. The exit status is 0 if it got answers.

Where the scenario's server demands a login, the driver is also the person: it opens the link that the gateway
gives, from its list of connections before anything is known of the server, from an elicitation or
an error of the call later. Everything else of the login is the gateway's.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from html import unescape
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import msgspec
import yaml
from mcp import Client, MCPError
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client
from mcp_types import (
    URL_ELICITATION_REQUIRED as URL_ELICITATION,
)
from mcp_types import (
    CallToolResult,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
    Tool,
)
from pydantic import FileUrl

from airlock.gateway.tickets import CONNECT
from tests.system.browser import Browser
from tests.system.deployment import until

WITHIN = 45.0
"""Seconds for everything; the suite waits for 60."""
LOGINS = 5
"""Logins at one server that a person is patient enough for."""
KNOWN = 3.0
"""Seconds for the gateway to have read the server's tools, once it knows of the server."""
SAMPLES: Mapping[str, Any] = {
    "string": "text",
    "integer": 2,
    "number": 2,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


DOCUMENT = "https://conformance-test.local/client-metadata.json"
"""Where the suite believes the client's metadata to be."""
TOKEN: ContextVar[str] = ContextVar("TOKEN")
"""By which the person shows to be the agent's user."""


class Running(msgspec.Struct, frozen=True):
    """A running gateway, as the file says that tells of it."""

    url: str
    pid: int
    config: str
    token: str

    def serve(self, url: str, credential: dict[str, Any] | None = None) -> str:
        """Make the server at a URL the gateway's only one; its name. Returns when its tools have been read,
        or it wants a login.

        A server that cannot be read is said, and nothing more: what comes of it is the scenario's business.
        """
        name = f"up-{urlsplit(url).port}"
        path = Path(self.config)
        entry: dict[str, Any] = {"name": name, "transport": "http", "url": url, "sensitivity": "low"}
        entry |= {"credential": credential} if credential else {}
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"servers": [entry]}))
        os.kill(self.pid, signal.SIGHUP)
        until(lambda: self._state(name) is not None, within=WITHIN, what=f"the server {name}")
        self.known(name, "ready", "login_needed")
        return name

    def known(self, name: str, *states: str) -> str | None:
        """The state of a server, which is one of these or lasts."""
        try:
            until(lambda: self._state(name) in states, within=KNOWN)
        except AssertionError:
            say(f"the server is {self._state(name)} after {KNOWN} s")
        return self._state(name)

    def log_in(self, name: str) -> None:
        """Log in at a server as often as the gateway wants it."""
        for _ in range(LOGINS):
            if self._state(name) != "login_needed":
                return
            headers = {"Authorization": f"Bearer {self.token}"}
            answer = httpx2.get(f"{self.url}/api/v1/connections", headers=headers).raise_for_status()
            links = {each["server"]: each["connect_url"] for each in answer.json()["connections"]}
            if not connect(links[name], self.token):
                return
            self.known(name, "ready", "down")

    def _state(self, name: str) -> str | None:
        """What the gateway says of a server; None where it does not know it."""
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx2.post(f"{self.url}/mcp/{name}", json=message, headers=headers)
        if answer.status_code != HTTPStatus.OK:
            return None
        result = answer.json().get("result", {})
        return result.get("_meta", {}).get("dev.airlock/upstreams", {}).get(name, "ready")


def connect(link: str, token: str) -> bool:
    """Open a link of the gateway in a browser, agree, and go where its page says; whether that ended well."""
    browser = Browser()
    page = browser.submit(browser.get(link), token=token)
    onward = re.search(r'<a href="([^"]*)" rel="noreferrer">', page.text)
    if onward is not None:
        page = browser.get(unescape(onward[1]))
    title = re.search(r"<h1>(.*?)</h1>(.*)</body>", page.text)
    say(f"login: {page.status} {title[1]} {title[2]}" if title else f"login: {page.status}")
    return page.status == HTTPStatus.OK and onward is not None


def credential_for(context: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How the gateway logs in at the scenario's server. The suite's servers are on loopback without TLS."""
    login: dict[str, Any] = {"mode": "user_oauth", "allow_private": True}
    if "client_id" not in context:
        return {**login, "register": ["*"], "client_metadata_url": DOCUMENT}
    secret = folder / "client-secret"
    secret.write_text(context["client_secret"])
    secret.chmod(0o600)
    known = {"client_id": context["client_id"], "issuers": [context["issuer"]], "file": str(secret)}
    return {**login, **known}


async def sampled(context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
    """The agent's model."""
    del context
    text = f"an answer to {len(params.messages)} messages"
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text=text), model="none")


async def elicited(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    """The agent's user: accepts, opens addresses of the gateway, and leaves every field at its default."""
    del context
    if not isinstance(params, ElicitRequestFormParams):
        if CONNECT in params.url:
            await asyncio.to_thread(connect, params.url, TOKEN.get())
        return ElicitResult(action="accept")
    fields: dict[str, dict[str, Any]] = params.requested_schema.get("properties", {})
    return ElicitResult(action="accept", content={name: sample(each) for name, each in fields.items()})


async def rooted(context: ClientRequestContext) -> ListRootsResult:
    """The agent's folders."""
    del context
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///work"), name="work")])


def sample(schema: dict[str, Any]) -> Any:
    """A value for a property: its default, or one of its type."""
    return schema.get("default", SAMPLES[schema.get("type", "string")])


def arguments(tool: Tool) -> dict[str, Any]:
    """A value for every argument that a tool needs."""
    properties: dict[str, dict[str, Any]] = tool.input_schema.get("properties", {})
    return {name: sample(properties.get(name, {})) for name in tool.input_schema.get("required", [])}


def calls(tools: Sequence[Tool], context: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The calls of a scenario, as names and arguments."""
    if named := context.get("toolCalls"):
        return [(call["name"], call["arguments"]) for call in named]
    by_name = {tool.name: tool for tool in tools}
    if "json_schema_echo" in by_name:
        return [("json_schema_echo", {"schema": by_name["json_schema_2020_12_tool"].input_schema})]
    return [(tool.name, arguments(tool)) for tool in tools]


async def play(gateway: Running, server: str, *, modern: bool, context: dict[str, Any]) -> None:
    """The agent's session with the gateway."""
    headers = {"Authorization": f"Bearer {gateway.token}"}
    TOKEN.set(gateway.token)
    async with httpx2.AsyncClient(headers=headers, timeout=WITHIN) as http:
        transport = streamable_http_client(f"{gateway.url}/mcp/{server}", http_client=http)
        client = Client(
            transport,
            mode="auto" if modern else "legacy",
            sampling_callback=sampled,
            elicitation_callback=elicited,
            list_roots_callback=rooted,
        )
        async with client:
            listed = await client.list_tools()
            for name, given in calls(listed.tools, context):
                try:
                    result = await called(client, name, given, gateway.token)
                except MCPError as error:
                    say(f"{name}: {error}")
                else:
                    say(f"{name}: {result.model_dump_json(by_alias=True, exclude_none=True)}")


async def called(client: Client, name: str, given: dict[str, Any], token: str) -> CallToolResult:
    """The result of a call; of the next one, where a legacy client is told to open a link of the gateway."""
    try:
        return await client.call_tool(name, given)
    except MCPError as error:
        if error.error.code != URL_ELICITATION:
            raise
        for each in error.error.data["elicitations"]:
            await asyncio.to_thread(connect, each["url"], token)
    return await client.call_tool(name, given)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(arguments: Sequence[str]) -> int:
    gateway = msgspec.json.decode(Path(arguments[0]).read_bytes(), type=Running)
    modern = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION") == "2026-07-28"
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    demands = os.environ.get("MCP_CONFORMANCE_SCENARIO", "").startswith("auth/")
    server = gateway.serve(
        arguments[1], credential_for(context, Path(arguments[0]).parent) if demands else None
    )
    gateway.log_in(server)
    asyncio.run(asyncio.wait_for(play(gateway, server, modern=modern, context=context), WITHIN))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
