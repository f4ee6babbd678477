"""An identity provider that is away, has other keys, or lies (F8)."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any

from tests.faults.facts import Facts, prove
from tests.system.provider import DISCOVERY, JWKS, Provider


@contextmanager
def provider_down(provider: Provider) -> Generator[Facts]:
    """F8d: nothing answers at the provider. There again, on the same port and with its keys, when left."""
    provider.stop()
    try:
        prove(_status(provider, DISCOVERY) == 0, "a provider that does not answer")
        yield Facts(fault="F8d", proof=f"{provider.url} refuses connections")
    finally:
        provider.start()


@contextmanager
def provider_rotated(provider: Provider, *, keep: bool = False) -> Generator[Facts]:
    """F8k: another key signs and is published; `keep`: the one before still is. It stays so when left."""
    before = _published(provider)
    provider.rotate(keep=keep)
    after = _published(provider)
    prove(bool(after - before) and keep == bool(after & before), f"other keys than {before}: {after}")
    values = {"before": sorted(before), "after": sorted(after)}
    yield Facts(fault="F8k", proof=f"published are {sorted(after)}, not {sorted(before)}", values=values)


@contextmanager
def provider_lies(provider: Provider, path: str = JWKS, **lie: Any) -> Generator[Facts]:
    """At this path it answers with `status`, `headers`, `body`, `size`, `endless`, `delay` (milliseconds)."""
    told = {"status": 500, **lie}
    provider.lie(path, **told)
    try:
        seen = _status(provider, path)
        prove(seen == told["status"], f"status {told['status']}: {seen}")
        yield Facts(fault="lying provider", proof=f"{path} answers {seen}", values={"path": path, **told})
    finally:
        provider.honest()


@contextmanager
def provider_skewed(provider: Provider, seconds: int = 600) -> Generator[Facts]:
    """F8c, at the other end: what the provider signs, and the dates of its answers, are `seconds` off."""
    provider.change(skew=seconds)
    try:
        with _get(provider.url + JWKS) as answer:
            said = parsedate_to_datetime(answer.headers["date"]).timestamp()
        off = said - time.time()
        prove(abs(off - seconds) < 30, f"a date that is {seconds} s off: {off:.0f} s")
        yield Facts(fault="F8c", proof=f"its answers are dated {off:+.0f} s off", values={"seconds": seconds})
    finally:
        provider.change(skew=0)


def _published(provider: Provider) -> set[str]:
    with _get(provider.url + JWKS) as answer:
        return {key["kid"] for key in json.load(answer)["keys"]}


def _status(provider: Provider, path: str) -> int:
    """0 where nothing answers."""
    try:
        with _get(provider.url + path) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def _get(url: str) -> Any:
    """Whether it answers is asked, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return urllib.request.urlopen(url, timeout=30, context=context)  # noqa: S310 - a port of the test
