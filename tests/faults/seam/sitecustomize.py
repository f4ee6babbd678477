"""Faults inside the processes of a gateway: loaded by Python itself, because `tests.faults.seams` put this
folder on PYTHONPATH. Without a request in the folder FAULT_SEAM nothing differs from the product.

A request is a file: `clock` and `slow` (seconds), `panic`, `leak` (MiB), `deaf` (slot of a worker), and
`disk` with `lying` in it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(os.environ["FAULT_SEAM"])


def asked(name: str) -> str | None:
    """What a request says; None where there is none."""
    try:
        return (FOLDER / name).read_text()
    except FileNotFoundError:
        return None


def followed(name: str) -> None:
    """Leave a mark: the request had its effect here."""
    with (FOLDER / f"{name}.seen").open("a") as seen:
        seen.write(f"{os.getpid()}\n")


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(the original)` in the place of one attribute."""
    setattr(owner, name, make(getattr(owner, name)))


class WallClock:
    """The time of day in this process, off by as many seconds as is asked for. Other clocks are right."""

    LOOK = 0.05
    """Seconds between two looks at the request."""

    def __init__(self) -> None:
        self._genuine = time.time_ns
        self._looked = 0.0
        self._offset = 0

    def nanoseconds(self) -> int:
        now = time.monotonic()
        if now - self._looked > self.LOOK:
            self._looked = now
            self._look()
        return self._genuine() + self._offset

    def seconds(self) -> float:
        return self.nanoseconds() / 1e9

    def _look(self) -> None:
        before, self._offset = self._offset, int(asked("clock") or 0) * 1_000_000_000
        if self._offset not in {0, before}:
            followed("clock")


class PanicException(BaseException):
    """What the policy engine's library raises where its own code panics."""

    __module__ = "pyo3_runtime"


class Panicking:
    """A policy engine whose evaluations panic, or take long, while that is asked for."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def clone(self) -> Panicking:
        return Panicking(self._engine.clone())

    def eval_rule_as_json(self, rule: str, /) -> str:
        if asked("panic") is not None:
            followed("panic")
            raise PanicException("index out of bounds: the len is 0 but the index is 0")
        seconds = asked("slow")
        if seconds is not None:
            followed("slow")
            time.sleep(float(seconds))
        return self._engine.eval_rule_as_json(rule)


def policy(module: ModuleType) -> None:
    replace(module, "new_engine", lambda original: lambda: Panicking(original()))


HOARD: list[bytes] = []
"""What `leaking_handler` never gives back, as long as the request stands."""

PIECE = 64
"""MiB of one object: so large that the allocator asks the system for it, and gives it back at once."""


def leaking_handler(mib: int) -> None:
    """Keep `mib` MiB, every byte of them written."""
    while len(HOARD) * PIECE < mib:
        HOARD.append(os.urandom(1) * (PIECE * 1024 * 1024))


def health(module: ModuleType) -> None:
    """The handler of `/live` leaks when it is asked."""

    def make(original: Any) -> Any:
        async def live(self: Any, request: Any) -> Any:
            mib = asked("leak")
            if mib is not None:
                leaking_handler(int(mib))
            else:
                HOARD.clear()
            return await original(self, request)

        return live

    replace(module.HealthApi, "live", make)


class Ears:
    """Which worker this process is, and whether it is deaf."""

    slot = ""

    @classmethod
    def deaf(cls) -> bool:
        return bool(cls.slot) and asked("deaf") == cls.slot


def channel(module: ModuleType) -> None:
    """A deaf worker takes no message of its supervisor to heart; what came meanwhile it hears afterwards."""
    import asyncio

    def make(original: Any) -> Any:
        async def receive(self: Any) -> Any:
            while True:
                message = await original(self)
                if message is None:
                    return None
                if message.get("op") == "start" and "slot" in message:  # to a worker
                    Ears.slot = str(message["slot"])
                while Ears.deaf():  # noqa: ASYNC110 - what it waits for is a file
                    await asyncio.sleep(0.02)
                return message

        return receive

    replace(module.Channel, "receive", make)


def stale(owner: Any, name: str) -> None:
    """A deaf worker reads what it read last, also where it was asked for the change itself."""
    last: dict[int, Any] = {}

    def make(original: Any) -> Any:
        def read(store: Any, *arguments: Any, **named: Any) -> Any:
            if id(store) in last and Ears.deaf():
                followed("deaf")
            else:
                last[id(store)] = original(store, *arguments, **named)
            return last[id(store)]

        return read

    replace(owner, name, make)


def files(module: ModuleType) -> None:
    if asked("disk/asked") is not None:
        spec = importlib.util.spec_from_file_location("fault_seam_disk", Path(__file__).with_name("disk.py"))
        assert spec is not None
        assert spec.loader is not None
        disk = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(disk)
        disk.install(module, FOLDER / "disk", replace)


CHANGED: dict[str, Callable[[ModuleType], None]] = {
    "airlock.policy.rego": policy,
    "airlock.api.health": health,
    "airlock.channel": channel,
    "airlock.store.database": lambda module: stale(module.Store, "versions"),
    "airlock.store.leases": lambda module: stale(module, "load"),
    "airlock.store.revocations": lambda module: stale(module, "load"),
    "airlock.audit.files": files,
}


class Changing(importlib.abc.Loader):
    """Loads a module as ever, then changes it."""

    def __init__(self, loader: importlib.abc.Loader, change: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are changed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        change = CHANGED.get(fullname)
        spec = None
        if change is not None:
            spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None and change is not None:
            spec.loader = Changing(spec.loader, change)
        return spec


def others() -> None:
    """Somebody else's `sitecustomize`, which this one stands in front of."""
    own = Path(__file__).parent.resolve()
    path = [entry for entry in sys.path if Path(entry or ".").resolve() != own]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


CLOCK = WallClock()
time.time_ns, time.time = CLOCK.nanoseconds, CLOCK.seconds
sys.meta_path.insert(0, Finder())
others()
