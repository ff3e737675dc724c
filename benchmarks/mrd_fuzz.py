"""Spoiled MRD sessions against a running server: no crash, no hang, no growth.

    python benchmarks/mrd_fuzz.py [--minutes 10] [--seed 0]

Two good sessions are recorded, one whose texts end in a NUL and one whose do not. Bytes of them are changed, cut out or
put in, and they are sent in turn; every hundredth time both are sent as they are and have to be answered in full. No
text that comes back may have words of Python or of a parser. The engine is a stand-in: what is tried is the protocol.
The server is a process of its own, so that its memory is told from the fuzzer's: resident memory, which an allocator
that keeps pages lets grow, and the objects that Python holds, which only a leak lets grow. Writes
benchmarks/results/DATE-mrd-fuzz.json.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import datetime
import gc
import json
import logging
import multiprocessing
import random
import re
import socket
import sys
import threading
import time
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import psutil
from ismrmrd.serialization import ConfigFile
from xsdata.exceptions import ConverterWarning

from bedside.frames import Answer, Frame
from bedside.mrd.client import document_of, frame_images
from bedside.mrd.limits import Limits
from bedside.mrd.messages import Close, DisconnectedError, Text
from bedside.mrd.server import Address, MrdServer
from bedside.mrd.session import Service
from bedside.mrd.wire import MessageReader, MessageWriter
from cinert.data.nifti import Cine, Geometry
from cinert.environment import library_version
from cinert.files import write_json

RESULTS = Path(__file__).parent / "results"
LIMITS = Limits(
    max_text_bytes=2**20,
    max_image_bytes=2**26,
    max_held_bytes=2**26,
    max_images_per_s=1e6,
    max_slices=64,
    idle_s=1.0,
    stall_s=1.0,
)
SLICES, PHASES = 3, 4
FOREIGN = re.compile(r"Error|Exception|Traceback|Errno|None|object|<class|codec|unpack|well-formed|invalid token")


class Everything:
    """Answers that every voxel is LV."""

    def submit(self, frame: Frame) -> Answer:
        """Give a full mask."""
        return Answer("live", np.full(frame.image.shape, 3, np.uint8), 0.0)

    def close(self) -> None:
        """Hold nothing."""


def good_session(*, nul: bool) -> bytes:
    """A session of 4 frames of 3 slices, with parameters and attributes; its texts end in a NUL or do not."""
    image = np.random.default_rng(0).integers(0, 1000, (16, 12, SLICES, PHASES)).astype(np.float32)
    geometry = Geometry((16, 12, SLICES), np.diag([2.0, 2.0, 8.0, 1.0]))
    cine = Cine(image, geometry, nib.Nifti1Header(), 40.0)
    ours, theirs = socket.socketpair()
    with ours, theirs, theirs.makefile("rb") as tape:
        writer = MessageWriter(ours, LIMITS, nul=nul)
        writer.send(ConfigFile("cinert"), document_of(cine), json.dumps({"parameters": {"config": "cinert"}}))
        for phase in range(PHASES):
            for each in frame_images(cine, phase, repetition=0, time_ms=0.0):
                each.meta = {"ImageRowDir": ["1", "0", "0"], "ImageColumnDir": ["0", "1", "0"]}
                writer.send(each)
        writer.close()
        ours.shutdown(socket.SHUT_WR)
        return tape.read()


def spoiled(stream: bytes, chance: random.Random) -> bytes:
    """Change, cut out or put in a few bytes, mostly behind the name of the configuration."""
    data = bytearray(stream)
    for _ in range(chance.randint(1, 5)):
        place = chance.randrange(len(data)) if chance.random() < 0.3 else chance.randrange(1024, len(data))
        kind = chance.randrange(4)
        if kind == 0:
            data[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[place : place + chance.randrange(1, 300)] = b""
        elif kind == 2:
            data[place:place] = chance.randbytes(chance.randrange(1, 40))
        else:
            size = chance.choice((1, 2, 4, 8))
            data[place : place + size] = chance.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * size
        if len(data) < 1100:
            break
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.1 else data)


def send(address: Address, data: bytes) -> Counter[str]:
    """Send a session; the kinds of messages that come back before the server hangs up, counted.

    Raises:
        AssertionError: a text has words that are not this product's.
    """
    kinds: Counter[str] = Counter()
    try:
        with socket.create_connection((address.host, address.port), timeout=30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            reader = MessageReader(connection, dataclasses.replace(LIMITS, idle_s=30.0, stall_s=30.0))
            while not isinstance(message := reader.read(), Close):
                kinds[type(message).__name__] += 1
                if isinstance(message, Text):
                    # What was sent may be quoted.
                    assert not FOREIGN.search(re.sub(r"'.*'", "", message.text)), message.text
    except (OSError, DisconnectedError):
        pass
    return kinds


def serve(pipe: Connection) -> None:
    """The server's process: sends its port, then its state whenever it is asked, and ends with the pipe."""
    # As serve-mrd does.
    warnings.filterwarnings("ignore", category=ConverterWarning)
    logging.getLogger("xsdata").setLevel(logging.ERROR)
    lines: Counter[str] = Counter()
    died: list[str] = []
    threading.excepthook = lambda arguments: died.append(repr(arguments.exc_value))
    service = Service(open_runner=Everything, limits=LIMITS, bundle="f" * 64, slices=None, queue=PHASES)
    # Without its numbers a line is a kind of ending.
    with MrdServer(
        Address("127.0.0.1", 0),
        service,
        max_clients=8,
        log=lambda line: lines.update([re.sub(r"[\d.]+|'.*?'", "#", line.split(": ", 1)[1])[:60]]),
        watch=lambda *_: None,
    ) as server:
        pipe.send(server.address.port)
        try:
            while True:
                pipe.send(state_of(lines, died, trim=pipe.recv()))
        except EOFError:
            return


def state_of(lines: Counter[str], died: list[str], *, trim: bool) -> dict[str, Any]:
    """Memory, threads, exceptions and endings of the server's process.

    Args:
        lines: kinds of endings, counted.
        died: exceptions that ended a thread.
        trim: give what the allocator only keeps back to the system first.
    """
    gc.collect()
    if trim:
        ctypes.CDLL(None).malloc_trim(0)
    return {
        "resident_mib": round(psutil.Process().memory_info().rss / 2**20, 1),
        "blocks": sys.getallocatedblocks(),
        "threads": threading.active_count(),
        "exceptions": died,
        "endings": dict(lines.most_common(40)),
        "kinds": len(lines),
    }


def main() -> None:
    """Fuzz for the time given; fail on the first thing that is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    theirs.close()
    address = Address("127.0.0.1", pipe.recv())

    def ask(*, trim: bool = False) -> dict[str, Any]:
        pipe.send(trim)
        state: dict[str, Any] = pipe.recv()
        assert not state["exceptions"], state["exceptions"]
        return state

    streams, chance = [good_session(nul=nul) for nul in (False, True)], random.Random(arguments.seed)
    expected = send(address, streams[0])
    assert expected["Image"] == SLICES * PHASES, expected
    sessions, slowest_s = 0, 0.0
    states = [ask()]
    begun = time.monotonic()
    while time.monotonic() - begun < 60 * arguments.minutes:
        begin = time.monotonic()
        send(address, spoiled(streams[sessions % 2], chance))
        slowest_s = max(slowest_s, time.monotonic() - begin)
        sessions += 1
        if sessions % 100 == 0:
            for stream in streams:
                assert send(address, stream) == expected, "a good session is answered otherwise than at first"
        if time.monotonic() - begun > 60 * len(states):
            states.append(ask())
    time.sleep(3)
    last, trimmed = ask(), ask(trim=True)
    pipe.close()
    server.join(timeout=10)
    assert server.exitcode == 0, server.exitcode
    document = {
        "date": datetime.date.today().isoformat(),
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "sessions": sessions,
        "slowest_s": round(slowest_s, 3),
        "threads_left": last["threads"],
        "exceptions": last["exceptions"],
        "resident_mib_by_minute": [state["resident_mib"] for state in (*states, last)],
        "resident_mib_after_malloc_trim": trimmed["resident_mib"],
        "allocated_blocks_by_minute": [state["blocks"] for state in (*states, last)],
        "kinds_of_endings": last["kinds"],
        "endings": last["endings"],
        "versions": {name: library_version(name) for name in ("ismrmrd", "xsdata", "numpy")},
    }
    write_json(RESULTS / f"{document['date']}-mrd-fuzz.json", document)
    assert last["threads"] <= 3, last["threads"]


if __name__ == "__main__":
    main()
