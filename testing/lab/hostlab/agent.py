"""A client of the QEMU guest agent: runs commands in the emulated host and moves files, over a UNIX socket."""

import base64
import dataclasses
import itertools
import json
import socket
import time

from hostlab.deadline import Deadline, LabTimeout

_ids = itertools.count(int(time.time()) % 1_000_000 * 1000)
_FILE_CHUNK = 1 << 20


class AgentError(RuntimeError):
    pass


@dataclasses.dataclass
class Result:
    """How a command ended: `code` is its exit status, or 128 + the signal that ended it."""
    command: str
    code: int
    out: str
    err: str

    def check(self):
        if self.code != 0:
            raise AgentError(f"exit {self.code} of: {self.command}\n{self.out}{self.err}")
        return self


class Agent:
    """Talks to one agent. After a reboot or kexec of the host call `resync`: old answers are thrown away."""

    def __init__(self, path):
        self._path = path
        self._socket = None
        self._buffer = b""

    def close(self):
        if self._socket:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def _connect(self):
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.connect(str(self._path))

    def _read_line(self, deadline):
        while b"\n" not in self._buffer:
            deadline.check()
            self._socket.settimeout(max(0.01, deadline.left()))
            try:
                data = self._socket.recv(1 << 20)
            except socket.timeout:
                continue
            if not data:
                self.close()
                raise AgentError("the emulator closed the agent's channel")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def resync(self, seconds):
        """Returns when the agent answers; throws away whatever stood in the channel before."""
        deadline = Deadline(seconds, "the guest agent answers")
        while True:
            self._connect()
            token = next(_ids)
            message = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
            self._socket.settimeout(max(0.01, deadline.left()))
            self._socket.sendall(b"\xff" + json.dumps(message).encode() + b"\n")
            attempt = Deadline(min(3.0, deadline.left()), "sync")
            try:
                while True:
                    line = self._read_line(attempt).rpartition(b"\xff")[2]
                    try:
                        if json.loads(line).get("return") == token:
                            return
                    except ValueError:
                        pass
            except LabTimeout:
                deadline.check()

    def call(self, command, arguments=None, seconds=30):
        self._connect()
        self._socket.settimeout(seconds)
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n")
        answer = json.loads(self._read_line(Deadline(seconds, f"{command} answers")).rpartition(b"\xff")[2])
        if "error" in answer:
            raise AgentError(f"{command}: {answer['error'].get('desc')}")
        return answer["return"]

    def start(self, command, data=None):
        """Starts `command` in a shell of the host; returns its process id there."""
        arguments = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
        if data is not None:
            arguments["input-data"] = base64.b64encode(data).decode()
        return self.call("guest-exec", arguments)["pid"]

    def poll(self, pid):
        """None while the process runs."""
        status = self.call("guest-exec-status", {"pid": pid})
        if not status["exited"]:
            return None
        text = [base64.b64decode(status.get(k, "")).decode(errors="replace") for k in ("out-data", "err-data")]
        return status.get("exitcode", 128 + status.get("signal", 0)), *text

    def run(self, command, seconds=60, data=None):
        """Runs `command` to its end. LabTimeout if it takes longer; the command is then still running."""
        deadline = Deadline(seconds, f"end of: {command}")
        pid = self.start(command, data)
        pause = 0.02
        while True:
            ended = self.poll(pid)
            if ended:
                return Result(command, *ended)
            deadline.check()
            time.sleep(pause)
            pause = min(0.5, pause * 1.5)

    def read_file(self, path):
        handle = self.call("guest-file-open", {"path": path, "mode": "r"})
        try:
            content = b""
            while True:
                part = self.call("guest-file-read", {"handle": handle, "count": _FILE_CHUNK})
                content += base64.b64decode(part["buf-b64"])
                if part["eof"]:
                    return content
        finally:
            self.call("guest-file-close", {"handle": handle})

    def write_file(self, path, content):
        handle = self.call("guest-file-open", {"path": path, "mode": "w"})
        try:
            for at in range(0, len(content), _FILE_CHUNK):
                chunk = base64.b64encode(content[at:at + _FILE_CHUNK]).decode()
                self.call("guest-file-write", {"handle": handle, "buf-b64": chunk})
        finally:
            self.call("guest-file-close", {"handle": handle})
