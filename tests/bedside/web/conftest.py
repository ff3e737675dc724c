"""Frames and answers for the page, and a page that runs."""

from __future__ import annotations

import dataclasses
import http.client
import json
import struct
import time
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest

from bedside.frames import Answer, Frame
from bedside.web.board import Facts
from bedside.web.server import WebView
from cinert.data.nifti import Geometry

FACTS = Facts(bundle="b" * 64, device="a test", budget_ms=50.0, stale_ms=60_000.0, source="test frames")
SHAPE = (40, 36, 5)


def make_frame(*, row: int = 12, shape=SHAPE, arrived_s: float | None = None) -> tuple[Frame, np.ndarray]:
    """Noise with a bright block, and its mask: RV beside MYO around LV; voxels of 2 x 2 x 8 mm, 0.032 ml."""
    image = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    mask = np.zeros(shape, np.uint8)
    mask[8:12, row : row + 10, 1:4] = 1
    mask[12:22, row : row + 10, 1:4] = 2
    mask[14:20, row + 2 : row + 8, 1:4] = 3
    image[mask > 0] = 400
    arrived_ns = time.perf_counter_ns() if arrived_s is None else round(arrived_s * 1e9)
    return Frame(image, Geometry(shape, np.diag([-2.0, -2.0, 8.0, 1.0])), arrived_ns), mask


def make_answer(mask: np.ndarray | None, state="live", *, total_ms: float = 20.0, reason: str = "", quality=None):
    return Answer(state, mask, total_ms, reason, quality)


def parse(message: bytes) -> tuple[dict, dict | None, bytes]:
    """Head, story and pixels of a message, read as the page reads them."""
    head, story = struct.unpack_from("<II", message)
    return (
        json.loads(message[8 : 8 + head]),
        json.loads(message[8 + head : 8 + head + story]),
        message[8 + head + story :],
    )


class Viewer:
    """A viewer that is no browser."""

    def __init__(self, url: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self.run, self.number = "", 0

    def get(self, path: str, headers=()) -> tuple[int, dict, bytes]:
        self.connection.putrequest("GET", path, skip_host=any(name == "Host" for name, _ in headers))
        for name, value in headers:
            if value is not None:
                self.connection.putheader(name, value)
        self.connection.endheaders()
        response = self.connection.getresponse()
        return response.status, dict(response.headers), response.read()

    def newest(self, place: int = 0) -> tuple[dict, dict | None, bytes]:
        query = urlencode({"run": self.run, "after": self.number, "place": place})
        status, _, body = self.get(f"/newest?{query}")
        assert status == 200, body
        head, story, pixels = parse(body)
        self.run, self.number = head["run"], head["number"]
        return head, story, pixels

    def wait_for(self, condition, place: int = 0) -> tuple[dict, dict | None, bytes]:
        """The first message for which `condition(head, story)` is true."""
        deadline = time.monotonic() + 60
        while True:
            message = self.newest(place)
            if condition(*message[:2]):
                return message
            assert time.monotonic() < deadline, message[:2]


@pytest.fixture
def page():
    """Starts pages; `facts` differ from the usual ones."""
    running = []

    def start(*, max_viewers: int = 8, **facts) -> WebView:
        running.append(WebView("127.0.0.1", 0, dataclasses.replace(FACTS, **facts), max_viewers=max_viewers))
        return running[-1].__enter__()

    yield start
    for each in running:
        each.__exit__()


@pytest.fixture
def frame():
    return make_frame


@pytest.fixture
def answer():
    return make_answer


@pytest.fixture
def viewer():
    """Opens viewers."""
    opened = []

    def open_viewer(web: WebView) -> Viewer:
        opened.append(Viewer(web.url))
        return opened[-1]

    yield open_viewer
    for each in opened:
        each.connection.close()
