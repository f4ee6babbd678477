"""The files of a gateway, and bundles made of them without one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airlock.core.config import Config, CredentialEntry, ServerEntry
from airlock.core.log_store import KeptLines, Place
from airlock.incident.evidence import verify_bundle
from airlock.incident.evidence.collect import folder, fulfil
from airlock.incident.evidence.signing import Signer
from airlock.incident.evidence.state import Site
from airlock.incident.evidence.verify_bundle import Step
from airlock.model.entry import Event, Personal
from airlock.model.evidence import Asked, Bundle
from airlock.model.incident import SYSTEM_ACTOR, Incident, IncidentEvent
from airlock.store import bundles, incidents
from airlock.store.database import FILE, Store, open_store
from tests.cli.test_audit import seal
from tests.gateway.parts import HandClock

INCIDENT = "INC-20261122-180000"


class House:
    """A data directory with a sealed log, kept lines, an open incident, and a configuration."""

    def __init__(self, root: Path, *, servers: Sequence[ServerEntry] = ()) -> None:
        self.root = root
        self.data = root / "data"
        self.clock = HandClock()
        self.environ = {"UPSTREAM_TOKEN": "canary-variable-7f3a"}
        asyncio.run(seal(self.data, *(call(n) for n in range(6))))
        self.config = Config(data_dir=str(self.data), servers=tuple(servers))
        kept = KeptLines(Place.of(self.config), "worker-0")
        kept.write(b'{"timestamp":"2999-01-01T00:00:00.000000Z","level":"info","event":"lifecycle"}\n')
        kept.close()
        self.store = open_store(self.data / FILE)

    def close(self) -> None:
        self.store.close()

    def open_incident(self) -> None:
        incidents.create(self.store, incident(), [event()])

    def collect(self, *, quick: bool = False, tenant: str = "") -> Bundle:
        asked = Asked(window=86400.0 * 80, logs=3600.0, tenant=tenant, who="alice")
        wanted = bundles.request(self.store, INCIDENT, asked, quick=quick, now=self.clock.wall())
        return self.make(wanted.id)

    def seal(self, bundle: Bundle) -> Bundle:
        bundles.ask(self.store, bundle.id, "seal", who="bob", role="scribe", reason="closing")
        return self.make(bundle.id)

    def make(self, id: str) -> Bundle:
        site = Site(data_dir=self.data, config=self.config, environ=self.environ)
        return fulfil(site, self.store, id, clock=self.clock, pause=lambda _: None)

    def path(self, bundle: Bundle) -> Path:
        return folder(self.data, bundle.id)

    @property
    def key(self) -> str:
        return Signer.of(self.data).fingerprint


def call(number: int) -> Event:
    """A refused call, of one of two tenants in turn."""
    return Event(
        event_type="call",
        action="tool_call",
        decision="deny",
        reason="denied_by_policy",
        tenant=("acme", "globex")[number % 2],
        personal=Personal(
            subject=f"user-{number}",
            source_ip="192.0.2.7",
            user_agent="agent/1",
            arguments=b"{}",
            inputs=b"x",
        ),
    )


def incident() -> Incident:
    return Incident(
        id=INCIDENT,
        title="Credential stuffing",
        type="security_incident",
        severity="P1",
        status="INVESTIGATING",
        detection_source="gateway_detection",
        opened_at=1_790_000_000.0,
        detected_at=1_790_000_000.0,
        clocks_from=1_790_000_000.0,
    )


def event() -> IncidentEvent:
    at = 1_790_000_000.0
    return IncidentEvent(kind="detected", at=at, occurred_at=at, actor=SYSTEM_ACTOR, summary="seen")


def kinds(store: Store) -> list[str]:
    return [each.event.kind for each in incidents.timeline(store, INCIDENT)]


def failures(bag: Path, key: str = "") -> dict[str, list[str]]:
    """The steps that fail, and why."""
    return {step.name: step.told for step in verify_bundle.verify(bag, key) if step.result == "FAIL"}


def results(steps: list[Step]) -> dict[str, str]:
    return {step.name: step.result for step in steps}


def statement(bag: Path) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads((bag / "signature.dsse.json").read_text())["payload"]))


def forge(bag: Path, signer: Signer, name: str, content: bytes) -> None:
    """Change a file of the payload as somebody would who makes all manifests and signatures anew."""
    from airlock.incident.evidence.bag import Bag
    from airlock.incident.evidence.verify_bundle import manifest

    said = statement(bag)["predicate"]
    (bag / name).write_bytes(content)
    made = Bag(bag)
    for each in manifest(bag / "manifest-sha256.txt"):
        made.payload[each] = verify_bundle.sha256(bag / each)
        made.size += (bag / each).stat().st_size
    texts = {each: (bag / each).read_bytes() for each in ("VERIFY.md", "verify_bundle.py")}
    for each in ("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt", *texts):
        (bag / each).unlink()
    for each, text in texts.items():
        made.add_bytes(each, text)
    digest = made.close({})
    (bag / "signature.dsse.json").unlink()
    del said["public_key"]
    made.add_bytes("signature.dsse.json", signer.envelope(digest, said))


def server(folder: Path) -> ServerEntry:
    """A server that secrets of every kind lead to."""
    file = folder / "credential"
    with suppress(FileExistsError), file.open("x") as new:
        new.write("canary-file-91bc")
    return ServerEntry(
        name="docs",
        transport="stdio",
        command=("/bin/true", "-y", "canary-argument-22aa", "--token=canary-flag-5d1e"),
        env={"API": "canary-environment-c0de"},
        env_from={"OTHER": str(file)},
        url="https://canary-user:canary-pass@docs.example/mcp?key=canary-query",
        credential=CredentialEntry(env="UPSTREAM_TOKEN"),
    )
