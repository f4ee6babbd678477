"""The server that the conformance suite is run against, on the official SDK, with the names it expects.

`python -m tests.conformance.fixture --port N --era dual|modern|legacy`, or `--stdio` in place of the port. A
server of one era refuses the messages of the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from base64 import b64decode
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp_types import (
    AudioContent,
    CallToolResult,
    Completion,
    CompletionArgument,
    CompletionContext,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    PromptReference,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

from tests.conformance import fixture_asks, fixture_watched
from tests.conformance.fixture_asks import Call, ask, form
from tests.conformance.fixture_eras import ERAS, Kept, Sessions, deaf_to_modern, legacy_methods, only

WATCHED = "test://watched-resource"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
"""One red point."""
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAAAA=="
"""One silent sample."""
PAUSE = 0.05
"""Seconds between the notifications of one call."""

SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def build(era: str) -> MCPServer[Any]:
    """The whole server."""
    sessions, subscribers = Sessions(), fixture_watched.Subscribers()
    first = [] if era == "dual" else [only(era)]
    server = MCPServer[Any](
        "airlock-conformance-fixture",
        version="1",
        log_level="WARNING",
        tools=[_schema_tool()],
        middleware=[*first, subscribers.keep, legacy_methods, sessions.open],
    )
    for tool in (
        test_simple_text, test_image_content, test_audio_content, test_embedded_resource,
        test_multiple_content_types, test_error_handling, test_tool_with_logging, test_logging_tool,
        test_tool_with_progress, test_reconnection, test_x_mcp_header,
    ):  # fmt: skip
        server.add_tool(tool, structured_output=False)
    fixture_asks.add(server)
    fixture_watched.add(server, subscribers)
    _changes(server, sessions)
    _prompts(server)
    _resources(server)
    return server


def _schema_tool() -> Tool:
    def json_schema_2020_12_tool(
        name: str = "",
        contactMethod: str = "",  # noqa: N803 - the name that the suite uses
        phone: str = "",
        email: str = "",
    ) -> str:
        """Tool with JSON Schema 2020-12 features"""
        return f"{name}: {contactMethod or 'email'} {phone or email}"

    tool = Tool.from_function(json_schema_2020_12_tool, structured_output=False)
    return tool.model_copy(update={"parameters": SCHEMA_2020_12})


def _image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def _resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return EmbeddedResource(type="resource", resource=contents)


def test_simple_text() -> str:
    """One text."""
    return "This is a simple text response for testing."


def test_image_content() -> list[ContentBlock]:
    """One image."""
    return [_image()]


def test_audio_content() -> list[ContentBlock]:
    """One sound."""
    return [AudioContent(type="audio", data=WAV, mime_type="audio/wav")]


def test_embedded_resource() -> list[ContentBlock]:
    """One resource inside the result."""
    return [_resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


def test_multiple_content_types() -> list[ContentBlock]:
    """A text, an image and a resource."""
    return [
        TextContent(type="text", text="Multiple content types test:"),
        _image(),
        _resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


def test_error_handling() -> CallToolResult:
    """Fails, always."""
    text = "This tool intentionally returns an error for testing"
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


async def test_tool_with_logging(call: Call) -> str:
    """Writes three log messages."""
    for text in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await call.log("info", text)  # pyright: ignore[reportDeprecated] - both eras still have it
        await asyncio.sleep(PAUSE)
    return "Three messages were logged."


async def test_logging_tool(call: Call) -> str:
    """Writes one log message, to a caller that wants any."""
    await call.log("info", "This message needs a log level")  # pyright: ignore[reportDeprecated]
    return "One message was logged."


async def test_tool_with_progress(call: Call) -> str:
    """Reports progress three times."""
    for done in (0, 50, 100):
        await call.report_progress(done, 100)
        await asyncio.sleep(PAUSE)
    return "The work is done."


async def test_reconnection(call: Call) -> str:
    """Closes the stream of its call before it answers; the answer is there for who comes back."""
    await call.close_sse_stream()
    await asyncio.sleep(PAUSE)
    return "The stream was closed and the answer was kept."


def test_x_mcp_header(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})],
    priority: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Priority"})] = 0,
) -> str:
    """Two of its arguments travel as headers too."""
    return json.dumps({"region": region, "priority": priority})


def _changes(server: MCPServer[Any], sessions: Sessions) -> None:
    @server.tool(structured_output=False)
    async def test_trigger_tool_change(call: Call) -> str:
        """Adds a tool, or takes it away again, and says so to whoever listens."""
        if any(tool.name == "extra_tool" for tool in await server.list_tools()):
            server.remove_tool("extra_tool")
        else:
            server.add_tool(test_simple_text, name="extra_tool", structured_output=False)
        await call.notify_tools_changed()
        await sessions.tell(lambda session: session.send_tool_list_changed())
        return "The list of tools has changed."

    @server.tool(structured_output=False)
    async def test_trigger_prompt_change(call: Call) -> str:
        """Adds a prompt, or takes it away again, and says so to whoever listens."""
        if any(prompt.name == "extra_prompt" for prompt in await server.list_prompts()):
            server.remove_prompt("extra_prompt")
        else:
            server.prompt("extra_prompt", description="Comes and goes")(test_simple_text)
        await call.notify_prompts_changed()
        await sessions.tell(lambda session: session.send_prompt_list_changed())
        return "The list of prompts has changed."


def _prompts(server: MCPServer[Any]) -> None:
    @server.prompt("test_simple_prompt", description="A prompt without arguments")
    def _simple() -> str:
        return "This is a simple prompt for testing."

    @server.prompt("test_prompt_with_arguments", description="A prompt with two arguments")
    def _arguments(arg1: str, arg2: str) -> str:
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt("test_prompt_with_embedded_resource", description="A prompt with a resource inside")
    def _embedded(resourceUri: str) -> list[UserMessage]:  # noqa: N803 - the name that the suite uses
        resource = _resource(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]

    @server.prompt("test_prompt_with_image", description="A prompt with an image")
    def _picture() -> list[UserMessage]:
        return [UserMessage(_image()), UserMessage("Please analyze the image above.")]

    @server.prompt("test_input_required_result_prompt", description="A prompt that asks before it answers")
    async def _asking(call: Call) -> str | InputRequiredResult:
        question = form("What context should the prompt use?", context={"type": "string"})
        answers = await ask(call, {"user_context": question})
        if isinstance(answers, InputRequiredResult):
            return answers
        return f"Use this context: {fixture_asks.told(answers, 'user_context')}"


def _resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", description="A text", mime_type="text/plain")
    def _text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", description="An image", mime_type="image/png")
    def _binary() -> bytes:
        return b64decode(PNG)

    @server.resource(WATCHED, description="A text to subscribe to", mime_type="text/plain")
    def _watched() -> str:
        return "Watched resource content"

    @server.resource("test://template/{id}/data", description="Data by its id", mime_type="application/json")
    def _template(id: str) -> str:
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})

    @server.completion()
    async def _complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion:
        known = ["paris", "park", "party"] if isinstance(ref, PromptReference) else ["1", "12", "123"]
        values = [value for value in known if value.startswith(argument.value)]
        return Completion(values=values, total=len(values), has_more=False)


def main() -> None:
    parser = argparse.ArgumentParser(prog="fixture", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--port", type=int, help="serve streamable HTTP on this port of the loopback")
    where.add_argument("--stdio", action="store_true", help="serve standard input and output")
    parser.add_argument("--era", choices=ERAS, default="dual")
    given = parser.parse_args()
    server = build(given.era)
    if given.stdio:
        if given.era == "legacy":
            deaf_to_modern()
        server.run("stdio")
    else:
        server.run(
            "streamable-http", host="127.0.0.1", port=given.port, event_store=Kept(), retry_interval=100
        )


if __name__ == "__main__":
    main()
