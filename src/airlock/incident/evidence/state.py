"""What a gateway was at the moment of a bundle: configuration, policy, leases, tools, processes."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from sqlalchemy import select

import airlock
from airlock.audit import journal
from airlock.audit.tail import held
from airlock.audit.visible import visible
from airlock.core.clock import rfc3339
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.incident.evidence.bag import Bag
from airlock.incident.evidence.scrub import Digest, Scrubber, configuration
from airlock.policy.bundle import load_bundle
from airlock.store import incidents, leases, pins, replicas
from airlock.store.database import Store
from airlock.store.schema import pins as pin_table

FOLDER = "data/state"

_OURS = re.compile(r"(.*/)?airlock|airlock(\.[a-z_]+)+")
_PYTHON = re.compile(r"(.*/)?python[0-9.]*")
_VERB = re.compile(r"[a-z][a-z-]*")


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway as its files describe it."""

    data_dir: Path
    config: Config
    environ: Mapping[str, str]


def add(
    site: Site, store: Store, bag: Bag, scrub: Scrubber, *, incident: str, digest: Digest, now: float
) -> None:
    """Add everything of this module. Raises OSError, `Fault`."""
    revision = _policy(site.config, bag, scrub)
    _yaml(bag, scrub, "config.yaml", configuration(site.config, site.environ, digest))
    _yaml(bag, scrub, f"system-state-{incident}.yaml", _system(site, store, revision, now))
    details = f"{FOLDER}/pod-details-{incident}.txt"
    bag.add_bytes(details, scrub.text(details, _processes(now)).encode())
    held_now = leases.listing(store, now=now, include_ended=True)
    _json(bag, scrub, "leases.json", msgspec.to_builtins(held_now))
    _json(bag, scrub, "tools.json", _tools(store))


def _yaml(bag: Bag, scrub: Scrubber, name: str, document: object) -> None:
    path = f"{FOLDER}/{name}"
    text = yaml.safe_dump(scrub.value(path, document), sort_keys=True, allow_unicode=False)
    bag.add_bytes(path, text.encode())


def _json(bag: Bag, scrub: Scrubber, name: str, document: object) -> None:
    path = f"{FOLDER}/{name}"
    text = msgspec.json.encode(scrub.value(path, document), order="sorted")
    bag.add_bytes(path, msgspec.json.format(text, indent=1) + b"\n")


def _policy(config: Config, bag: Bag, scrub: Scrubber) -> str:
    """Add the policy as it stands in the files; its revision, or why there is none."""
    try:
        policy = load_bundle(Path(config.policy.path) if config.policy.path else None)
    except ConfigError as wrong:
        return f"cannot be loaded: {wrong}"
    for name, content in policy.files.items():
        path = f"{FOLDER}/policy/{name}"
        bag.add_bytes(path, scrub.text(path, content.decode("utf-8", "backslashreplace")).encode())
    return policy.revision


def _system(site: Site, store: Store, revision: str, now: float) -> dict[str, Any]:
    volume = shutil.disk_usage(site.data_dir)
    return {
        "made_at": rfc3339(now),
        "version": airlock.__version__,
        "host": platform.node(),
        "kernel": platform.platform(),
        "python": sys.version.split()[0],
        "data_dir": {"path": str(site.data_dir), "bytes_total": volume.total, "bytes_free": volume.free},
        "configuration_digest": hashlib.sha256(msgspec.json.encode(site.config, order="sorted")).hexdigest(),
        "policy_revision_in_files": revision,
        "workers_living": sorted(replicas.living(store, now=now)),
        "chains": {
            chain.name: {"durable": journal.durable(chain), "written_now": held(chain)}
            for chain in journal.chains(site.data_dir / "journal")
        },
        "parts": store.versions(),
        "incidents_open": {
            each.id: {"severity": each.severity, "status": each.status} for each in incidents.listing(store)
        },
        "packages": _packages(),
    }


def _packages() -> list[str]:
    """`NAME-VERSION` of what is installed, by the names of its folders: to read their metadata takes long."""
    found = {path.stem for entry in sys.path if entry for path in Path(entry).glob("*.dist-info")}
    return sorted(found)


def _tools(store: Store) -> list[Any]:
    query = select(pin_table.c.server, pin_table.c.tenant).distinct().order_by(*pin_table.c[:2])
    with store.read() as connection:
        pairs = [(row.server, row.tenant) for row in connection.execute(query)]
    found = [pins.list_pins(store, server=server, tenant=tenant) for server, tenant in pairs]
    return [msgspec.to_builtins(each) for group in found for each in group]


def _processes(now: float) -> str:
    """Every process of this program on the host: what it is, since when, how large. Arguments that could hold
    a secret belong to servers behind the gateway; of those the program alone is named."""
    lines = [f"Processes of airlock at {rfc3339(now)}, from /proc"]
    for path in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        try:
            command = (path / "cmdline").read_bytes().split(b"\0")
            status = (path / "status").read_text(encoding="utf-8").splitlines()
        except OSError:
            continue  # it ended meanwhile, or is not ours to look at
        told = program(command)
        if not told:
            continue
        named = dict(line.split(":\t", 1) for line in status if ":\t" in line)
        size, threads = named.get("VmRSS", "").strip(), named.get("Threads", "")
        lines.append(
            f"pid {path.name} parent {named.get('PPid', '')} uid {named.get('Uid', '').split(chr(9))[0]} "
            f"memory {size} threads {threads}: {told}"
        )
    lines.append(f"collected by pid {os.getpid()}")
    return "".join(f"{visible(line)}\n" for line in lines)


def program(command: Sequence[bytes]) -> str:
    """What a process of this program is called, with its verb; empty: it is another one, whatever it was
    given."""
    words = [part.decode(errors="replace") for part in command[:4]]
    at = next((at for at, word in enumerate(words[:3]) if _OURS.fullmatch(word)), None)
    if at is None or (at and not _PYTHON.fullmatch(words[0])) or (at == 2 and words[1] != "-m"):
        return ""
    verb = words[at + 1 : at + 2]
    return " ".join([*words[: at + 1], *(word for word in verb if _VERB.fullmatch(word))])
