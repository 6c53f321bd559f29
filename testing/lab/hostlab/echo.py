"""A TCP client outside the emulated host that talks to a guest's echo server every 100 ms and keeps count."""

import socket
import threading
import time

from hostlab.deadline import wait_until

PERIOD_S = 0.1
_MESSAGE_BYTES = 9  # Eight digits and a newline.
_GREETING = b"ready\n"


class EchoClient:
    """Connects with the constructor and talks until `stop`. One connection: if it breaks, that is the finding."""

    def __init__(self, port, timeout=60):
        self.sent = 0
        self.echoed = 0
        self.wrong = []         # Of the first echoes that were out of order or changed: when, what, in place of what.
        self.broken = None      # Why the connection ended, if it did: reset, closed, …
        self.longest_gap_s = 0.0
        self._last_echo = None
        self._stop = threading.Event()
        self._socket = self._connect(port, timeout)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.echoed > 0 or self.broken, timeout, "the guest echoes the first message")

    @staticmethod
    def _connect(port, timeout):
        connection = socket.create_connection(("127.0.0.1", port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Not a byte before the guest has spoken: ../README.md, "The user network's fault".
        greeting = b""
        while len(greeting) < len(_GREETING) and (more := connection.recv(len(_GREETING) - len(greeting))):
            greeting += more
        assert greeting == _GREETING, f"the guest's echo server says {greeting}"
        connection.settimeout(None)
        return connection

    def _send(self):
        due = time.monotonic()
        while not self._stop.is_set() and not self.broken:
            try:
                self._socket.sendall(b"%08d\n" % self.sent)
            except OSError as problem:
                self.broken = self.broken or str(problem)
                return
            self.sent += 1
            due = max(due + PERIOD_S, time.monotonic())
            self._stop.wait(due - time.monotonic())

    def _receive(self):
        pending = b""
        while True:
            try:
                data = self._socket.recv(4096)
            except OSError as problem:
                self.broken = self.broken or str(problem)
                return
            if not data:
                if not self._stop.is_set():
                    self.broken = self.broken or "closed by the other side"
                return
            now = time.monotonic()
            if self._last_echo is not None:
                self.longest_gap_s = max(self.longest_gap_s, now - self._last_echo)
            self._last_echo = now
            pending += data
            while len(pending) >= _MESSAGE_BYTES:
                message, due = pending[:_MESSAGE_BYTES], b"%08d\n" % self.echoed
                if message != due and len(self.wrong) < 10:
                    self.wrong.append(f"at {time.strftime('%H:%M:%S')} {message} in place of {due}")
                self.echoed += 1
                pending = pending[_MESSAGE_BYTES:]

    @property
    def lost(self):
        return self.sent - self.echoed

    def quiet_for(self):
        """Seconds since the last echo."""
        return time.monotonic() - self._last_echo

    def new_gap(self):
        """Forgets the longest gap so far; returns it."""
        gap, self.longest_gap_s = self.longest_gap_s, 0.0
        return gap

    def stop(self, drain_s=60):
        """Sends nothing more, waits for the echoes that are due, and ends the connection."""
        self._stop.set()
        try:
            wait_until(lambda: self.lost == 0 or self.broken, drain_s, "all messages have been echoed")
        finally:
            self._socket.close()

    def __str__(self):
        state = self.broken or "never broken"
        return f"{self.echoed} of {self.sent} messages echoed, wrong: {self.wrong or 'none'}, connection {state}"
