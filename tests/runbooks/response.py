"""The running product with the incident engine, and somebody who is told: for what is proven on a record.

    record = run.stack.opened(severity="P1", title="...")    # over HTTP, as responders do
    past = run.stack.opened_ago(31 * 60, severity="P1")      # as if it had been opened 31 minutes ago

Time is given to a record, never waited for: one that was opened in the past is a row of the store like any
other, and the engine finds it with its next look.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import msgspec
import yaml

from airlock.incident.occasion import Occasion
from airlock.incident.opening import open_incident
from airlock.incident.orders import Open
from airlock.model.incident import Actor
from airlock.store import incidents
from airlock.store.database import open_store
from tests.runbooks.extract import ROOT
from tests.runbooks.registry import Run
from tests.runbooks.stack import Stack
from tests.system.deployment import Answer, until

AT = "/api/v1/incidents"
PERSON = Actor(type="human", id="https://airlock.your-company.com|olga")
CONTACTS: dict[str, dict[str, str]] = {
    "on_call": {"primary": "+1-555-0101", "secondary": "+1-555-0102"},
    "management": {
        "platform_lead": "+1-555-0103",
        "engineering_manager": "+1-555-0201",
        "director": "+1-555-0301",
        "cto": "+1-555-0401",
    },
    "external": {
        "security_team": "security@company.com",
        "legal_team": "legal@company.com",
        "executive_team": "executives@company.com",
    },
    "vendors": {"cloud_provider": "+1-800-555-0100", "monitoring_vendor": "support@monitoring.com"},
}
"""Everybody whom the ladder and the flags call, in the shape of the playbook; the numbers are made up."""
BANKS = """\
- id: bank_24h
  title: Report to the supervisor of banks
  trigger: [awareness]
  source_url: https://www.company.com/bank-24h
  reviewed_on: 2026-11-01
  reviewer: counsel
  enabled: true
  stages:
    - {name: report, limits: {awareness: 24h}}
"""
"""A duty to notify of one industry, beside those that come with the program."""
AUDIENCES = ("page", "war_room", "status_updates", "executive", "customer", "legal", "ticket")


class Desk:
    """Somebody who is told: keeps what it is sent, at a path for each audience. `deaf`: it answers 503."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.deaf = False
        desk = self

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                desk.got.append((self.path.strip("/"), body))
                self.send_response(503 if desk.deaf else 200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Door:
    """The Service `sark-api`: plain HTTP, and behind it the management API of the gateway."""

    def __init__(self, stack: Stack) -> None:
        class Forward(BaseHTTPRequestHandler):
            def do_PATCH(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fields = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
                answer = stack.gateway.send("PATCH", self.path, body, fields)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.headers["content-type"])
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.port = self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Responding(Stack):
    """`with Responding(folder) as stack:`. A check of the engine uses it through `response(run)`."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        self.desk = Desk()
        self.door = Door(self)
        targets = [
            {
                "name": audience.replace("_", "-"),
                "kind": "webhook",
                "url": f"{self.desk.url}/{audience}",
                "audiences": [audience],
                "allow_private": True,
            }
            for audience in AUDIENCES
        ]
        incident = {
            "engine": True,
            "contacts_file": "/etc/airlock/contacts.yaml",
            "regulations_file": "/etc/airlock/regulations.yaml",
            "targets": targets,
            "status_page_url": "https://status.company.com",
            "support_contact": "support@your-company.com",
        }
        super().__init__(folder, incident=incident, **sections)
        self.known: dict[str, Any] = {}
        """What one check made and others look at as well."""

    def _start(self, stack: ExitStack) -> None:
        stack.enter_context(self.desk)
        stack.enter_context(self.door)
        super()._start(stack)

    def _files(self, gateway: Any, cert: Path, key: Path) -> None:
        super()._files(gateway, cert, key)
        with (self.folder / ".curlrc").open("a") as names:
            names.write(f'connect-to = "sark-api:8000:127.0.0.1:{self.door.port}"\n')
        etc = gateway.folder / "etc"
        (etc / "contacts.yaml").write_text(yaml.safe_dump({"contacts": CONTACTS}))
        shipped = (ROOT / "src" / "airlock" / "incident" / "regulations.yaml").read_text()
        (etc / "regulations.yaml").write_text(f"{shipped}\n{BANKS}")

    @property
    def contacts(self) -> Path:
        return self.gateway.folder / "etc" / "contacts.yaml"

    def ask(self, method: str, path: str, body: object = None, *, token: str = "") -> Answer:
        """One request to the management API, as an administrator unless another token is given."""
        fields = {"Authorization": f"Bearer {token or self.tokens['admin']}"}
        return self.gateway.send(method, path, None if body is None else json.dumps(body).encode(), fields)

    def done(self, method: str, path: str, body: object = None) -> Any:
        """The document of an answer that is a success."""
        answer = self.ask(method, path, body)
        assert answer.status < 300, (path, answer.status, answer.body)
        return answer.json

    def opened(self, **order: Any) -> dict[str, Any]:
        """A new incident."""
        return self.done("POST", AT, {"title": "A check", "type": "service_outage", **order})["incident"]

    def opened_ago(self, seconds: float, **order: Any) -> str:
        """The id of an incident that was opened this long ago."""
        usual = {"title": "A check", "type": "service_outage", "severity": "P1"}
        occasion = Occasion(actor=PERSON, now=time.time() - seconds)
        store = open_store(self.gateway.data / "sark.db")
        try:
            for nth in range(1, 100):
                decided = open_incident(msgspec.convert({**usual, **order}, Open), occasion, nth=nth)
                if incidents.get(store, decided.incident.id) is None:
                    return incidents.create(store, decided.incident, decided.events).incident.id
        finally:
            store.close()
        raise AssertionError("a hundred incidents of one second")

    def incident(self, id: str) -> dict[str, Any]:
        """The record as it is now."""
        return self.done("GET", f"{AT}/{id}")["incident"]

    def timeline(self, id: str, *kinds: str) -> list[dict[str, Any]]:
        """Events of these kinds; without a kind, all."""
        events = self.done("GET", f"{AT}/{id}/timeline")["events"]
        return [event for event in events if not kinds or event["kind"] in kinds]

    def told(self, id: str, kind: str, word: str = "", *, within: float = 30.0) -> dict[str, Any]:
        """The first event of a kind with this word in its summary or details, once it is there."""

        def found() -> dict[str, Any] | None:
            return next((each for each in self.timeline(id, kind) if word in json.dumps(each)), None)

        return until(
            found, within=within, what=f"{kind} {word} on the timeline of {id}\n{self.gateway.tail()}"
        )

    def clock(self, id: str, name: str) -> dict[str, Any]:
        """One of the clocks of an incident."""
        found = self.done("GET", f"{AT}/{id}/clocks")["clocks"]
        return next(clock for clock in found if clock["name"] == name)

    def called(self, id: str, level: str, trigger: str = "") -> dict[str, Any]:
        """Details of the call of a level, or of a party outside, once it was made for this reason."""

        def found() -> dict[str, Any] | None:
            made = (event["details"] for event in self.timeline(id, "escalated"))
            wanted = (each for each in made if level in (each["level"], *each["parties"]))
            return next((each for each in wanted if any(trigger in one for one in each["triggers"])), None)

        return until(found, what=f"{level} called: {trigger}\n{self.gateway.tail()}")

    def page(self, id: str, channel: str) -> dict[str, Any]:
        """The first page about an incident that came to a level, once it is there."""

        def found() -> dict[str, Any] | None:
            pages = (message for audience, message in self.desk.got if audience == "page")
            mine = (each for each in pages if each["incident"] == id and each["template"] == "page")
            return next((each for each in mine if each["channel"] == channel), None)

        return until(found, what=f"a page to {channel} about {id}\n{self.gateway.tail()}")

    def alerts(self, rule: str = "") -> list[dict[str, Any]]:
        """Alerts in whatever state."""
        return self.done("GET", f"/api/v1/alerts?state=all&rule={rule}")["alerts"]


def response(run: Run) -> Responding:
    """The product of a check that asked for the engine."""
    assert isinstance(run.stack, Responding)
    return run.stack
