"""The helper process that compiles what might abort LLVM, and with it the process that runs it.

One helper serves the whole process; it starts with the first request (a few tenths of a second), and again after an
abort. A request is a line of JSON and the modules' bytes, an answer a line of JSON and the object's bytes.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from compiler.errors import CodegenError

if TYPE_CHECKING:
    from compiler.backend.llvm.machine import Machine


class Worker:
    """One helper process, started when it is needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._owner = 0

    def compile(self, machine: Machine, modules: Sequence[str], exports: Collection[str] | None) -> bytes:
        """The object of the modules, as `Machine.emit` makes it.

        Raises:
            CodegenError: LLVM refuses the modules, or has taken the helper down; the next request gets a new one.
        """
        texts = [text.encode() for text in modules]
        header = {
            "machine": [machine.triple, machine.cpu, machine.features, machine.opt],
            "exports": None if exports is None else sorted(exports),
            "sizes": [len(text) for text in texts],
        }
        with self._lock:
            try:
                return self._ask(header, texts)
            except (EOFError, BrokenPipeError):
                reason = self._last_words()
                self.close()
                raise CodegenError(f"LLVM gave up compiling for {machine.triple} ({machine.cpu}): {reason}") from None

    def _ask(self, header: dict[str, Any], texts: Sequence[bytes]) -> bytes:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(header).encode() + b"\n")
        for text in texts:
            process.stdin.write(text)
        process.stdin.flush()
        answer = json.loads(_line(process.stdout))
        if "error" in answer:
            raise CodegenError(answer["error"])
        return _exactly(process.stdout, answer["size"])

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._owner != os.getpid():  # a fork must not share its parent's
            self._owner = os.getpid()
            self._errors = tempfile.TemporaryFile()
            root = str(Path(__file__).parents[3])
            path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "compiler.backend.llvm.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, "PYTHONPATH": path},
            )
        return self._process

    def _last_words(self) -> str:
        """What the helper said before it ended: LLVM's own error, or how it ended."""
        assert self._process is not None and self._errors is not None
        code = self._process.wait()
        self._errors.seek(0)
        for line in self._errors.read().decode(errors="replace").splitlines():
            if line.startswith("LLVM ERROR: "):
                return line.removeprefix("LLVM ERROR: ")
        return f"its process ended with {f'signal {-code}' if code < 0 else f'code {code}'}"

    def close(self) -> None:
        """End the helper."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, self._errors):
                assert stream is not None
                try:
                    stream.close()
                except BrokenPipeError:
                    pass


_worker = Worker()
atexit.register(_worker.close)


def compile_in_worker(machine: Machine, modules: Sequence[str], exports: Collection[str] | None) -> bytes:
    """The object of the modules, compiled in this process's helper; see `Worker.compile`."""
    return _worker.compile(machine, modules, exports)


def _line(stream: IO[bytes]) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    return line


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer requests until there are no more."""
    from compiler.backend.llvm.machine import Machine, initialise

    initialise()
    machines: dict[tuple[Any, ...], Machine] = {}
    while line := source.readline():
        request = json.loads(line)
        texts = [_exactly(source, size).decode() for size in request["sizes"]]
        key = tuple(request["machine"])
        if key not in machines:
            machines[key] = Machine(*key)
        try:
            code = machines[key].emit(texts, request["exports"])
        except CodegenError as error:
            sink.write(json.dumps({"error": str(error)}).encode() + b"\n")
        else:
            sink.write(json.dumps({"size": len(code)}).encode() + b"\n")
            sink.write(code)
        sink.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
