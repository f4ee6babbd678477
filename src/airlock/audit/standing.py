"""What the journals say by themselves: who is written, how far, and what still waits in a spool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airlock.audit import journal
from airlock.audit.gaps import LiveChain
from airlock.audit.spool import NAME as SPOOL
from airlock.audit.tail import held

if TYPE_CHECKING:
    from pathlib import Path


def standing(journals: Path) -> dict[str, LiveChain]:
    """Every chain that has a journal; raises `OSError` where one cannot be read."""
    return {chain.name: _look(chain) for chain in journal.chains(journals)}


def _look(chain: Path) -> LiveChain:
    alive = held(chain)
    durable, damage = journal.durable(chain), ""
    if alive is False:
        try:
            whole = [record.seq for record in journal.history(chain)][-1:]
            durable = whole[0] if whole else 0
        except journal.JournalDamaged as found:
            damage = found.detail
    return LiveChain(held=alive, durable=durable, spool=_waiting(chain / SPOOL), damage=damage)


def _waiting(spool: Path) -> int:
    try:
        return len(journal.frames(spool.read_bytes()))
    except FileNotFoundError:
        return 0
