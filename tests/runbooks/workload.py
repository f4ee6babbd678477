"""A gateway as it runs in a container: process 1 of its own PID and mount namespaces.

Inside, `/var/lib/airlock`, `/etc/airlock`, `/etc/policy` and `/tmp` are its own, and so is `/etc/hosts`; all
other files are those of the machine. Outside, the same files are in `folder`: `data`, `etc`, `policy`, `tmp`.
Making namespaces needs root.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.runbooks.extract import ROOT
from tests.system.deployment import Deployment

CLONE_NEWPID = 0x20000000
CONFIG = "/etc/airlock/config-base.yaml"
OVERLAY = "/etc/airlock/config.yaml"
TMP = Path("/tmp")  # noqa: S108 - the one that the runbook names, inside the namespace

MOUNTS = r"""
set -e
folder=$1 hosts=$2 kept=$3
shift 3
mount -t proc proc /proc
mount -t tmpfs tmpfs "$folder/upper"
for place in etc var/lib; do
  mkdir -p "$folder/upper/$place" "$folder/upper/scratch/$place"
  mount -t overlay -o "lowerdir=/$place,upperdir=$folder/upper/$place,workdir=$folder/upper/scratch/$place" \
    overlay "/$place"
done
printf '%s\n' "$hosts" >>/etc/hosts
mkdir -p /etc/airlock /etc/policy /var/lib/airlock
mount --bind "$folder/etc" /etc/airlock
mount --bind "$folder/policy" /etc/policy
mount --bind "$folder/data" /var/lib/airlock
# What lies below the machine's own /tmp stays in its place below ours.
IFS=:
for path in $kept; do
  mkdir -p "$folder/tmp/${path#/tmp/}"
  mount --rbind "$path" "$folder/tmp/${path#/tmp/}"
done
mount --rbind "$folder/tmp" /tmp
cd /var/lib/airlock
exec "$@"
"""


class Workload(Deployment):
    """A `Deployment` in namespaces of its own. `hosts` are further lines of its `/etc/hosts`."""

    hosts = ""

    def place(self, environment: Mapping[str, str]) -> None:
        """Make the folders, with the configuration where the container has it; `environment` of process 1."""
        for name in ("etc", "policy", "data", "tmp", "upper"):
            (self.folder / name).mkdir(exist_ok=True)
        self.config = self.folder / "etc" / Path(CONFIG).name
        self.environment = {**os.environ, "AIRLOCK_OVERLAY": OVERLAY, **environment}
        self.write()

    def start_unwaited(self) -> None:
        """Start as process 1, and wait for nothing."""
        serve = [sys.executable, "-m", "airlock.cli", "serve", "--config", CONFIG]
        kept = ":".join(str(path) for path in (self.folder, ROOT) if path.is_relative_to(TMP))
        inside = ["unshare", "--mount", "sh", "-c", MOUNTS, "sh", str(self.folder), self.hosts, kept, *serve]
        with self.log.open("ab") as log:
            self.process = as_first_process(inside, log, self.environment)

    def command(self, *words: str) -> list[str]:
        """The command line that runs these words inside, in the environment of the workload."""
        assert self.process is not None
        return ["nsenter", "--target", str(self.process.pid), "--pid", "--mount", "--", *words]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**self.environment, **environment},
        )


def as_first_process(
    command: Sequence[str], output: IO[bytes], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a child of ours as process 1 of a new PID namespace.

    A thread asks for it, because the question holds for all later children of who asks. Raises OSError.
    """
    made: list[subprocess.Popen[bytes]] = []
    refused: list[int] = []

    def start() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWPID) != 0:
            refused.append(ctypes.get_errno())
            return
        made.append(
            subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=dict(environment),
            )
        )

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    if refused:
        raise OSError(refused[0], f"no PID namespace: {os.strerror(refused[0])}; it needs root")
    return made[0]
