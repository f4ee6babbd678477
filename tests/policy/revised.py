"""Policies that let some tools pass, loaded one after the other on a data directory."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from airlock.app.revisions import Chosen, History, choose
from airlock.core.config import Config
from airlock.model.revision import Kind, Revision
from airlock.policy.bundle import Bundle, load_bundle
from airlock.store import revisions
from airlock.store.changes import POLICY
from airlock.store.database import Store
from tests.gateway.parts import HandClock

TEXT = """package airlock

import rego.v1

decision := {{"allow": true, "reason": "ok"}} if {{
	input.target.name in {tools}
	{reads}
}} else := {{"allow": false, "reason": "no"}}
"""


def text(*tools: str, reads: str = "true") -> str:
    """A policy under which these tools pass where what else it reads is true."""
    return TEXT.format(tools=json.dumps(tools), reads=reads)


class Files:
    """The operator's files, and the gateway that reads them."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.clock = HandClock()
        self.folder = data / "files"
        self.folder.mkdir()
        self.history = History(data, clock=self.clock)
        self.config = msgspec.convert({"data_dir": str(data), "policy": {"path": str(self.folder)}}, Config)

    def write(self, content: str) -> Bundle:
        (self.folder / "main.rego").write_text(content)
        return load_bundle(self.folder)

    def load(self, content: str | None = None, *, kind: Kind = "reload", by: str = "olga") -> Chosen:
        """What decides once the gateway has read the files, with this text where one is given."""
        if content is not None:
            self.write(content)
        self.clock.seconds += 1.0
        chosen = choose(self.config)
        self.history.note(chosen, kind=kind, by=by)
        return chosen

    def ordered(self, store: Store, to: Bundle, before: Bundle) -> Revision:
        """A rollback that people ordered."""
        wanted = Revision(
            revision=to.revision,
            before=before.revision,
            kind="rollback",
            at=self.clock.wall(),
            by="ann and bo",
        )
        with store.change(POLICY) as change:
            return revisions.add(change.connection, wanted)

    def changes(self, store: Store) -> list[Revision]:
        with store.read() as connection:
            return revisions.listing(connection)
