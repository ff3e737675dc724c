"""What the page costs the frames: frame to mask without it, with it, with viewers, and with one that reads nothing.

    python benchmarks/viewer_cost.py BUNDLE CINE [--fps 22] [--frames 460] [--passes 2] [--viewers 2]

A cine is replayed at a fixed pace; the four cases take turns, pass by pass, so that a busy spell of the machine hits
all alike. Viewers are processes that ask for the next message at once, as a page does. Run it on a quiet machine.
Writes benchmarks/results/DATE-viewer-cost.json.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import multiprocessing
import socket
import struct
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bedside.frames import Answer, Frame
from bedside.pipeline_runner import PipelineRunners
from bedside.web.board import Facts
from bedside.web.replay import Replay
from bedside.web.server import WebView
from cinert.backends import get_backend
from cinert.bundle import Bundle, open_bundle
from cinert.data.cine import open_cine
from cinert.data.nifti import Cine
from cinert.environment import default_threads, fingerprint
from cinert.files import check_output_file, write_json
from cinert.timing import percentiles_ms

RESULTS = Path(__file__).parent / "results"
BUDGET_MS = 50.0
CASES = ("without the page", "page, nobody looks", "page, viewers", "page, viewers and one that reads nothing")


def look(url: str, ready: Event, messages: Any) -> None:
    """Ask for the newest message until the server is gone; count them."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    run, number = "", 0
    with contextlib.suppress(OSError, HTTPException):
        while True:
            connection.request("GET", f"/newest?run={run}&after={number}")
            body = connection.getresponse().read()
            head = json.loads(body[8 : 8 + struct.unpack_from("<I", body)[0]])
            run, number = head["run"], head["number"]
            messages.value += 1
            ready.set()


@contextlib.contextmanager
def viewers(url: str, count: int, *, stuck: bool) -> Iterator[list[Any]]:
    """Viewers in processes of their own, and one that asks for much and reads nothing."""
    context = multiprocessing.get_context("spawn")
    counters = [context.Value("l", 0) for _ in range(count)]
    started = [(context.Event(), counter) for counter in counters]
    processes = [context.Process(target=look, args=(url, *each), daemon=True) for each in started]
    for process in processes:
        process.start()
    for ready, _ in started:
        ready.wait(60)
    with contextlib.ExitStack() as stack:
        if stuck:
            address = urlsplit(url)
            connection = stack.enter_context(socket.create_connection((address.hostname, address.port)))
            connection.sendall(b"GET /newest HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        yield counters
    for process in processes:
        process.terminate()
        process.join()


def run(case: str, bundle: Bundle, cine: Cine, arguments: argparse.Namespace) -> dict[str, Any]:
    """Replay once; latency of every frame, and what the viewers got."""
    told: list[Answer] = []
    facts = Facts(bundle=bundle.digest, device="", budget_ms=BUDGET_MS, stale_ms=500.0, source="benchmark")
    with contextlib.ExitStack() as stack:
        runners = stack.enter_context(
            PipelineRunners(bundle, device="auto", threads=default_threads(), budget_ms=BUDGET_MS)
        )
        page = None if case == CASES[0] else stack.enter_context(WebView("127.0.0.1", 0, facts))
        counters: list[Any] = []
        if page is not None and case in CASES[2:]:
            counters = stack.enter_context(viewers(page.url, arguments.viewers, stuck=case == CASES[3]))

        def show(frame: Frame | None, answer: Answer) -> None:
            if page is not None:
                page.publish(1, frame, answer)
            told.append(answer)
            if len(told) >= arguments.frames:
                replay.stop()

        replay = Replay(cine, fps=arguments.fps, passes=None, show=show)
        runner = stack.enter_context(contextlib.closing(runners.open()))
        started = time.perf_counter()
        replay.run(runner)
        took_s = time.perf_counter() - started
        messages = [counter.value for counter in counters]
    return {
        "total_ms": [answer.total_ms for answer in told if answer.mask is not None],
        "dropped": sum(answer.state == "dropped" for answer in told),
        "messages_per_s": [count / took_s for count in messages],
    }


def main() -> None:
    """Measure all cases and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cine", type=Path)
    parser.add_argument("--fps", type=float, default=22.0)
    parser.add_argument("--frames", type=int, default=460, help="in a pass")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--viewers", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    output = arguments.output or RESULTS / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-viewer-cost.json"
    check_output_file(output)
    bundle, cine = open_bundle(arguments.bundle), open_cine(arguments.cine)
    results: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for number in range(arguments.passes):
        for case in CASES if number % 2 == 0 else CASES[::-1]:
            results[case].append(run(case, bundle, cine, arguments))
            print(f"pass {number + 1}, {case}: {percentiles_ms(results[case][-1]['total_ms'])}")
    backend = get_backend(bundle.backend)
    document = {
        "fps": arguments.fps,
        "frames_per_pass": arguments.frames,
        "passes": arguments.passes,
        "budget_ms": BUDGET_MS,
        "shape_XYZT": list(cine.image.shape),
        "cases": {
            case: {
                **percentiles_ms([ms for each in passes for ms in each["total_ms"]]),
                "misses": sum(ms > BUDGET_MS for each in passes for ms in each["total_ms"]),
                "dropped": sum(each["dropped"] for each in passes),
                "messages_per_s": [each["messages_per_s"] for each in passes],
            }
            for case, passes in results.items()
        },
        "fingerprint": fingerprint(backend, device="auto", threads=default_threads(), precision=bundle.precision),
    }
    write_json(output, document)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
