"""One command at a time to the outer emulator's monitor."""

import json
import socket


class QmpError(RuntimeError):
    pass


class Qmp:
    def __init__(self, path, seconds=60):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(seconds)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb")
        self._answer()
        self.call("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._socket.close()

    def _answer(self):
        while True:
            line = self._file.readline()
            if not line:
                raise QmpError("the emulator closed its monitor")
            message = json.loads(line)
            if "event" not in message:
                return message

    def call(self, command, **arguments):
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        answer = self._answer()
        if "error" in answer:
            raise QmpError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def human(self, line):
        """A command of the human monitor; returns what it printed."""
        return self.call("human-monitor-command", **{"command-line": line})
