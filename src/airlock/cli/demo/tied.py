"""`python -m airlock.cli.demo.tied PROGRAM...`: becomes a program that ends when its parent does.

So nothing runs on, even if the demo itself is killed and cannot tidy up.
"""

from __future__ import annotations

import os
import signal
import sys

from airlock.upstream.launcher import PR_SET_PDEATHSIG, prctl


def main(arguments: list[str]) -> None:
    """`PARENT PROGRAM ARGUMENTS...`: `PARENT` is the process id that the caller knows itself by."""
    parent, *command = arguments
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):  # otherwise it died before the request above could see it
        os.execv(command[0], command)  # noqa: S606  (this program exists to become another one)


if __name__ == "__main__":
    main(sys.argv[1:])
