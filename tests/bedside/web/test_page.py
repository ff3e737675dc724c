"""The page in headless Chromium: what an eye would see, and that nothing that stopped looks live."""

import os
import shutil
import tempfile
import time

import numpy as np
import pytest

from bedside.web.board import Facts
from bedside.web.server import WebView

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.webdriver.chrome.service import Service  # noqa: E402 - after the check that it is there

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,800",
)
STALE_MS = 1500.0
FACTS = Facts(bundle="c" * 64, device="another test", budget_ms=50.0, stale_ms=STALE_MS, source="test frames")

NO_FIGURE = "\N{EN DASH}"

# What the eye sees: the words, how far the veil is down, whether the slices are grey, the colours in the picture.
SEEN = """
const veil = getComputedStyle(document.getElementById("veil"));
const canvas = document.getElementById("mosaic");
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
let bright = 0, orange = 0;
for (let at = 0; at < data.length; at += 4) {
  bright += data[at] > 60;
  orange += data[at] > 150 && data[at + 1] > 60 && data[at + 1] < 140 && data[at + 2] < 60;
}
const text = (id) => document.getElementById(id).textContent;
return {
  state: document.body.className, word: text("word"), reason: text("reason"), title: document.title,
  veil: Number(veil.opacity), words: document.getElementById("veil").textContent,
  grey: getComputedStyle(canvas).filter, bright, orange,
  chipCovered: document.querySelector("#state .falls").checkVisibility({ checkOpacity: true }),
  dropped: text("dropped"), quality: text("quality"), latency: text("latency"), facts: text("facts"),
  tally: text("tally"), legend: text("legend"), body: document.body.textContent,
  lit: document.getElementById("drops").className,
};
"""


@pytest.fixture(scope="module")
def browsers():
    """Two browsers for all tests here: starting one takes longer than a test."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium and chromedriver here; Debian: apt-get install chromium chromium-driver")
    opened = []

    def start(folder):
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={folder}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        opened.append(webdriver.Chrome(options=options, service=Service(driver)))
        return opened[-1]

    # Its own driver is looked for on the network otherwise.
    os.environ["SE_OFFLINE"] = "true"
    with tempfile.TemporaryDirectory(prefix="cinert-chromium-", ignore_cleanup_errors=True) as folder:
        yield [start(f"{folder}/{number}") for number in (1, 2)]
        for each in opened:
            each.quit()


@pytest.fixture
def browser(browsers):
    yield browsers[0]
    for each in browsers:
        # A page that is left open would go on asking a server that is gone.
        each.get("about:blank")
        each.get_log("browser")


class Feed:
    """Publishes answers while the eye looks, so that the picture stays fresh."""

    def __init__(self, web, frame, answer) -> None:
        self.web = web
        self.frame = frame
        self.answer = answer

    def mask(self, state="live", *, place=1, row=12, **named) -> None:
        image, mask = self.frame(row=row)
        self.web.publish(place, image, self.answer(mask, state, **named))

    def without(self, state, reason) -> None:
        self.web.publish(1, None, self.answer(None, state, total_ms=0.0, reason=reason))

    def until(self, browser, condition, publish=None) -> dict:
        """Publish again and again until the page shows what is asked for."""
        deadline = time.monotonic() + 90
        while True:
            if publish is not None:
                publish()
            seen = browser.execute_script(SEEN)
            if condition(seen):
                return seen
            assert time.monotonic() < deadline, {key: value for key, value in seen.items() if key != "body"}
            time.sleep(0.02)


@pytest.fixture
def feed(page, frame, answer):
    return Feed(page(stale_ms=STALE_MS), frame, answer)


def is_state(state):
    return lambda seen: seen["state"] == f"state-{state}"


def assert_veiled(seen) -> None:
    assert seen["veil"] == 1
    assert "grayscale(1)" in seen["grey"]


def test_before_the_first_frame_the_page_says_so(feed, browser) -> None:
    browser.get(feed.web.url)

    seen = feed.until(browser, is_state("waiting"))

    assert seen["word"] == "NO IMAGES YET"
    assert_veiled(seen)


def test_slices_and_masks_are_shown_live(feed, browser) -> None:
    browser.get(feed.web.url)

    seen = feed.until(browser, is_state("live"), lambda: feed.mask(quality=0.875))

    assert (seen["word"], seen["title"][0], seen["veil"], seen["chipCovered"]) == ("LIVE", "●", 0, False)
    assert "grayscale" not in seen["grey"]
    assert seen["bright"] > 1000
    # The LV's contour, in its colour.
    assert seen["orange"] > 100
    assert seen["quality"] == "0.88"
    assert seen["latency"] == "20.0"
    assert seen["legend"] == "RVMYOLV"
    for words in ("b" * 16, "a test", "test frames", "budget 50 ms"):
        assert words in seen["facts"]
    assert "Not a medical device" in seen["body"]
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_charts_show_both_ventricles_and_the_budget(feed, browser) -> None:
    browser.get(feed.web.url)
    feed.until(browser, is_state("live"), feed.mask)

    for canvas, colours in {
        "volumes": ((213, 94, 0), (86, 180, 233)),
        "strip": ((0, 158, 115), (238, 238, 238)),
    }.items():
        pixels = browser.execute_script(
            "const c = document.getElementById(arguments[0]);"
            "return Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data);",
            canvas,
        )
        drawn = np.asarray(pixels, np.uint8).reshape(-1, 4)
        for colour in colours:
            near = np.abs(drawn[:, :3].astype(int) - colour).max(axis=1) < 12
            assert (near & (drawn[:, 3] > 200)).sum() > 3, (canvas, colour)


@pytest.mark.parametrize(
    ("state", "word", "reason"),
    [("late", "LATE", "61.0 ms after arrival"), ("unsure", "UNSURE", "the volume fell by 40 ml")],
)
def test_a_mask_that_is_not_live_is_shown_with_its_state(feed, browser, state: str, word: str, reason: str) -> None:
    browser.get(feed.web.url)

    seen = feed.until(browser, is_state(state), lambda: feed.mask(state, reason=reason, total_ms=61.0))

    assert (seen["word"], seen["reason"], seen["veil"]) == (word, reason, 0)
    assert seen["orange"] > 50


def test_a_failure_veils_the_picture_until_a_mask_comes(feed, browser) -> None:
    browser.get(feed.web.url)
    feed.until(browser, is_state("live"), feed.mask)

    seen = feed.until(browser, is_state("failed"), lambda: feed.without("failed", "RuntimeError: gone"))
    assert (seen["word"], seen["reason"]) == ("FAILED", "RuntimeError: gone")
    assert_veiled(seen)

    feed.until(browser, is_state("live"), feed.mask)


def test_a_mask_of_an_older_frame_is_veiled(feed, browser) -> None:
    browser.get(feed.web.url)

    seen = feed.until(browser, is_state("stale"), lambda: feed.mask("stale", reason="the engine is started again"))

    assert seen["reason"] == "the engine is started again"
    assert_veiled(seen)


def test_a_drop_between_masks_is_counted_and_hides_nothing(feed, browser) -> None:
    def both() -> None:
        feed.without("dropped", "a newer frame came before its turn")
        feed.mask()

    browser.get(feed.web.url)
    seen = feed.until(browser, lambda seen: is_state("live")(seen) and seen["lit"] == "lit", both)

    assert int(seen["dropped"]) >= 1
    assert seen["veil"] == 0


def test_drops_alone_are_a_state(feed, browser) -> None:
    browser.get(feed.web.url)

    seen = feed.until(browser, is_state("dropped"), lambda: feed.without("dropped", "pixels are not finite"))

    assert seen["reason"] == "pixels are not finite"
    assert_veiled(seen)


def test_stale_when_no_frame_comes_any_more(feed, browser) -> None:
    browser.get(feed.web.url)
    feed.until(browser, is_state("live"), feed.mask)

    seen = feed.until(browser, is_state("stale"))

    assert_veiled(seen)
    assert "STALE" in seen["words"]
    assert "s old" in seen["words"]
    assert seen["latency"] == NO_FIGURE
    feed.until(browser, lambda later: later["words"] != seen["words"])
    feed.until(browser, is_state("live"), feed.mask)


def test_no_connection_when_the_server_ends_and_live_when_one_is_there_again(feed, browser) -> None:
    browser.get(feed.web.url)
    feed.until(browser, is_state("live"), feed.mask)

    feed.web.__exit__()
    seen = feed.until(browser, is_state("lost"))
    assert (seen["word"], seen["title"][0]) == ("NO CONNECTION", "⊘")
    assert_veiled(seen)

    with WebView("127.0.0.1", feed.web.server_address[1], FACTS) as again:
        other = Feed(again, feed.frame, feed.answer)
        other.until(browser, is_state("live"), other.mask)


def test_no_connection_when_the_server_hangs(feed, browser, monkeypatch) -> None:
    browser.get(feed.web.url)
    feed.until(browser, is_state("live"), feed.mask)

    monkeypatch.setattr("bedside.web.board.Board.newest", lambda *_, **__: time.sleep(6) or b"")
    seen = feed.until(browser, is_state("lost"))

    assert_veiled(seen)


def test_the_picture_goes_stale_even_where_the_script_stands_still(feed, browser) -> None:
    """The veil comes down by the browser's own clock; with all timers and requests gone nothing else would do it."""
    browser.get(feed.web.url)
    stop = (
        "if (document.body.className !== 'state-live') { return false; }"
        "window.fetch = Response.prototype.arrayBuffer = () => new Promise(() => {});"
        "window.requestAnimationFrame = () => 0;"
        "for (let id = 0; id < 1e5; id += 1) { clearInterval(id); clearTimeout(id); } return true;"
    )
    deadline = time.monotonic() + 90
    while not browser.execute_script(stop):
        feed.mask()
        assert time.monotonic() < deadline

    seen = feed.until(browser, lambda seen: seen["veil"] == 1)

    assert seen["word"] == "LIVE"
    assert seen["chipCovered"]
    assert_veiled(seen)


def test_a_picture_that_cannot_be_drawn_is_not_taken_for_the_new_one(feed, browser) -> None:
    browser.get(feed.web.url)
    feed.until(browser, is_state("live"), feed.mask)

    browser.execute_script("CanvasRenderingContext2D.prototype.drawImage = () => { throw new Error('no canvas'); };")
    seen = feed.until(browser, is_state("lost"), feed.mask)

    assert seen["reason"] == "no canvas"
    assert_veiled(seen)
    # It does not look live in between either.
    for _ in range(20):
        feed.mask()
        assert browser.execute_script(SEEN)["word"] != "LIVE"


def test_two_viewers_see_the_same_frame(feed, browser, browsers) -> None:
    for each in browsers:
        each.get(feed.web.url)
    for each in browsers:
        feed.until(each, is_state("live"), feed.mask)

    counts = [feed.until(each, lambda seen: "live" in seen["tally"]) for each in browsers]
    for each in browsers:
        feed.until(each, lambda seen: seen["latency"] == "12.5", lambda: feed.mask(total_ms=12.5))
    assert all(seen["orange"] > 100 for seen in counts)


def test_another_source_is_chosen_by_its_button(feed, browser) -> None:
    def both() -> None:
        feed.mask(total_ms=11.0)
        feed.mask(place=2, total_ms=22.0)

    browser.get(feed.web.url)
    feed.until(browser, lambda seen: "client 2" in seen["body"] and is_state("live")(seen), both)
    browser.execute_script("document.querySelectorAll('#places button')[1].click()")
    feed.until(browser, lambda seen: seen["latency"] == "22.0", both)
    browser.execute_script("document.querySelectorAll('#places button')[0].click()")
    feed.until(browser, lambda seen: seen["latency"] == "11.0", both)


def test_a_narrow_window_shows_everything(feed, browser) -> None:
    browser.get(feed.web.url)
    try:
        browser.set_window_size(500, 900)
        feed.until(browser, lambda seen: is_state("live")(seen) and seen["orange"] > 50, feed.mask)
        wide = browser.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide[0] <= wide[1]
    finally:
        browser.set_window_size(1280, 800)


def test_words_from_a_client_are_words(feed, browser) -> None:
    browser.get(feed.web.url)
    seen = feed.until(
        browser, is_state("failed"), lambda: feed.without("failed", "<img src=x onerror=alert(1)><b>bold</b>")
    )

    assert seen["reason"] == "<img src=x onerror=alert(1)><b>bold</b>"
    assert browser.execute_script("return document.querySelectorAll('#reason *').length") == 0
