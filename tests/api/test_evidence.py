"""Evidence over HTTP: asked for, described, and every look at it written down."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from airlock.api.evidence import EvidenceApi, entries
from airlock.app.collecting import Collecting
from airlock.app.management import route
from airlock.edge.routes import compile_table
from airlock.incident.evidence import collect
from airlock.store import bundles
from tests.api.doors import door, request, told
from tests.gateway.parts import Lines
from tests.incident.evidence.parts import INCIDENT, House, kinds

PATH = f"/api/v1/incidents/{INCIDENT}/evidence"
BUNDLE = f"/api/v1/evidence/evidence-{INCIDENT}"


class Desk:
    """The API over a house, and the engine beside it."""

    def __init__(self, root: Path) -> None:
        self.house = House(root)
        api = EvidenceApi(store=self.house.store, data_dir=self.house.data, clock=self.house.clock)
        self.table = entries(api)
        guard = door()
        self._routes = compile_table(tuple(route(guard, entry) for entry in self.table))
        self.lines = Lines()
        self.engine = Collecting(
            config=self.house.config, store=self.house.store, clock=self.house.clock, log=self.lines
        )

    def ask(self, method: str, path: str, body: object = b"") -> tuple[int, Any]:
        """Status, and the word of a problem or else the document."""
        for pattern, methods in self._routes:
            found = pattern.fullmatch(path)
            if found is not None and method in methods:
                handler = methods[method].handler
                assert handler is not None
                asked = request(method, path, body, params=found.groupdict())

                async def answered(handler: Any = handler, asked: Any = asked) -> Any:
                    return await handler(asked)

                answer = asyncio.run(answered())
                declared = next(
                    each for each in self.table if (each.method, each.path) == (method, methods[method].path)
                )
                if answer.status < 400:
                    assert answer.status in declared.statuses
                    msgspec.json.decode(answer.body, type=declared.gives)
                return told(answer)
        raise AssertionError(f"{method} {path} leads nowhere")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.house.close()


def test_what_is_asked_for_is_made_by_the_engine_and_sealed(desk: Desk) -> None:
    desk.house.open_incident()
    status, answer = desk.ask("POST", PATH, {"window": "1h", "logs": "30m", "reason": "before the restart"})
    assert (status, answer["bundle"]["state"], answer["bundle"]["wanted"]) == (202, "requested", "complete")
    desk.engine.look()
    status, answer = desk.ask("GET", PATH)
    (bundle,) = answer["bundles"]
    assert (bundle["state"], bundle["verified_exit"], bundle["wanted"]) == ("complete", 0, "")
    assert desk.lines.events() == ["evidence_collected"]
    assert desk.ask("POST", f"{BUNDLE}/seal", {"role": "scribe", "reason": "closing"})[0] == 202
    desk.engine.look()
    assert bundles.sealed(desk.house.store, INCIDENT)
    assert desk.ask("POST", f"{BUNDLE}/seal") == (409, "bundle_sealed")


def test_a_bundle_at_which_something_breaks_keeps_no_other_waiting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.house.open_incident()
    desk.ask("POST", PATH, {"quick": True})
    (bundle,) = bundles.wanted(desk.house.store)
    several = [msgspec.structs.replace(bundle, id="evidence-broken"), bundle]

    def wanted(store: object) -> list[Any]:
        return several

    monkeypatch.setattr(bundles, "wanted", wanted)
    usual = collect.fulfil

    def broken(site: Any, store: Any, id: str, **more: Any) -> Any:
        if id == "evidence-broken":
            raise RuntimeError("unforeseen")
        return usual(site, store, id, **more)

    monkeypatch.setattr(collect, "fulfil", broken)
    with pytest.raises(ExceptionGroup, match="bundles that cannot be made"):
        desk.engine.look()
    assert desk.lines.events() == ["evidence_failed", "evidence_collected"]


def test_every_look_is_a_line_of_custody(desk: Desk) -> None:
    desk.house.open_incident()
    desk.ask("POST", PATH, {"quick": True})
    nothing: dict[str, Any] = {"bundle": f"evidence-{INCIDENT}", "lines": [], "problem": ""}
    assert desk.ask("GET", f"{BUNDLE}/custody") == (200, nothing)
    desk.engine.look()
    assert desk.ask("GET", BUNDLE)[1]["bundle"]["digest"]
    order = {"event": "transferred", "to": "counsel", "reason": "asked for", "role": "legal_liaison"}
    status, answer = desk.ask("POST", f"{BUNDLE}/custody", order)
    assert status == 200
    assert [line["event"] for line in answer["lines"]] == ["acquired", "viewed", "transferred"]
    assert answer["lines"][-1]["to"] == "counsel"
    assert kinds(desk.house.store)[-2:] == ["evidence_accessed", "evidence_transferred"]


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/api/v1/evidence/evidence-INC-1", b"", (404, "bundle_unknown")),
        ("POST", "/api/v1/evidence/..%2f..%2fkeys/seal", b"", (404, "bundle_unknown")),
        ("POST", "/api/v1/incidents/..%2f..%2fkeys/evidence", b"", (422, "incident_id_invalid")),
        ("POST", PATH, {"window": "365d"}, (422, "window_invalid")),
        ("POST", PATH, {"window": "soon"}, (422, "duration_invalid")),
        ("POST", PATH, {"reason": "a\nb"}, (422, "invalid_params")),
        ("POST", PATH, {"everything": True}, (422, "invalid_params")),
        ("POST", f"{BUNDLE}/custody", {"event": "copied", "reason": " "}, (422, "invalid_params")),
        ("POST", f"{BUNDLE}/custody", {"event": "transferred", "reason": "x"}, (422, "invalid_params")),
        ("POST", f"{BUNDLE}/custody", {"event": "sealed", "reason": "x"}, (422, "invalid_params")),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    desk: Desk, method: str, path: str, body: object, expected: tuple[int, str]
) -> None:
    assert desk.ask(method, path, body) == expected
    assert bundles.listing(desk.house.store) == []


def test_a_bundle_that_cannot_be_made_says_why(desk: Desk) -> None:
    desk.ask("POST", PATH)
    (desk.house.data / "evidence").write_text("in the way")
    desk.engine.look()
    (desk.house.data / "evidence").unlink()
    (desk.house.data / "keys").mkdir()
    (desk.house.data / "keys").chmod(0o755)
    desk.ask("POST", PATH)
    desk.engine.look()
    first, second = desk.ask("GET", PATH)[1]["bundles"]
    assert (first["state"], second["state"]) == ("failed", "failed")
    assert "exists" in first["problem"]
    assert "other users can reach" in second["problem"]
    assert desk.lines.events() == ["evidence_failed", "evidence_failed"]


class Heard(Lines):
    """A log that somebody waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop, heard: asyncio.Event) -> None:
        super().__init__()
        self._loop = loop
        self._heard = heard

    def info(self, event: str, **fields: object) -> None:
        super().info(event, **fields)
        self._loop.call_soon_threadsafe(self._heard.set)


def test_the_loop_looks_until_the_engine_ends(desk: Desk) -> None:
    desk.ask("POST", PATH, {"quick": True})
    house = desk.house

    async def watched() -> list[str]:
        heard = asyncio.Event()
        lines = Heard(asyncio.get_running_loop(), heard)
        engine = Collecting(config=house.config, store=house.store, clock=house.clock, log=lines)
        engine.take_over(house.config)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(engine.run())
            await heard.wait()
            task.cancel()
        return lines.events()

    assert asyncio.run(watched()) == ["evidence_collected"]
