"""What a check is told, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from airlock.cli import api
from airlock.core.config import Config
from airlock.core.errors import ConfigError

Verdict = Literal["ok", "bad", "unknown"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check. `unknown` is never good news."""

    part: str
    check: str
    observed: str
    expected: str
    verdict: Verdict


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which gateway is examined."""

    config: Config
    token: str
    environ: Mapping[str, str]

    def status(self) -> dict[str, Any] | str:
        """The answer of `/admin/status`, or why there is none."""
        try:
            token = self.token or api.stored_token(self.config, self.environ)
            if not token:
                return "not asked: that needs the token of an administrator"
            found = api.get(self.config, "/admin/status", token=token, environ=self.environ)
        except ConfigError as error:
            return str(error)
        return found if found is not None else f"no gateway listens at {api.address(self.config, '')}"


def judged(good: bool) -> Verdict:
    """The verdict of a check that found something out."""
    return "ok" if good else "bad"
