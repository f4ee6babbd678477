"""Files and figures of an incident over HTTP: as the engine wrote them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from airlock.api.incident_documents import DocumentsApi
from airlock.core.errors import Rejected
from airlock.incident.exposure import expose
from airlock.incident.questions import Answered
from airlock.model.http import HttpRequest, HttpResponse
from airlock.store import incidents
from airlock.store.database import Store
from tests.api.doors import ADMIN
from tests.incident import records
from tests.incident.records import ID


@pytest.fixture
def api(store: Store, tmp_path: Path) -> DocumentsApi:
    incidents.create(store, records.empty().incident, [])
    source = Answered(query="exposure", title="Rows", since="", until="", digest="d")
    impact = records.full().answers["affected_users"]
    return DocumentsApi(
        store=store, folder=tmp_path / "incidents", reached=lambda id: (expose([], []), source, (impact,))
    )


def asked(**params: str) -> HttpRequest:
    return HttpRequest(
        method="GET", path="/", params=params, query="", authorization=None, source_ip="127.0.0.1", body=b""
    )


def get(api: DocumentsApi, id: str = ID, name: str = "report") -> HttpResponse:
    return asyncio.run(api.file(asked(id=id, name=name), ADMIN))


def test_a_file_comes_as_it_was_written(api: DocumentsApi, tmp_path: Path) -> None:
    path = tmp_path / "incidents" / ID / f"incident-{ID}.md"
    path.parent.mkdir(parents=True)
    path.write_text("# Incident Report\n")
    for name in ("report", path.name):
        answer = get(api, name=name)
        assert (answer.status, answer.body) == (200, b"# Incident Report\n")
        assert ("content-type", "text/markdown; charset=utf-8") in answer.headers


@pytest.mark.parametrize(
    ("id", "name", "reason"),
    [
        (ID, "report", "file_not_written"),
        (ID, "poem", "file_unknown"),
        (ID, "..%2f..%2fsark.db", "file_unknown"),
        ("INC-20261122-000000", "report", "incident_unknown"),
    ],
)
def test_what_is_not_there_is_404(api: DocumentsApi, id: str, name: str, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        get(api, id, name)
    assert (refused.value.http, refused.value.reason) == (404, reason)


def test_exposure_and_impact_stand_apart(api: DocumentsApi) -> None:
    answer = asyncio.run(api.exposure(asked(id=ID), ADMIN))
    told = json.loads(answer.body)
    assert set(told) == {"exposure", "source", "impact"}
    assert told["impact"][0]["rows"][0]["subject"] == "carol"
    assert told["exposure"]["counts"]["confirmed"] == 0
