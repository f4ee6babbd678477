"""Work over the log that a worker must not do itself: in a process of its own, which gets one question."""

from __future__ import annotations

import asyncio
import sys
from typing import TypeVar

import msgspec

from airlock.core.errors import Fault, Stage

_Answer = TypeVar("_Answer", bound=msgspec.Struct)


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """What is said where there is no answer: the stable word, and a text that is safe for the caller."""

    reason: str
    text: str

    def fault(self, detail: str) -> Fault:
        return Fault(Stage.RECORD, 50302, self.reason, self.text, detail=detail)


async def answered(
    module: str, question: msgspec.Struct, kind: type[_Answer], *, patience: float, failing: Failing
) -> _Answer:
    """What `python -m MODULE` makes of the question, JSON in and out, within `patience` seconds.

    The process ends with this, however it ends. Raises `Fault` of `failing`.
    """
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(patience):
            told, said = await program.communicate(msgspec.json.encode(question))
    except TimeoutError as late:
        raise failing.fault(f"no answer within {patience:g} s") from late
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()
    if program.returncode:
        raise failing.fault(said.decode(errors="replace")[-512:])
    return msgspec.json.decode(told, type=kind)
