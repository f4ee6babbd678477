"""An address to which no connection may come."""

from __future__ import annotations

import socket
import threading
from typing import Self


class Listener:
    """Counts who connects, and hangs up."""

    def __init__(self) -> None:
        self.accepted = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/keys"
        self._thread = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _accept(self) -> None:
        try:
            while True:
                self._socket.accept()[0].close()
                self.accepted += 1
        except OSError:
            return
