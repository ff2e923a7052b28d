"""A way for one thread to end another's request."""

import socket
import threading


class Cut:
    """Lets one thread end another's request, whatever it waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._done = False

    def watch(self, connection: socket.socket | None) -> None:
        """Take note of the socket the request is on."""
        with self._lock:
            self._socket = connection
            if self._done:
                self._shut()

    def now(self) -> None:
        """End the request: its next read or write fails."""
        with self._lock:
            self._done = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is None:
            return
        try:
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself
