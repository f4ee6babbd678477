"""The fixture's interactive tools: each asks its caller something and answers with what it was told.

A modern caller gets a result with `inputRequests` and calls again with the answers; a legacy caller gets
requests of the server's on the stream of its call. The questions and the final text are the same.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

from mcp import MCPError
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    InputResponse,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Call = Context[Any, Any]
Question = ElicitRequest | CreateMessageRequest | ListRootsRequest
Answers = Mapping[str, InputResponse]
Asked = str | InputRequiredResult
"""What an interactive tool returns: its text, or the questions that are still open."""

ANSWER: Mapping[str, type[InputResponse]] = {
    "elicitation/create": ElicitResult,
    "sampling/createMessage": CreateMessageResult,
    "roots/list": ListRootsResult,
}
PREFIX = "test_input_required_result_"


def is_modern(call: Call) -> bool:
    """Whether the caller speaks the stateless revision."""
    return call.protocol_version in MODERN_PROTOCOL_VERSIONS


async def ask(
    call: Call, questions: Mapping[str, Question], *, state: str | None = None
) -> Answers | InputRequiredResult:
    """The answers to all questions; to a modern caller that has not given them yet, the questions.

    Answers count only beside the `state` that went out with the questions. Answers to other questions are
    left aside.
    """
    if not is_modern(call):
        given = await asyncio.gather(*(send(call, question) for question in questions.values()))
        return dict(zip(questions, given, strict=True))
    given = call.input_responses or {}
    answered = all(isinstance(given.get(key), ANSWER[each.method]) for key, each in questions.items())
    if answered and (state is None or call.request_state == state):
        return {key: given[key] for key in questions}
    return InputRequiredResult(input_requests=dict(questions), request_state=state)


async def send(call: Call, question: Question) -> InputResponse:
    """Ask a legacy caller, on the stream of its call."""
    related = ServerMessageMetadata(related_request_id=call.request_id)
    return await call.session.send_request(question, ANSWER[question.method], metadata=related)


def form(message: str, **fields: Mapping[str, Any]) -> ElicitRequest:
    """A form in which every field has to be filled in."""
    schema: dict[str, Any] = {"type": "object", "properties": fields, "required": list(fields)}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def optional_form(message: str, **fields: Mapping[str, Any]) -> ElicitRequest:
    """A form in which nothing has to be filled in."""
    schema = {"type": "object", "properties": fields}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def sample(text: str, *, most: int = 100) -> CreateMessageRequest:
    """A question to the caller's language model, answered with `most` tokens at most."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=text))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=most))


def told(answers: Answers, key: str) -> str:
    """An answer as a text."""
    answer = answers[key]
    if isinstance(answer, CreateMessageResult):
        return answer.content.text if isinstance(answer.content, TextContent) else answer.content.type
    if isinstance(answer, ListRootsResult):
        return ", ".join(str(root.uri) for root in answer.roots)
    filled = cast("ElicitResult", answer)
    return f"action={filled.action}, content={json.dumps(filled.content or {}, sort_keys=True)}"


NAME = form("What is your name?", name={"type": "string"})
NUMBERED = ((1, "First"), (2, "Second"), (3, "Third"))
CAPITAL = sample("What is the capital of France?")


def add(server: MCPServer[Any]) -> None:
    """Give a server all interactive tools."""
    for tool in (
        test_sampling, test_elicitation, test_elicitation_sep1034_defaults, test_elicitation_sep1330_enums,
        test_streaming_elicitation, test_missing_capability,
    ):  # fmt: skip
        server.add_tool(tool, structured_output=False)
    for tool in (
        elicitation, sampling, list_roots, request_state, multiple_inputs, multi_round, tampered_state,
        capabilities,
    ):  # fmt: skip
        server.add_tool(tool, name=PREFIX + tool.__name__, structured_output=False)


async def test_sampling(prompt: str, call: Call) -> Asked:
    """Ask the caller's model."""
    answers = await ask(call, {"completion": sample(prompt)})
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"LLM response: {told(answers, 'completion')}"


async def test_elicitation(message: str, call: Call) -> Asked:
    """Ask the caller's user for a name and an address."""
    fields = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    answers = await ask(call, {"user": form(message, **fields)})
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"User response: {told(answers, 'user')}"


async def test_elicitation_sep1034_defaults(call: Call) -> Asked:
    """Ask with a form whose fields have defaults."""
    return await _form(
        call,
        optional_form(
            "Please review the defaults",
            name={"type": "string", "default": "John Doe"},
            age={"type": "integer", "default": 30},
            score={"type": "number", "default": 95.5},
            status={"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            verified={"type": "boolean", "default": True},
        ),
    )


async def test_elicitation_sep1330_enums(call: Call) -> Asked:
    """Ask with a form that has every kind of choice."""
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in NUMBERED]
    several = [{"const": f"value{n}", "title": f"{word} Choice"} for n, word in NUMBERED]
    old = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
    return await _form(
        call,
        optional_form(
            "Please choose",
            untitledSingle={"type": "string", "enum": plain},
            titledSingle={"type": "string", "oneOf": titled},
            legacyEnum={"type": "string", **old},
            untitledMulti={"type": "array", "items": {"type": "string", "enum": plain}},
            titledMulti={"type": "array", "items": {"anyOf": several}},
        ),
    )


async def _form(call: Call, question: ElicitRequest) -> Asked:
    answers = await ask(call, {"form": question})
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"Elicitation completed: {told(answers, 'form')}"


async def test_streaming_elicitation(call: Call) -> Asked:
    """Report progress, then ask the caller's user."""
    await call.report_progress(1, 2, "about to ask")
    return await _form(call, form("Please confirm", ok={"type": "boolean"}))


async def test_missing_capability(call: Call) -> Asked:
    """Needs the caller's model: refused where the caller has declared none."""
    if is_modern(call) and not _declared(call, "sampling"):
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="this tool needs the capability sampling",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return await test_sampling("Are you there?", call)


def _declared(call: Call, name: str) -> bool:
    declared = call.client_capabilities
    return declared is not None and declared.model_dump().get(name) is not None


async def elicitation(call: Call) -> Asked:
    """Ask for a name."""
    answers = await ask(call, {"user_name": NAME})
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"Hello, {_field(answers, 'user_name', 'name')}!"


def _field(answers: Answers, key: str, field: str) -> str:
    answer = cast("ElicitResult", answers[key])
    return str((answer.content or {}).get(field, answer.action))


async def sampling(call: Call) -> Asked:
    """Ask the caller's model for a capital."""
    answers = await ask(call, {"capital_question": CAPITAL})
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"The model says: {told(answers, 'capital_question')}"


async def list_roots(call: Call) -> Asked:
    """Ask for the caller's roots."""
    answers = await ask(call, {"client_roots": ListRootsRequest()})
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"Roots: {told(answers, 'client_roots')}"


async def request_state(call: Call) -> Asked:
    """Ask for a confirmation, with a state that has to come back."""
    question = form("Please confirm", ok={"type": "boolean"})
    answers = await ask(call, {"confirm": question}, state="awaiting confirmation")
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"state-ok: {told(answers, 'confirm')}"


async def multiple_inputs(call: Call) -> Asked:
    """Ask three things at once."""
    questions: dict[str, Question] = {
        "user_name": NAME,
        "greeting": sample("Generate a greeting", most=50),
        "client_roots": ListRootsRequest(),
    }
    answers = await ask(call, questions, state="awaiting three answers")
    if isinstance(answers, InputRequiredResult):
        return answers
    return "; ".join(f"{key}: {told(answers, key)}" for key in questions)


async def multi_round(call: Call) -> Asked:
    """Ask for a name, and only then for a color."""
    carried = call.request_state or ""
    if not carried.startswith("name "):
        first = await ask(
            call, {"step1": form("Step 1: What is your name?", name={"type": "string"})}, state="step 1"
        )
        if isinstance(first, InputRequiredResult):
            return first
        carried = f"name {_field(first, 'step1', 'name')}"
    second = await ask(
        call, {"step2": form("Step 2: What is your favorite color?", color={"type": "string"})}, state=carried
    )
    if isinstance(second, InputRequiredResult):
        return second
    return f"{carried} likes {_field(second, 'step2', 'color')}"


async def tampered_state(call: Call) -> Asked:
    """Ask with a state; one that was changed on its way is refused."""
    answers = await ask(call, {"confirm": form("Please confirm", ok={"type": "boolean"})}, state="untouched")
    if isinstance(answers, InputRequiredResult):
        return answers
    return f"The state came back untouched: {told(answers, 'confirm')}"


async def capabilities(call: Call) -> Asked:
    """Ask only what the caller has declared it can answer."""
    possible: dict[str, tuple[str, Question]] = {
        "user_name": ("elicitation", NAME),
        "capital_question": ("sampling", CAPITAL),
        "client_roots": ("roots", ListRootsRequest()),
    }
    questions = {key: question for key, (name, question) in possible.items() if _declared(call, name)}
    if not questions:
        return "The caller has declared nothing that could be asked."
    answers = await ask(call, questions)
    if isinstance(answers, InputRequiredResult):
        return answers
    return "; ".join(f"{key}: {told(answers, key)}" for key in questions)
