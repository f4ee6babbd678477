"""What a freeze keeps from being reloaded: policy, or everything, whoever asks for the reload."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from airlock.core.clock import Clock
from airlock.core.config import Config
from airlock.core.errors import ConfigError
from airlock.model.lease import Lease
from airlock.store import leases
from airlock.store.database import FILE, open_store


def refuse_frozen(running: Config, wanted: Config, *, other_policy: bool, clock: Clock) -> None:
    """Raise `ConfigError` where a lease in force freezes what this reload would change; `Fault` where nobody
    can say. `other_policy`: the text of the policy differs."""
    if not other_policy and wanted == running:
        return
    with closing(open_store(Path(running.data_dir) / FILE)) as store:
        held = leases.listing(store, now=clock.wall())
    for lease in held:
        if lease.action == "admin.freeze":
            raise _frozen("configuration", "administration", lease)
        if lease.action == "policy.freeze" and (other_policy or _policy(wanted) != _policy(running)):
            raise _frozen("policy", "policy", lease)


def _policy(config: Config) -> object:
    """What of the configuration changes decisions: how policy is asked, and where it is only observed."""
    return config.policy, config.observe, [(entry.name, entry.mode) for entry in config.servers]


def _frozen(where: str, what: str, lease: Lease) -> ConfigError:
    return ConfigError(where, f"{what} is frozen by lease {lease.id}", "release the lease first")
