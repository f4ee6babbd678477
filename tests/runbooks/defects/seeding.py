"""How a defect gets into a gateway: a module of the product is changed right after it was loaded.

Each folder beside this file is one defect: Python itself loads its `sitecustomize` in every process of a
gateway that is started with it on PYTHONPATH.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

Change = Callable[[ModuleType], None]


def seed(name: str, change: Change) -> None:
    """Change the module of this name when it is loaded."""
    sys.meta_path.insert(0, _Finder(name, change))


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put `make(the original)` in the place of one attribute."""
    setattr(owner, name, make(getattr(owner, name)))


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: importlib.abc.Loader, change: Change) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, through whoever finds it without us."""

    def __init__(self, name: str, change: Change) -> None:
        self._name = name
        self._change = change

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader, self._change)
                return spec
        return None
