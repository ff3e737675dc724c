"""What is written: a line per frame, over kills, full files and full disks, and never in the way of a frame."""

import errno
import hashlib
import json
import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import bedside.audit.log
from bedside.audit.chain import FILES, Chain, rotated
from bedside.audit.record import Moment
from bedside.audit.verify import verify_audit
from bedside.frames import Answer
from cinert.errors import BadInputError


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def test_a_line_per_frame(written: Path, answer) -> None:
    opened, *frames, closed = lines(written)

    assert (opened["kind"], opened["service"], closed["kind"]) == ("opened", "test", "closed")
    assert [each["number"] for each in frames] == list(range(2, 12))
    for seed, each in enumerate(frames):
        assert each["place"] == 1 + seed % 2
        assert each["mask"] == hashlib.sha256(answer(seed).mask.tobytes()).hexdigest()
        assert each["shape"] == [3, 4, 2]
        assert (each["state"], each["total_ms"], each["quality"], each["reason"]) == ("live", 31.25, None, "")
        assert (each["bundle"], each["engine"]) == ("b" * 64, "e" * 64)
        assert each["at"].endswith("Z")
    steady = [each["monotonic_ns"] for each in frames]
    assert steady == sorted(steady)


def test_the_hash_of_a_line_is_that_of_the_line_without_it(written: Path) -> None:
    """As a reader would check it who has nothing but the documentation."""
    before = "0" * 64
    for line in written.read_text().splitlines():
        start, _, digest = line.removesuffix('"}').rpartition(',"hash":"')
        assert hashlib.sha256(f"{start}}}".encode()).hexdigest() == digest
        assert json.loads(line)["previous"] == before
        before = digest


def test_lines_are_as_the_schema_says(path: Path, open_log, answer, repository: Path) -> None:
    schema = json.loads((repository / "docs" / "schemas" / "audit-line.schema.json").read_text())
    validator = Draft202012Validator(schema)
    settings = {"service": "test", "cinert": "0", "bundle": "b" * 64, "engine": "e" * 64, "engine_files": {}}
    for number in range(FILES + 2):
        with open_log(FILES * 700, {**settings, "device": "CPU", "budget_ms": 50.0, "key": None}) as log:
            log.note(1, answer(quality=0.5))
            log.note(1, Answer("dropped", None, 0.0, "a newer frame came"))
            log._count_lost(number % 2)
        with path.open("ab") as stream:
            stream.write(b'{"number":')

    seen = [line for each in [*rotated(path), path] for line in lines(each)]
    assert {each["kind"] for each in seen} == {"opened", "frame", "lost", "torn", "removed", "closed"}
    for each in seen:
        assert [error.message for error in validator.iter_errors(each)] == []
        for key in each:
            assert not validator.is_valid({other: value for other, value in each.items() if other != key}), key
        assert not validator.is_valid({**each, "surprise": 1})
    assert not validator.is_valid({**seen[-1], "kind": "ended"})


def test_frames_without_mask_and_odd_figures(path: Path, open_log, answer) -> None:
    with open_log() as log:
        log.note(1, Answer("dropped", None, 0.0, "a newer frame came"))
        log.note(1, answer(total_ms=np.float32(12.5), quality=np.float64(0.87654321)))
        log.note(1, answer(total_ms=float("nan"), quality=float("inf"), reason='"\n\x00é' + "x" * 10_000))

    dropped, numpy, odd = lines(path)[1:-1]
    assert (dropped["state"], dropped["mask"], dropped["shape"]) == ("dropped", None, None)
    assert (numpy["total_ms"], numpy["quality"]) == (12.5, 0.8765)
    assert (odd["total_ms"], odd["quality"]) == (None, None)
    assert odd["reason"].startswith('"\n\x00é')
    assert len(odd["reason"]) == 500
    assert not verify_audit(path).problems


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mask_is_hashed_as_its_values_lie(path: Path, open_log, order: str) -> None:
    mask = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    with open_log() as log:
        log.note(1, Answer("live", np.asarray(mask, order=order), 1.0))

    assert lines(path)[1]["mask"] == hashlib.sha256(bytes(range(24))).hexdigest()


def test_a_second_run_goes_on_with_the_chain(written: Path, open_log, answer) -> None:
    with open_log() as log:
        log.note(1, answer())

    assert [each["number"] for each in lines(written)] == list(range(1, 16))
    assert not verify_audit(written).problems


@pytest.mark.parametrize("keep", [1, 5, 40, 200, -2])
def test_half_a_line_at_the_end_is_noted_and_the_chain_goes_on(written: Path, open_log, answer, keep: int) -> None:
    *whole, last = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join(whole) + last[:keep])
    killed = verify_audit(written)

    with open_log() as log:
        log.note(1, answer())

    assert not killed.problems
    assert "half a line" in killed.notes[0]
    report = verify_audit(written)
    assert not report.problems
    assert report.notes == ["audit.jsonl line 12 is half a line: the service was killed, or could not write"]
    torn = lines(written)[-4]
    assert (torn["kind"], torn["number"], torn["bytes"]) == ("torn", 12, len(last[:keep]))


def test_a_line_that_lacks_its_end_alone_is_a_line(written: Path, open_log, answer) -> None:
    written.write_bytes(written.read_bytes()[:-1])
    assert not verify_audit(written).problems

    with open_log() as log:
        log.note(1, answer())

    assert [each["number"] for each in lines(written)] == list(range(1, 16))
    assert verify_audit(written).notes == []


def test_killed_again_while_it_noted_the_half_line(written: Path, open_log, answer) -> None:
    content = written.read_bytes()
    written.write_bytes(content + b'{"number":13,"at"\n{"number":13,"at":"20')

    with open_log() as log:
        log.note(1, answer())

    report = verify_audit(written)
    assert not report.problems
    assert report.states["live"] == 11


@pytest.mark.parametrize("left", [b"", b"{", b'{"number":1,"at"'])
def test_killed_in_the_first_line(path: Path, open_log, left: bytes) -> None:
    path.write_bytes(left)

    with open_log():
        pass

    assert not verify_audit(path).problems
    assert lines(path)[-1]["number"] == (3 if left else 2)


@pytest.mark.parametrize("text", ["a letter\n", "a letter", '{"name": "b"}\n', "\n", "\x00" * 100])
def test_a_file_of_something_else_is_not_appended_to(path: Path, open_log, text: str) -> None:
    path.write_text(text)

    with pytest.raises(BadInputError, match="is no audit log"):
        open_log()
    assert path.read_text() == text


@pytest.mark.parametrize("change", [(b'"kind":"closed"', b'"kind":"opened"'), (b'"hash"', b'"hush"'), (b'"}', b'"]')])
def test_a_log_whose_last_line_was_changed_is_not_continued(written: Path, open_log, change) -> None:
    *whole, last = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join(whole) + last.replace(*change))

    with pytest.raises(BadInputError, match="its last line was changed"):
        open_log()


def test_two_services_cannot_write_one_log(path: Path, open_log) -> None:
    with open_log(), pytest.raises(BadInputError, match="another process writes the audit log"):
        open_log()
    with open_log():
        pass


def test_a_place_that_cannot_be_written_is_said_at_the_start(path: Path, open_log) -> None:
    path.mkdir()

    with pytest.raises(BadInputError, match="it is a folder"):
        open_log()


def test_the_size_is_bounded_and_the_chain_carried_over(path: Path, open_log, answer) -> None:
    limit = FILES * 2000
    for _ in range(30):
        with open_log(limit) as log:
            for seed in range(5):
                log.note(1, answer(seed))

    files = [*rotated(path), path]
    assert len(files) == FILES
    assert sum(each.stat().st_size for each in files) < limit + FILES * 6 * 700
    report = verify_audit(path)
    assert not report.problems
    assert report.first > 1
    assert "were removed with the oldest files" in report.notes[0]
    assert report.last.number > 30 * 7


def test_a_crash_between_two_files(written: Path, open_log) -> None:
    """The full file was renamed, and the new one not made yet."""
    written.rename(written.with_name("audit.jsonl.000001"))

    with open_log():
        pass

    assert [each["number"] for each in lines(written)] == [13, 14]
    assert not verify_audit(written).problems


class Stuck:
    """Holds the writing thread for as long as a test likes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.reached = threading.Event(), threading.Event()
        write = os.write

        def waiting(descriptor: int, data: bytes) -> int:
            self.reached.set()
            assert self.go.wait(60)
            return write(descriptor, data)

        monkeypatch.setattr("bedside.audit.chain.os.write", waiting)


def test_a_disk_that_stands_still_delays_no_frame_and_what_is_lost_is_counted(
    path: Path, open_log, answer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bedside.audit.log, "QUEUE_FRAMES", 5)
    with open_log() as log:
        stuck = Stuck(monkeypatch)
        log.note(1, answer())
        assert stuck.reached.wait(60)
        for seed in range(12):
            log.note(1, answer(seed))
        stuck.go.set()

    report = verify_audit(path)
    assert not report.problems
    assert report.states["live"] == 6
    assert report.lost == 7
    assert [line.partition(": ")[2] for line in said] == ["7 frames were not logged, the disk was too slow for them"]


def test_a_full_disk_is_told_once_and_the_gap_is_in_the_log(path: Path, open_log, answer, said: list[str]) -> None:
    """The half line that a full disk leaves is noted too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_log() as log:
        wait(lambda: "opened" in path.read_text())
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, hard))
        try:
            for seed in range(3):
                log.note(1, answer(seed))
                wait(lambda count=seed: log._lost == count + 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.note(2, answer())

    assert [line.partition(": ")[2][:12] for line in said] == ["cannot write", "writing agai"]
    report = verify_audit(path)
    assert not report.problems
    assert (report.states["live"], report.lost) == (1, 3)
    assert [each["kind"] for each in lines(path)] == ["opened", "torn", "lost", "frame", "closed"]


def test_a_disk_that_stays_full_does_not_keep_the_service_from_ending(
    path: Path, open_log, answer, said: list[str], full_disk
) -> None:
    with open_log() as log:
        wait(lambda: "opened" in path.read_text())
        full_disk(path.stat().st_size)
        log.note(1, answer())

    assert len(said) == 1
    assert [each["kind"] for each in lines(path)] == ["opened"]
    assert "does not end with a closing line" in verify_audit(path).notes[0]


@pytest.mark.parametrize("second", [None, 0, 1, 2, 60, 10_000])
def test_wherever_a_write_ends_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: int | None
) -> None:
    """A disk that is full after so many bytes, and once more while the half line is being noted."""
    entries = [("frame", Moment.now(), {"state": "live"})] * 2
    room: list[int | None] = [None]
    write = os.write

    def write_some(descriptor: int, data: bytes) -> int:
        if room[0] is None:
            return write(descriptor, data)
        if not room[0] or not data:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = write(descriptor, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr("bedside.audit.chain.os.write", write_some)
    for first in (0, 1, 2, 50, *range(255, 275), *range(520, 540)):
        path = tmp_path / f"{first}.jsonl"
        chain, count = Chain(path, 2**30), 0
        for room[0] in (None, first, second, None):
            written, problem = chain.append(entries)
            assert (problem is None) == (written == 2)
            count += written
        chain.close()
        report = verify_audit(path)
        assert not report.problems, (first, report.problems)
        assert report.states["live"] == count


def test_a_disk_that_is_full_at_the_start_is_bad_input(path: Path, open_log, full_disk) -> None:
    path.write_bytes(b"")
    full_disk(0)

    with pytest.raises(BadInputError, match="cannot write"):
        open_log()


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from bedside.audit.log import AuditLog
from bedside.frames import Answer
log = AuditLog(Path(sys.argv[1]), max_bytes=2**30, opened={}, identity={}, tell=print).__enter__()
for number in range(200):
    log.note(1, Answer("live", np.zeros((4, 4, 4), np.uint8), float(number)))
while Path(sys.argv[1]).read_bytes().count(b'"frame"') < 200:
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_leaves_what_was_written(path: Path, open_log, run_python) -> None:
    assert run_python(KILLED, path).returncode == -signal.SIGKILL

    with open_log():
        pass

    report = verify_audit(path)
    assert not report.problems
    assert report.states["live"] == 200


def wait(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
