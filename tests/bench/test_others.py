"""What other programs use of the CPU, on made-up accounts of the system: ours, and our children's, do not count."""

from types import SimpleNamespace

import psutil
import pytest

from bench.others import OthersTrack, blame_words, others_words


class Machine:
    """Two cores; `run` lets time pass in which others, we and our children use some of them."""

    def __init__(self):
        self.now = self.busy = self.own = self.reaped = 0.0
        self.children = {}

    def run(self, seconds, *, others=0.0, own=0.0, children=None):
        self.now += seconds
        self.own += own * seconds
        for name, cores in (children or {}).items():
            self.children[name] = self.children.get(name, 0.0) + cores * seconds
        self.busy += seconds * (others + own + sum((children or {}).values()))

    def end(self, name):
        """A child ends, and its time becomes that of children that ended."""
        self.reaped += self.children.pop(name)


@pytest.fixture
def machine(monkeypatch):
    found = Machine()

    def child(name):
        def cpu_times():
            if name not in found.children:
                raise psutil.NoSuchProcess(1)
            return (found.children[name], 0.0, 0.0, 0.0, 0.0)

        return SimpleNamespace(cpu_times=cpu_times)

    process = SimpleNamespace(
        cpu_times=lambda: (found.own, 0.0, found.reaped, 0.0, 0.0),
        children=lambda recursive: [child(name) for name in found.children],
    )
    monkeypatch.setattr("bench.others.time", SimpleNamespace(perf_counter=lambda: found.now))
    monkeypatch.setattr("bench.others.busy_seconds", lambda: found.busy)
    monkeypatch.setattr("bench.others.psutil.Process", lambda: process)
    monkeypatch.setattr("cinert.quiet.psutil.cpu_count", lambda logical=True: 2)
    return found


def watched(machine, *steps, threads=2):
    """Notes after every step, as between frames."""
    track = OthersTrack(threads)
    with track:
        for step in steps:
            machine.run(**step)
            track.note()
    return track.to_dict()


def test_only_what_others_use_counts(machine):
    machine.children["server"] = 5.0
    step = {"seconds": 1.0, "others": 0.5, "own": 0.75, "children": {"server": 0.5}}
    assert watched(machine, *[step] * 4) == {
        "cpu_cores": pytest.approx(0.5),
        "worst_cpu_cores": pytest.approx(0.5),
        "of_cores": 2,
        "disturbing": True,
    }


def test_a_burst_of_a_second_shows(machine):
    quiet, burst = {"seconds": 0.1, "own": 1.0}, {"seconds": 0.1, "own": 1.0, "others": 1.0}
    found = watched(machine, *[quiet] * 50, *[burst] * 10, *[quiet] * 40)
    assert found["cpu_cores"] == pytest.approx(0.1)
    # The burst may lie on both sides of a note.
    assert 0.5 <= found["worst_cpu_cores"] <= 1.0
    assert found["disturbing"]


def test_what_the_engine_leaves_free_may_be_used_by_others(machine):
    step = {"seconds": 1.0, "own": 1.0, "others": 0.9}
    assert watched(machine, step, threads=2)["disturbing"] is True
    assert watched(machine, step, threads=1)["disturbing"] is False


def test_a_child_that_ends_is_not_taken_for_another_program(machine):
    machine.children["co-load"] = 0.0
    track = OthersTrack(2)
    with track:
        machine.run(2.0, children={"co-load": 1.0})
        machine.end("co-load")
        track.note()
        machine.run(2.0, own=1.0)
    assert track.to_dict()["worst_cpu_cores"] == pytest.approx(0.0)


def test_of_less_than_half_a_second_nothing_is_said(machine):
    assert watched(machine, {"seconds": 0.49, "others": 1.0}) is None
    assert others_words(None) == "; what other programs used meanwhile is not known"
    assert blame_words(None) == ""


def test_a_rest_that_is_too_short_is_no_worst_second(machine):
    """A tick of 10 ms in a rest of 10 ms would be a whole core."""
    found = watched(machine, {"seconds": 1.0}, {"seconds": 1.0}, {"seconds": 0.01, "others": 1.0})
    assert found["worst_cpu_cores"] == 0.0
    assert found["cpu_cores"] == pytest.approx(0.01 / 2.01)


def test_used_again_it_begins_anew(machine):
    track = OthersTrack(2)
    for others in (1.0, 0.1):
        with track:
            machine.run(1.0, others=others)
    assert track.to_dict()["cpu_cores"] == track.to_dict()["worst_cpu_cores"] == pytest.approx(0.1)


def test_the_words():
    others = {"cpu_cores": 0.12, "worst_cpu_cores": 0.18, "of_cores": 16, "disturbing": False}
    assert others_words(others) == "; other programs used 0.1 of 16 CPU cores"
    assert blame_words(others) == ""
    loaded = {**others, "worst_cpu_cores": 3.0, "disturbing": True}
    assert others_words(loaded) == "; other programs used 0.1 of 16 CPU cores, 3.0 in the worst second"
    assert blame_words(loaded) == f"{others_words(loaded)}, so measure again on the quiet machine"


def test_the_accounts_of_this_machine_can_be_read():
    with OthersTrack(1) as track:
        track.note()
    found = track.to_dict()
    assert found is None or found["cpu_cores"] <= found["worst_cpu_cores"] + 1e-9
