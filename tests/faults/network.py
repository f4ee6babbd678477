"""A network of its own, joined to ours by one cable that can be cut. Needs root and `ip` of iproute2."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Self

from tests.faults.facts import Facts, prove, proven

POOL = ip_network("100.64.0.0/10")
"""Shared address space (RFC 6598): nobody's own network, and few machines have a route into it."""
CLONE_NEWNET = 0x40000000
IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "ip"
ATTEMPT = 1.0
"""Seconds that a connection over the cable may take before it counts as cut."""
_LIBC = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """`with Namespace() as far, far.entered(): ...`: sockets that are made inside are at `far.address`, and
    stay there when the thread has left. It ends with this process, however that ends."""

    def __init__(self) -> None:
        self._keeper: subprocess.Popen[bytes] | None = None
        self._cable = f"flt{secrets.token_hex(5)}"
        self._listener: socket.socket | None = None
        self.near = self.address = ""
        """Our end of the cable, and theirs."""

    def __enter__(self) -> Self:
        # The namespace lives as long as this shell, which ends when its standard input does.
        self._keeper = keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert keeper.stdout is not None
            prove(keeper.stdout.readline() == b"\n", "a network namespace: it needs root")
            self._lay(_unused())
            with self.entered():
                self._listener = socket.create_server((self.address, 0))
            proven(self.connected, "the cable")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
        if self.near:
            _ip("link", "delete", self._cable)
            self.near = ""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.kill()
            keeper.wait(30)
            for stream in (keeper.stdin, keeper.stdout):
                if stream is not None:
                    stream.close()

    @contextmanager
    def entered(self) -> Generator[None]:
        """This thread makes its sockets and starts its processes in there."""
        assert self._keeper is not None
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _set(Path(f"/proc/{self._keeper.pid}/ns/net"))
            try:
                yield
            finally:
                _check(_LIBC.setns(home, CLONE_NEWNET))
        finally:
            os.close(home)

    def connected(self) -> bool:
        """Whether a connection over the cable is made."""
        assert self._listener is not None
        with suppress(OSError):
            with closing(socket.create_connection(self._listener.getsockname(), ATTEMPT)):
                pass
            self._listener.accept()[0].close()
            return True
        return False

    @contextmanager
    def cut(self) -> Generator[Facts]:
        """The cable is cut: what is sent is lost in silence, open connections stand still."""
        proven(self.connected, "a connection over the whole cable")
        self._far("link", "set", "eth0", "down")
        try:
            prove(not self.connected(), "a connection that is not made")
            proof = f"a connection to {self.address} was made before, and is not within {ATTEMPT} s"
            yield Facts(fault="cut", proof=proof, values={"address": self.address})
        finally:
            self._far("link", "set", "eth0", "up")
            proven(self.connected, "the mended cable")

    def _lay(self, network: IPv4Network) -> None:
        assert self._keeper is not None
        near, far = list(network.hosts())
        peer = ("peer", "name", "eth0", "netns", str(self._keeper.pid))
        _ip("link", "add", self._cable, "type", "veth", *peer)
        self.near, self.address = str(near), str(far)
        _ip("address", "add", f"{near}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        for words in (("link", "set", "lo", "up"), ("address", "add", f"{far}/30", "dev", "eth0"),
                      ("link", "set", "eth0", "up")):  # fmt: skip
            self._far(*words)

    def _far(self, *words: str) -> None:
        assert self._keeper is not None
        _run("nsenter", f"--net=/proc/{self._keeper.pid}/ns/net", IP, *words)


def _unused() -> IPv4Network:
    """A network of two hosts to which this machine has no route yet."""
    shown = subprocess.run([IP, "-4", "route", "show"], capture_output=True, text=True, check=True).stdout
    taken = [ip_network(line.split()[0], strict=False) for line in shown.splitlines() if line[0].isdigit()]
    while True:
        start = secrets.randbelow(POOL.num_addresses // 4) * 4
        found = IPv4Network((int(POOL.network_address) + start, 30))
        if not any(found.overlaps(other) for other in taken):
            return found


def _set(namespace: Path) -> None:
    fd = os.open(namespace, os.O_RDONLY)
    try:
        _check(_LIBC.setns(fd, CLONE_NEWNET))
    finally:
        os.close(fd)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*words: str) -> None:
    _run(IP, *words)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
