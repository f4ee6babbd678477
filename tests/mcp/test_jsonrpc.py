"""JSON-RPC messages in and out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from airlock.core.errors import Rejected
from airlock.mcp import jsonrpc
from airlock.mcp.jsonrpc import ClientResponse, Notification, Request, read


def call(**members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "ping", **members}


def without(message: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key not in keys}


def rejection(value: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        read(value)
    assert (caught.value.http, caught.value.code) == (400, -32600)
    return caught.value


def test_a_request_has_id_method_and_params() -> None:
    assert read(call(params={"a": 1})) == Request(1, "ping", {"a": 1})


def test_absent_params_are_an_empty_object() -> None:
    assert read(call()) == Request(1, "ping", {})


@pytest.mark.parametrize("identifier", ["", "recovery-test", "x" * 256, "é" * 128, 0, -(2**63), 2**63 - 1])
def test_h10_ids_keep_value_and_type(identifier: str | int) -> None:
    assert read(call(id=identifier)) == Request(identifier, "ping", {})


@pytest.mark.parametrize(
    "identifier", [None, 1.0, True, False, [], {}, "x" * 257, "é" * 129, 2**63, -(2**63) - 1]
)
def test_h10_other_ids_are_refused(identifier: Any) -> None:
    rejected = rejection(call(id=identifier))
    assert (rejected.reason, rejected.request_id) == ("bad_id", None)


def test_a_message_without_id_is_a_notification() -> None:
    message = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert read(message) == Notification("notifications/initialized", {})


@pytest.mark.parametrize("identifier", [1, None])
def test_h10_a_notification_with_an_id_is_refused(identifier: Any) -> None:
    assert rejection(call(id=identifier, method="notifications/x")).reason == "notification_with_id"


def test_a_result_is_a_response() -> None:
    assert read({"jsonrpc": "2.0", "id": "a", "result": {}}) == ClientResponse("a", result={})


def test_an_error_is_a_response() -> None:
    error = {"code": -1, "message": "no"}
    assert read({"jsonrpc": "2.0", "id": "a", "error": error}) == ClientResponse("a", error=error)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "not_an_object"),
        ([call()], "not_an_object"),
        ("ping", "not_an_object"),
        (7, "not_an_object"),
        (None, "not_an_object"),
        ({}, "bad_jsonrpc_version"),
        (call(jsonrpc="1.0"), "bad_jsonrpc_version"),
        (call(jsonrpc=2.0), "bad_jsonrpc_version"),
        (without(call(), "jsonrpc"), "bad_jsonrpc_version"),
        (call(extra=1), "unknown_envelope_key"),
        ({**without(call(), "method"), "METHOD": "ping"}, "case_variant_key"),
        (call(Params={}), "case_variant_key"),
        (call(params={"Name": "x"}), "case_variant_key"),
        (call(params={"_Meta": {}}), "case_variant_key"),
        (call(params={"_meta": {"ProgressToken": 1}}), "case_variant_key"),
        (call(params=[]), "bad_params"),
        (call(params=None), "bad_params"),
        (call(method=7), "bad_method"),
        (without(call(), "method"), "ambiguous_message"),
        (call(result={}), "ambiguous_message"),
        (call(error={}), "ambiguous_message"),
        ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": {}}, "ambiguous_message"),
        ({"jsonrpc": "2.0", "id": 1, "result": {}, "params": {}}, "ambiguous_message"),
        ({"jsonrpc": "2.0", "id": 1, "result": []}, "bad_result"),
        ({"jsonrpc": "2.0", "result": {}}, "bad_id"),
        ({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": ""}}, "bad_id"),
        ({"jsonrpc": "2.0", "id": 1, "error": "no"}, "bad_error"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": "1", "message": ""}}, "bad_error"),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}, "bad_error"),
    ],
)
def test_xd9_other_shapes_are_refused(value: Any, reason: str) -> None:
    assert rejection(value).reason == reason


def test_a_rejection_carries_a_readable_id() -> None:
    assert rejection(call(id="a", jsonrpc="1.0")).request_id == "a"


def test_a_meta_that_is_no_object_is_left_to_the_shape_check() -> None:
    assert read(call(params={"_meta": 7})) == Request(1, "ping", {"_meta": 7})


def test_writers_make_one_message_each() -> None:
    written = [
        jsonrpc.result("a", {"x": 1}),
        jsonrpc.result(1, msgspec.Raw(b'{"x":1}')),
        jsonrpc.error(2, -32600, "no"),
        jsonrpc.error(None, 40301, "no", {"a": 1}),
        jsonrpc.request(3, "ping", {}),
        jsonrpc.notification("notifications/x", {"a": 1}),
    ]
    assert [json.loads(message) for message in written] == [
        {"jsonrpc": "2.0", "id": "a", "result": {"x": 1}},
        {"jsonrpc": "2.0", "id": 1, "result": {"x": 1}},
        {"jsonrpc": "2.0", "id": 2, "error": {"code": -32600, "message": "no"}},
        {"jsonrpc": "2.0", "id": None, "error": {"code": 40301, "message": "no", "data": {"a": 1}}},
        {"jsonrpc": "2.0", "id": 3, "method": "ping", "params": {}},
        {"jsonrpc": "2.0", "method": "notifications/x", "params": {"a": 1}},
    ]
