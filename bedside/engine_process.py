"""One engine process, seen from the server: started, asked, listened to, ended."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bedside.engine_protocol import Expect, Forget, Segment, Start
from bedside.frame_memory import FrameMemory, Layout
from bedside.frames import Frame
from bedside.pipeline import FrameResult
from cinert.errors import BackendUnavailableError, BadInputError, CineRTError

_FAREWELL_S = 2.0
_STDERR = 2


class EngineGoneError(Exception):
    """The process is gone; the message says how it ended, in the past tense after "the engine"."""


class EngineLoadError(BadInputError):
    """The engine raised an error while it was loaded; the message has its own words."""


class Document:
    """A `Start`, pickled into anonymous memory from which any number of processes can read it."""

    def __init__(self, start: Start) -> None:
        self.descriptor = os.memfd_create("cinert-start")
        with os.fdopen(os.dup(self.descriptor), "wb") as file:
            pickle.dump(start, file)

    def close(self) -> None:
        """Free it."""
        os.close(self.descriptor)


class EngineProcess:
    """A process that loads an engine; ask it from one thread at a time, listen to it from another.

    It ends with the thread that made it (prctl(2), PR_SET_PDEATHSIG), so make it in one that lasts.

    Args:
        document: what it starts with.
        memory: for frames; outlives the process.
    """

    def __init__(self, document: Document, memory: FrameMemory) -> None:
        self._memory = memory
        self._killed_because = ""
        self._connection, theirs = Pipe()
        descriptors = (theirs.fileno(), memory.descriptor, document.descriptor)
        try:
            self._process = subprocess.Popen(
                # Modules come from where this process has them, and from nowhere else (-P).
                [sys.executable, "-P", "-m", "bedside.engine_child", str(os.getpid()), *map(str, descriptors)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=_STDERR,
                # An interrupt at the terminal is the server's to deal with.
                process_group=0,
            )
        finally:
            # Held by the child alone, so that its end is seen as the end of the connection.
            theirs.close()
        self._ended = select.poll()
        self._pidfd = os.pidfd_open(self._process.pid)
        self._ended.register(self._pidfd, select.POLLIN)
        self._reaping, self._asking = threading.Lock(), threading.Lock()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def beats(self) -> int:
        """Signs of life so far; a process that hangs gives none."""
        return self._memory.beats

    def wait_until_ready(self, timeout_s: float) -> None:
        """Return when the engine is loaded and warm.

        Raises:
            CineRTError: as `cinert.bundle.Bundle.load_runner` raises it; or the engine cannot be loaded, the process
                ended or was not ready in time. The process is gone then.
        """
        reply: Exception | None
        try:
            if not self._connection.poll(timeout_s):
                self.kill(f"was not ready after {timeout_s:g} s")
            reply = self._connection.recv()
        except (EOFError, OSError):
            reply = BackendUnavailableError(f"the engine {self.ending()} while it was loaded.")
        if reply is not None:
            self.close()
            if isinstance(reply, CineRTError):
                raise reply
            raise EngineLoadError(f"the engine cannot be loaded: {reply}.", hint="export the bundle again.")

    def segment(self, source: int, frame: Frame) -> tuple[FrameResult, NDArray[np.uint8]]:
        """Segment a frame and wait for it, however long that takes; `kill` from another thread ends the wait.

        Returns:
            The result, and the mask: the caller's own, since viewers keep it while the next frame is computed.

        Raises:
            EngineGoneError: the process is gone.
            RuntimeError: the engine raised an error; it goes on.
            CineRTError: the frame cannot be used.
            OSError: there is no memory for a frame of this size.
        """
        layout = Layout.of(frame.image)
        image, mask = self._memory.arrays(layout)
        self._memory.begin_image()
        np.copyto(image, frame.image)
        reply = self._ask(Segment(source, frame.geometry, layout))
        if isinstance(reply, Exception):
            raise reply
        return reply, mask.copy(order="K")

    def tell(self, word: Expect | Forget) -> None:
        """Say that a source comes or goes; a process that is gone need not know."""
        with self._asking, contextlib.suppress(OSError):
            self._connection.send(word)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the process to end; whether it did."""
        return bool(self._ended.poll(timeout_s * 1e3))

    def ending(self) -> str:
        """How the process ended, in the past tense; waits for the end."""
        with self._reaping:
            code = self._process.wait()
        if self._killed_because:
            return self._killed_because
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def kill(self, because: str) -> None:
        """End the process at once."""
        self._killed_because = because
        self._process.kill()

    def close(self) -> None:
        """Let the process go; one that does not is killed."""
        # Not while another thread waits for an answer: the number of a closed descriptor is soon another file's.
        if not self._asking.acquire(timeout=_FAREWELL_S):
            self.kill("did not finish its last frame")
            self._asking.acquire()
        self._connection.close()
        self._asking.release()
        if not self.wait(_FAREWELL_S):
            self.kill("did not go when it was told to")
        self.ending()
        os.close(self._pidfd)

    def _ask(self, request: Segment) -> Any:
        try:
            with self._asking:
                self._connection.send(request)
                return self._connection.recv()
        except (EOFError, OSError) as error:
            raise EngineGoneError(self.ending()) from error
