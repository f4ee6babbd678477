"""`/api/v1/incidents/{id}/...`: who does what while it lasts and after it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from airlock.api.deciding import Deciding, One, built, dated
from airlock.api.entries import Entry, Guarded
from airlock.incident import aftermath, keeping, orders
from airlock.incident.occasion import Occasion
from airlock.model.http import HttpRequest, HttpResponse, json_response
from airlock.model.incident import ActionItem, Decided, Incident
from airlock.model.principal import Principal


class Roles(msgspec.Struct, frozen=True):
    """Who has, and had, a role."""

    roles: list[dict[str, Any]]


class Tasks(msgspec.Struct, frozen=True):
    """What has to be done while it lasts."""

    tasks: list[dict[str, Any]]


class Actions(msgspec.Struct, frozen=True):
    """What has to be done after it."""

    actions: list[dict[str, Any]]


class NewAction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An action item. `due` is `YYYY-MM-DD`; `details` of a threshold are `old`, `new` and `rule`."""

    text: str
    kind: Literal["fix", "rule", "alert", "policy", "process", "threshold", "documentation"] = "fix"
    owner: str = ""
    due: str = ""
    priority: Literal["high", "medium", "low"] = "medium"
    external_key: str = ""
    details: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class Review(msgspec.Struct, frozen=True):
    """What people say of it afterwards."""

    review: dict[str, Any]


def add_action(incident: Incident, asked: NewAction, when: Occasion) -> Decided:
    """The record gives an item its id."""
    item = ActionItem(id="", **msgspec.structs.asdict(asked))
    return aftermath.add_action(incident, orders.AddAction(item=item), when)


def part(deciding: Deciding, name: str) -> Guarded:
    """A handler that shows one member of a record."""

    async def show(request: HttpRequest, who: Principal) -> HttpResponse:
        record: Incident = await deciding.find(request.params["id"])
        told: dict[str, Any] = built(record)
        return json_response(200, {name: dated(told[name], name)})

    return show


def entries(deciding: Deciding) -> tuple[Entry, ...]:
    """The addresses of the work on an incident."""
    return (*_roles(deciding), *_tasks(deciding), *_actions(deciding), *_review(deciding))


def _roles(deciding: Deciding) -> tuple[Entry, ...]:
    at = "/api/v1/incidents/{id}"
    return (
        _shown(deciding, f"{at}/roles", "roles", Roles, "List roles."),
        _write(
            f"{at}/roles",
            orders.Assume,
            deciding.handler(orders.Assume, keeping.assume, themselves="person"),
            "Take a role, or give it to somebody.",
        ),
        _write(
            f"{at}/roles/{{role}}/renounce",
            orders.Renounce,
            deciding.handler(orders.Renounce, keeping.renounce, within={"role": "role"}),
            "Give a role back.",
        ),
        _write(
            f"{at}/owners",
            orders.HandOver,
            deciding.handler(orders.HandOver, keeping.hand_over),
            "Hand a lease over to a person.",
        ),
    )


def _tasks(deciding: Deciding) -> tuple[Entry, ...]:
    at = "/api/v1/incidents/{id}/tasks"
    return (
        _shown(deciding, at, "tasks", Tasks, "List tasks."),
        _write(at, orders.AddTask, deciding.handler(orders.AddTask, keeping.add_task), "Add a task."),
        _write(
            f"{at}/{{key}}/done",
            orders.FinishTask,
            deciding.handler(orders.FinishTask, keeping.finish_task, within={"key": "key"}),
            "Say that a task is done.",
        ),
    )


def _actions(deciding: Deciding) -> tuple[Entry, ...]:
    at = "/api/v1/incidents/{id}/actions"
    return (
        _shown(deciding, at, "actions", Actions, "List action items."),
        _write(at, NewAction, deciding.handler(NewAction, add_action), "Add an action item."),
        _write(
            f"{at}/{{item}}/close",
            orders.CloseAction,
            deciding.handler(orders.CloseAction, aftermath.close_action, within={"id": "item"}),
            "Close an action item.",
        ),
    )


def _review(deciding: Deciding) -> tuple[Entry, ...]:
    at = "/api/v1/reviews/{id}"
    return (
        _shown(deciding, at, "review", Review, "Show what people say of it."),
        _write(
            at,
            orders.WriteReview,
            deciding.handler(orders.WriteReview, aftermath.write_review),
            "Write what people say of it.",
        ),
    )


def _shown(deciding: Deciding, path: str, name: str, gives: type[msgspec.Struct], summary: str) -> Entry:
    return Entry(
        method="GET",
        path=path,
        permission="incidents.read",
        summary=summary,
        handler=part(deciding, name),
        gives=gives,
    )


def _write(path: str, takes: type[msgspec.Struct], handler: Guarded, summary: str) -> Entry:
    return Entry(
        method="POST",
        path=path,
        permission="incidents.write",
        summary=summary,
        handler=handler,
        takes=takes,
        optional=True,
        gives=One,
        versioned=True,
    )
