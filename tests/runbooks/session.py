"""The operator's shell: one bash process in which the runbook's commands run unchanged.

Variables and files stay from one command to the next, as in a terminal. `kubectl` on its PATH is ours; host
names lead to the stack by curl's `connect-to`, with the test's authority in place of the system's. Tokens are
variables of the session; besides them only the words of `PLACEHOLDERS` are replaced, and recorded.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.runbooks.extract import ROOT, data, whole
from tests.runbooks.registry import Shown

PLACEHOLDERS = {"server_id": "{server_id}", "new_key": "<new-key>", "ip": "suspicious.ip.address"}
"""The words that the table allows to be replaced, by the name that a check gives them."""
UNRESOLVED = re.compile(r"(?<![$\w])\{[a-z]+(?:_[a-z]+)*\}|<[a-z]+(?:-[a-z]+)*>|suspicious\.ip\.address")
SHOWN_WITH = ("scripts", "docs", "curl-format.txt")
"""What of the repository lies in the operator's directory."""
PATIENCE = 60.0
"""Seconds that any one command may take."""


class Session:
    """`with Session(folder, variables) as session:`. `folder` is made; commands run in it."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        self.folder = folder / "operator"
        self.folder.mkdir(parents=True)
        for name in SHOWN_WITH:
            (self.folder / name).symlink_to(ROOT / name)
        self.replaced: dict[str, str] = {}
        """What was put in place of which word."""
        self._spool = folder / "commands"
        self._spool.mkdir()
        self._count = 0
        self._home = folder
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={"HOME": str(folder), "LANG": "C.UTF-8", "TZ": "UTC", **variables},
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.close()
        try:
            self._bash.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._bash.pid, signal.SIGKILL)
            self._bash.wait(5)
        self._bash.stdout.close()

    @property
    def marks(self) -> set[str]:
        """`stand-in` once a tool was asked for which we only have a stand-in."""
        return {"stand-in"} if (self._home / "stand-in").exists() else set()

    def row(self, row: str, **substitutes: str) -> Shown:
        """The command of a row, or its commands: all outputs, and the status of the last."""
        commands = data().of(row)
        assert commands, f"{row} has no command"
        shown = [self.run(self._resolved(row, whole(command), substitutes)) for command in commands]
        return Shown(
            command="\n".join(one.command for one in shown),
            out="".join(one.out for one in shown),
            err="".join(one.err for one in shown),
            rc=shown[-1].rc,
            seconds=sum(one.seconds for one in shown),
        )

    def _resolved(self, row: str, text: str | None, substitutes: Mapping[str, str]) -> str:
        assert text is not None, f"{row}: its text is in the runbook only, which is not here (RUNBOOKS_DIR)"
        usual = {"server_id": "srv-evil", "new_key": secrets.token_hex(32), "ip": "203.0.113.7"}
        assert substitutes.keys() <= usual.keys(), f"there is nothing to replace called {substitutes}"
        for name, value in {**usual, **substitutes}.items():
            if PLACEHOLDERS[name] in text:
                text = text.replace(PLACEHOLDERS[name], value)
                self.replaced[PLACEHOLDERS[name]] = value
        left = UNRESOLVED.search(text)
        assert left is None, f"{row}: nothing is known to put in place of {left and left[0]}"
        return text

    def run(self, text: str) -> Shown:
        """One command in this shell, with nothing on its standard input."""
        self._count += 1
        place = self._spool / str(self._count)
        place.mkdir()
        (place / "command").write_text(text + "\n")
        began = time.monotonic()
        rc = self._ask(f". {place}/command >{place}/out 2>{place}/err </dev/null; echo $?\n", text)
        out, err = ((place / name).read_text(errors="replace") for name in ("out", "err"))
        for line in err.splitlines():
            assert " of the harness: " not in line, line
        return Shown(command=text, out=out, err=err, rc=rc, seconds=time.monotonic() - began)

    def _ask(self, line: str, text: str) -> int:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(line)
        self._bash.stdin.flush()
        alarm = threading.Timer(PATIENCE, os.killpg, (self._bash.pid, signal.SIGKILL))
        alarm.start()
        try:
            said = self._bash.stdout.readline()
        finally:
            alarm.cancel()
            alarm.join()
        assert said, f"no answer within {PATIENCE} s, or the shell ended: {text}"
        return int(said)
