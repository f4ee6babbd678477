"""A process that seals in a loop and prints what it was promised, until somebody kills it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from airlock.audit.recovery import open_log
from airlock.core.clock import SYSTEM
from airlock.core.config import AuditSection
from tests.audit.writing_parts import FACTS, Lines, intent, outcome


async def seal_for_ever(data_dir: Path) -> None:
    log = open_log(
        data_dir=data_dir,
        audit=AuditSection(segment_size=65536),
        workers=1,
        facts=FACTS,
        clock=SYSTEM,
        log=Lines(),
    )
    log.start()
    start = log.head_seq

    async def call(worker: int) -> None:
        number = 0
        while True:
            number += 1
            for made in (intent(1), outcome(1)):
                correlation_id = f"{start}/{worker}/{number}"
                padded = msgspec.structs.replace(
                    made, correlation_id=correlation_id, metadata={"pad": "x" * 300}
                )
                receipt = await log.seal(padded)
                sys.stdout.write(f"{receipt.seq} {receipt.id} {receipt.hash}\n")
                sys.stdout.flush()

    async with asyncio.TaskGroup() as tasks:
        for worker in range(20):
            tasks.create_task(call(worker))


if __name__ == "__main__":
    asyncio.run(seal_for_ever(Path(sys.argv[1])))
