"""The page's server without a browser: what a message says, who is refused, and that nobody delays a frame."""

import socket
import threading
import time
import tracemalloc
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest

from bedside.frames import Frame
from bedside.web.board import Facts
from bedside.web.server import WebView, is_own_host
from cinert.errors import BadInputError


def test_a_message_tells_of_the_newest_answer(page, viewer, frame, answer) -> None:
    web = page()
    image, mask = frame()
    web.publish(2, image, answer(mask, "unsure", total_ms=31.26, reason="it jumped", quality=0.4))

    head, story, pixels = viewer(web).wait_for(lambda _, story: story is not None)

    assert (head["place"], head["places"], head["facts"]["bundle"]) == (2, [2], "b" * 64)
    assert head["now_s"] >= image.arrived_ns / 1e9
    assert story["newest"]["state"] == "unsure"
    assert (story["picture"]["reason"], story["picture"]["quality"]) == ("it jumped", 0.4)
    assert story["picture"]["total_ms"] == 31.26
    assert story["counts"] == {"unsure": 1}
    # 108 and 120 voxels a slice, three slices, 0.032 ml each.
    assert story["volumes"] == [[pytest.approx(image.arrived_ns / 1e9, abs=1e-3), 3.5, 3.8]]
    assert len(pixels) == 2 * np.prod(story["picture"]["shape_SYX"])


def test_the_picture_is_the_mask_where_it_lies(page, viewer, frame, answer) -> None:
    web = page()
    image, mask = frame(row=4)
    web.publish(1, image, answer(mask))

    _, story, pixels = viewer(web).wait_for(lambda _, story: story is not None)

    shape = story["picture"]["shape_SYX"]
    grey, label = np.frombuffer(pixels, np.uint8).reshape(2, *shape)
    assert story["picture"]["slices"] == [1, 2, 3, 4, 5]
    # The affine runs to the Left and to Posterior, as the network's axes do: (z, y, x) is (k, j, i).
    for number in range(5):
        np.testing.assert_array_equal(np.unique(label[number]), np.unique(mask[..., number]))
    assert (label == 3).sum() == (mask == 3).sum()
    assert grey[label > 0].min() > grey[label == 0].max()


def test_without_frames_a_viewer_is_answered_all_the_same(page, viewer) -> None:
    head, story, pixels = viewer(page()).newest()

    assert (head["number"], head["places"], story, pixels) == (0, [], None, b"")


def test_a_drop_and_a_failure_keep_the_last_picture_and_say_so(page, viewer, frame, answer) -> None:
    web = page()
    image, mask = frame()
    web.publish(1, image, answer(mask))
    web.publish(1, None, answer(None, "dropped", total_ms=0.0, reason="a newer frame came before its turn"))
    web.publish(1, image, answer(None, "failed", reason="RuntimeError: gone"))

    _, story, _ = viewer(web).wait_for(lambda _, story: story is not None and story["newest"]["state"] == "failed")

    assert story["picture"]["state"] == "live"
    assert story["counts"] == {"live": 1, "dropped": 1, "failed": 1}
    assert [state for _, _, state in story["latencies"]] == ["live", "dropped", "failed"]


def test_the_mask_of_an_older_frame_adds_nothing_to_the_curve(page, viewer, frame, answer) -> None:
    web, (image, mask) = page(), frame()
    web.publish(1, image, answer(mask))
    one = viewer(web)
    one.wait_for(lambda _, story: story is not None and len(story["volumes"]) == 1)
    web.publish(1, frame()[0], answer(mask, "stale", reason="the engine is started again"))

    _, story, _ = one.wait_for(lambda _, story: story["picture"]["state"] == "stale")

    assert len(story["volumes"]) == 1


def test_the_picture_is_as_old_as_its_frame(page, viewer, frame, answer) -> None:
    web = page()
    image, mask = frame(arrived_s=time.perf_counter() - 7)
    web.publish(1, image, answer(mask))

    head, story, _ = viewer(web).wait_for(lambda _, story: story is not None)

    assert head["now_s"] - story["picture"]["arrived_s"] >= 7


def test_two_sources_are_kept_apart(page, viewer, frame, answer) -> None:
    web = page()
    image, mask = frame()
    web.publish(1, image, answer(mask))
    web.publish(3, image, answer(None, "failed", reason="RuntimeError: gone"))
    one = viewer(web)

    head, story, _ = one.wait_for(lambda _, story: story is not None, place=1)
    other = one.wait_for(lambda _, story: story is not None, place=3)

    assert head["places"] == [1, 3]
    assert (story["newest"]["state"], other[1]["newest"]["state"], other[1]["picture"]) == ("live", "failed", None)


def test_an_image_that_cannot_be_drawn_is_said_and_the_next_is_drawn(page, viewer, frame, answer) -> None:
    web = page()
    image, mask = frame()
    one = viewer(web)
    web.publish(1, image, answer(mask[:-1]))
    _, broken, pixels = one.wait_for(lambda _, story: story is not None)
    web.publish(1, image, answer(mask))
    _, story, _ = one.wait_for(lambda _, story: story["picture"] is not None)

    assert broken["problem"]
    assert (broken["picture"], pixels) == (None, b"")
    assert story["problem"] == ""


def test_a_slow_viewer_gets_the_newest_and_delays_nobody(page, viewer, frame, answer) -> None:
    """A viewer that takes nothing: frames go on, another viewer sees the last, and the slow one then gets that too."""
    web = page()
    shape = (200, 200, 12)
    image, mask = frame(row=100, shape=shape)
    slow, quick = viewer(web), viewer(web)
    slow.newest()
    address = urlsplit(web.url)
    stuck = socket.create_connection((address.hostname, address.port), timeout=60)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # Asks for much and reads nothing.
    stuck.sendall(b"GET /newest HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
    for number in range(60):
        web.publish(1, image, answer(mask, total_ms=float(number)))

    _, story, _ = quick.wait_for(lambda _, story: story is not None and story["newest"]["total_ms"] == 59)
    head, late, _ = slow.newest()

    assert late["newest"]["total_ms"] == 59
    assert head["number"] == 60
    assert story["counts"] == {"live": 60}
    stuck.close()


def test_memory_is_bounded_whoever_looks(page, viewer, frame, answer) -> None:
    web = page()
    image, mask = frame(shape=(128, 128, 10))

    def publish(count: int) -> None:
        for _ in range(count):
            web.publish(1, Frame(image.image.copy(), image.geometry, time.perf_counter_ns()), answer(mask.copy()))

    one = viewer(web)
    publish(600)
    one.wait_for(lambda _, story: story is not None and story["counts"] == {"live": 600})
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    publish(600)
    _, story, _ = one.wait_for(lambda _, story: story["counts"] == {"live": 1200})
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    # The newest frame and its message are kept; 600 frames would be 490 MB.
    assert grown < 4 * image.image.nbytes
    assert len(story["latencies"]) < 200
    assert len(story["volumes"]) < 600


def test_nothing_is_painted_while_nobody_looks(page, viewer, frame, answer, monkeypatch) -> None:
    cuts = []
    monkeypatch.setattr("bedside.web.source.Mosaic.cut", lambda *arguments: cuts.append(arguments) or 1 / 0)
    web = page()
    image, mask = frame()
    for _ in range(5):
        web.publish(1, image, answer(mask))
    deadline = time.monotonic() + 60
    while web.board._measured.get(1, 0) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    assert cuts == []
    _, story, _ = viewer(web).wait_for(lambda _, story: story is not None)
    assert cuts
    assert "ZeroDivisionError" in story["problem"]
    assert story["volumes"]


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "localhost:80", "[::1]:8080", "192.168.3.4"])
def test_hosts_that_are_served(host: str) -> None:
    assert is_own_host(host)


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:8080", "localhost.evil.example", "[::1", "a@127.0.0.1.example"]
)
def test_hosts_that_are_refused(page, viewer, host) -> None:
    status, headers, body = viewer(page()).get("/newest", [("Host", host)])

    assert status in {400, 421}, body
    assert b"places" not in body
    assert "Access-Control-Allow-Origin" not in headers


def test_every_answer_forbids_what_is_not_its_own(page, viewer) -> None:
    one = viewer(page())
    for path in ("/", "/main.js", "/style.css", "/newest"):
        status, headers, body = one.get(path)
        assert status == 200
        assert body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Server"] == "cinert"


def test_the_page_names_nothing_outside(page) -> None:
    for path, (_, content) in page().page.items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert "//" not in "".join(line.split("// ")[0] for line in text.splitlines()), path


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../server.py", 404),
        ("/nothing", 404),
        ("//[", 404),
        ("/newest?after=-1", 400),
        ("/newest?after=" + "9" * 40, 400),
        ("/newest?place=x", 400),
        ("/newest?after=%C2%B2", 400),
    ],
)
def test_what_is_not_there_is_refused(page, viewer, path: str, status: int) -> None:
    assert viewer(page()).get(path)[0] == status


def test_other_methods_are_refused(page) -> None:
    address = urlsplit(page().url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(b"POST /newest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
        assert connection.recv(100).startswith(b"HTTP/1.1 501")


def test_half_a_request_and_noise_harm_nobody(page, viewer, frame, answer) -> None:
    web, (image, mask) = page(), frame()
    address = urlsplit(web.url)
    for noise in (b"GET /ne", b"\x00\xff" * 500, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300, b"G" * 70_000):
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            connection.sendall(noise)
    web.publish(1, image, answer(mask))

    assert viewer(web).wait_for(lambda _, story: story is not None)[1]["counts"] == {"live": 1}


def test_too_many_viewers_are_told_so(page, viewer) -> None:
    web = page(max_viewers=1)
    first, second, third = viewer(web), viewer(web), viewer(web)
    first.newest()
    second.newest()

    assert third.get("/")[0] == 503
    first.connection.close()
    deadline = time.monotonic() + 60
    while viewer(web).get("/")[0] == 503:
        assert time.monotonic() < deadline


def test_a_viewer_that_asks_without_end_is_answered_at_a_rate(page, viewer, frame, answer, monkeypatch) -> None:
    waited = []
    monkeypatch.setattr("bedside.mrd.pace.time", SimpleNamespace(monotonic=time.monotonic, sleep=waited.append))
    web, (image, mask) = page(), frame()
    web.publish(1, image, answer(mask))
    one = viewer(web)
    one.wait_for(lambda _, story: story is not None)
    started = time.monotonic()
    while not waited:
        # Without the server's name every request is answered at once.
        assert one.get("/newest")[0] == 200
        assert time.monotonic() - started < 60

    assert 0 < waited[0] <= 1 / 40


def test_publishing_never_waits_for_the_painter(page, viewer, frame, answer, monkeypatch) -> None:
    painting, go_on = threading.Event(), threading.Event()

    def stands_still(*_: object) -> None:
        painting.set()
        assert go_on.wait(60)

    monkeypatch.setattr("bedside.web.source.Source.measure", stands_still)
    web, (image, mask) = page(), frame()
    web.publish(1, image, answer(mask))
    assert painting.wait(60)
    for _ in range(100):
        web.publish(1, image, answer(mask))

    # All were taken while the painter stood still.
    assert web.board._sources[1].counts == {"live": 101}
    go_on.set()


def test_a_port_that_is_taken(page) -> None:
    web = page()
    port = urlsplit(web.url).port
    with pytest.raises(BadInputError, match=rf"cannot listen on 127\.0\.0\.1 port {port} for the page"):
        WebView("127.0.0.1", port, Facts(bundle="b", device="", budget_ms=50.0, stale_ms=500.0, source=""))
