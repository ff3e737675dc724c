"""serve-mrd in a process of its own, for a measurement: what is measured is what is used."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bedside.mrd.server import Address
from bench.processes import program_beside
from cinert.errors import BadInputError

_SERVE = "from bedside.mrd.serve_cli import serve_mrd; serve_mrd()"
_READY = re.compile(r"serving MRD on 127\.0\.0\.1:(\d+)")
_START_S = 300.0
_STOP_S = 15.0
_NO_CAP = "1000000"


@contextlib.contextmanager
def mrd_server(
    bundle: Path, *, trust: Path | None, device: str, threads: int, budget_ms: float
) -> Iterator[tuple[Address, int]]:
    """Start serve-mrd on a free port of loopback; give its address and process number.

    Args:
        bundle: folder.
        trust: public key that it demands a signature of; None leaves that to CINERT_TRUST.
        device: `auto`, `cpu` or `cuda:N`.
        threads: CPU threads of the engine.
        budget_ms: the server's, for its states.

    Raises:
        BadInputError: it does not start; what it said last is told.
    """
    command = [sys.executable, "-c", _SERVE, str(bundle), "--port", "0", "--device", device, "--threads", str(threads)]
    command += ["--budget-ms", str(budget_ms), "--max-images-per-s", _NO_CAP]
    command += [] if trust is None else ["--trust", str(trust)]
    with program_beside(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        waiting = threading.Timer(_START_S, process.kill)
        waiting.start()
        try:
            port = _port(process.stdout)
        finally:
            waiting.cancel()
        # Its log has to go somewhere: a full pipe would stop it.
        threading.Thread(target=_drain, args=(process.stdout,), name="server-log", daemon=True).start()
        try:
            yield Address("127.0.0.1", port), process.pid
        finally:
            # It takes its engine along when it is interrupted; what is left after some seconds is killed.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)


def _drain(output: IO[str]) -> None:
    with output:
        for _ in output:
            pass


def _port(output: IO[str]) -> int:
    said = ""
    for line in output:
        if found := _READY.search(line):
            return int(found[1])
        said = line.strip() or said
    raise BadInputError(f"serve-mrd did not start: {said or 'it said nothing'}")
