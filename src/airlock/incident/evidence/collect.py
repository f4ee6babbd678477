"""Making a bundle, completing it, sealing it. Works beside a running gateway and on its files alone.

1 hold and marker: rows in the audit log that say that it begins
2 the database is brought up to the journals
3 the log: online backup and journals
4 configuration, policy, leases, tools, processes
5 unless it must be quick: log lines, rows of the window, verification of the copy, questions
6 the record of the incident and its rendered files
7 custody, manifests, signature; the bag gets its name
8 the row of the bundle, and what the log and the timeline are told

A crash before 7 leaves a hidden draft that the next attempt removes; after it, the bag is whole and is found.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

import airlock
from airlock.audit.catchup import catch_up
from airlock.core.clock import Clock, rfc3339, timestamp
from airlock.core.errors import AuditFault, ConfigError, Fault
from airlock.incident.evidence import bag as bags
from airlock.incident.evidence import custody, forensic, report, sources, state, texts, verify_bundle
from airlock.incident.evidence.bag import Bag
from airlock.incident.evidence.report import FOLDER
from airlock.incident.evidence.scrub import Scrubber
from airlock.incident.evidence.signing import Signer
from airlock.incident.evidence.state import Site
from airlock.model.evidence import Bundle, CustodyEvent, Wanted
from airlock.model.lease import Unfit
from airlock.store import bundles
from airlock.store.database import Store

Pause = Callable[[float], object]
"""Waits so many seconds."""


def folder(data_dir: Path, id: str) -> Path:
    """Where a bundle is."""
    return data_dir / FOLDER / id


def fulfil(site: Site, store: Store, id: str, *, clock: Clock, pause: Pause) -> Bundle:
    """Do what is wanted of a bundle; the bundle then. Two never work on one at a time: the second finds it
    done. Raises `Unfit`: `bundle_unknown`, and `evidence_not_collected` after the row of the bundle says why;
    what there was of the bundle before is unchanged then. Raises `Fault` where there is no store.
    """
    bundle = bundles.get(store, id)
    if bundle is None:
        raise bundles.unknown(id)
    try:
        (site.data_dir / FOLDER).mkdir(mode=0o700, exist_ok=True)
        with _alone(site.data_dir / FOLDER / f".{id}.lock"):
            bundle = bundles.get(store, id) or bundle
            return _Work(site, store, bundle, clock, pause).run() if bundle.wanted else bundle
    except (OSError, sqlite3.Error, AuditFault, ConfigError, ValueError) as error:
        why = error.detail if isinstance(error, Fault) else str(error)
        state_now = "failed" if bundle.state in {"requested", "quick"} else bundle.state
        failed = msgspec.structs.replace(bundle, wanted="", state=state_now, problem=why)
        bundles.done(store, failed, [report.event_of(failed, "evidence_failed")], now=clock.wall())
        raise Unfit("evidence_not_collected", f"{id} could not be made: {why}") from error


class _Work:
    """One turn of work on one bundle."""

    def __init__(self, site: Site, store: Store, bundle: Bundle, clock: Clock, pause: Pause) -> None:
        self._site = site
        self._store = store
        self._bundle = bundle
        self._clock = clock
        self._pause = pause
        self._signer = Signer.of(site.data_dir)
        self._final = folder(site.data_dir, bundle.id)
        self._limits: list[str] = []

    def run(self) -> Bundle:
        bags.recover(self._final)
        custody.recover(self._final)
        now = self._clock.wall()
        if self._bundle.state == "requested" and self._final.exists():
            self._require_own()
            return self._finish(now)  # an earlier attempt ended between 7 and 8
        if self._final.exists():
            self._require_whole()
        for draft in (self._site.data_dir / FOLDER).glob(f".draft-{self._bundle.id}-*"):
            shutil.rmtree(draft)
        self._require_room()
        draft = Path(tempfile.mkdtemp(prefix=f".draft-{self._bundle.id}-", dir=self._final.parent))
        try:
            self._make(Bag(draft), now)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return self._finish(now)

    def _make(self, bag: Bag, now: float) -> None:
        wanted, completing = self._bundle.wanted, self._final.exists()
        scrub = Scrubber()
        if completing:
            bag.carry(self._final)
        else:
            self._limits += report.begin(self._store, self._bundle, self._clock, self._pause)  # 1
            self._take(bag, scrub, now)  # 2, 3, 4
        if wanted != "quick" and self._bundle.state in {"requested", "quick"}:
            self._complete(bag, scrub, now)  # 5
        self._documents(bag, scrub)  # 6
        self._close(bag, now)  # 7

    def _take(self, bag: Bag, scrub: Scrubber, now: float) -> None:
        site, asked = self._site, self._bundle.asked
        self._limits += [
            f"The copy of the database is behind the journal: {each}."
            for each in catch_up(site.data_dir, clock=self._clock, pause=self._pause)
        ]  # 2
        stamp = rfc3339(now).translate({ord(sign): None for sign in "-:Z"}).replace("T", "-")
        forensic.copy_log(
            site.data_dir, bag, stamp=stamp, since=timestamp(now - asked.window), tenant=asked.tenant
        )  # 3
        if not asked.tenant:
            digest = self._signer.keyed_digest
            state.add(site, self._store, bag, scrub, incident=self._bundle.incident, digest=digest, now=now)

    def _complete(self, bag: Bag, scrub: Scrubber, now: float) -> None:
        """What takes longer. Of one tenant there is nothing more: lines and answers are of all tenants."""
        copied = forensic.copied_database(bag.root)
        asked = self._bundle.asked
        if copied is None:
            return
        since = self._bundle.created_at - asked.logs
        self._limits += sources.add_logs(
            self._site.data_dir, bag, scrub, incident=self._bundle.incident, since=since
        )
        with tempfile.TemporaryDirectory(prefix=".scratch-", dir=self._final.parent) as scratch:
            fresh = Path(scratch) / "audit.db"
            forensic.copy_immutable(copied, fresh)
            forensic.add_rows(copied, bag, asked.tenant)
            found = forensic.inspect(fresh, bag)
            sources.add_queries(fresh, bag, since=now - asked.window, clock=self._clock)
        if found.finding_count:
            self._limits.append(
                f"The log contradicted itself when it was copied ({found.finding_count} findings, see "
                "data/forensic/integrity.txt): the steps range or copy may fail because of that."
            )

    def _documents(self, bag: Bag, scrub: Scrubber) -> None:
        incident, tenant = self._bundle.incident, self._bundle.asked.tenant
        if tenant:
            self._limits.append("The record of the incident is left out: it may speak of other tenants.")
            return
        if not sources.add_record(self._store, bag, scrub, incident=incident):
            self._limits.append(f"There is no record of {incident}: nobody opened it in this gateway.")
        elif not sources.add_documents(self._site.data_dir, bag, scrub, incident=incident):
            self._limits.append("The incident has no rendered files.")
        sources.add_replaced(bag, scrub.replaced)

    def _close(self, bag: Bag, now: float) -> None:
        bundle, key = self._bundle, self._signer.fingerprint
        if bundle.wanted == "quick":
            self._limits.append(
                "It is a quick snapshot: log lines, rows of the window, verification of the copy and "
                "answers are not in it."
            )
        open_points = texts.unproven(bundle, self._limits)
        bag.add_bytes("data/certification-draft.md", texts.certification(bundle, key, now).encode())
        bag.add_bytes("VERIFY.md", texts.guide(bundle, key).encode())
        bag.add_bytes("verify_bundle.py", texts.program())
        with custody.locked(self._final):
            lines = custody.read(self._final) if self._final.exists() else []
            lines.append(self._line(lines, bag, now))
            bag.replace(custody.INSIDE, b"".join(line + b"\n" for line in lines))
            digest = bag.close(self._information(now))
            predicate = self._predicate(open_points, now)
            bag.add_bytes(bags.SIGNATURE, self._signer.envelope(digest, predicate))
            bags.publish(bag.root, self._final)
            custody.beside(self._final).unlink(missing_ok=True)

    def _line(self, lines: list[bytes], bag: Bag, now: float) -> bytes:
        asked = self._bundle.asked
        events: dict[Wanted, CustodyEvent] = {"seal": "sealed", "complete": "completed"}
        event: CustodyEvent = events[self._bundle.wanted] if lines else "acquired"
        return custody.following(
            lines,
            self._signer,
            event=event,
            who=asked.who,
            role=asked.role,
            reason=asked.reason,
            digest_before=self._bundle.digest,
            digest_after=bag.payload_digest(),
            now=now,
        )

    def _information(self, now: float) -> dict[str, str]:
        return {
            "Source-Organization": self._site.config.audit.origin,
            "External-Identifier": self._bundle.id,
            "External-Description": f"Evidence of incident {self._bundle.incident}",
            "Bagging-Date": rfc3339(now)[:10],
            "Bag-Software-Agent": f"airlock {airlock.__version__}",
        }

    def _predicate(self, open_points: tuple[str, ...], now: float) -> dict[str, Any]:
        return {
            "bundle": self._bundle.id,
            "incident": self._bundle.incident,
            "tenant": self._bundle.asked.tenant,
            "closed_at": rfc3339(now),
            "state": {"seal": "sealed"}.get(self._bundle.wanted, self._bundle.wanted),
            "window_seconds": int(self._bundle.asked.window),
            "tool": f"airlock {airlock.__version__}",
            "not_proven": list(open_points),
        }

    def _require_room(self) -> None:
        """The volume is there for the audit log first. Raises OSError where a bundle would take too much."""
        volume = shutil.disk_usage(self._site.data_dir)
        size = sum(path.stat().st_size for path in self._site.data_dir.glob("audit.db*"))
        missing = report.lacking(size, free=volume.free, total=volume.total)
        if missing:
            raise OSError(f"{missing} bytes more have to be free on the volume of {self._site.data_dir}")

    def _require_whole(self) -> None:
        """What is completed or sealed has to be what was closed. Raises OSError where it is not."""
        steps = verify_bundle.verify(self._final, self._signer.fingerprint)
        broken = [
            f"{step.name}: {'; '.join(step.told)}" for step in steps if step.result == verify_bundle.FAIL
        ]
        if not report.is_whole(steps):
            raise OSError(f"{self._final} is not what was closed: {'; '.join(broken)}")

    def _require_own(self) -> None:
        """What was closed before anybody asked for this bundle is another one: the control data were put
        back, or somebody laid it there. Raises OSError."""
        self._require_whole()
        if report.closed_at(self._final) < rfc3339(self._bundle.created_at):
            raise OSError(f"{self._final} is there already, of an earlier request: move it away")

    def _finish(self, now: float) -> Bundle:
        after = report.examined(self._final, self._bundle, self._signer.fingerprint, now)
        report.tell(self._store, after, now)  # 8
        return after


@contextmanager
def _alone(path: Path) -> Generator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # also releases the lock
