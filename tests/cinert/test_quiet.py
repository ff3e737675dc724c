"""The watch over a machine, on made-up accounts of the system."""

from collections import namedtuple
from types import SimpleNamespace

import pytest

from cinert.quiet import FOREIGN_CORES, MachineWatch

Linux = namedtuple("Linux", "user nice system idle iowait irq softirq steal guest guest_nice")
MacOs = namedtuple("MacOs", "user nice system idle")


class Accounts:
    """Seconds on a machine of some cores; `pass_time` moves them."""

    def __init__(self, cores):
        self.cores = cores
        self.now = 1000.0
        self.machine = dict.fromkeys(Linux._fields, 50.0)
        self.own = {"user": 10.0, "system": 1.0}

    def pass_time(self, seconds, *, own=0.0, **machine):
        """Let time pass in which we use `own` cores, and others, by the name of the account, theirs."""
        self.now += seconds
        self.own["user"] += own * seconds
        self.machine["user"] += own * seconds
        for name, cores in machine.items():
            self.machine[name] += cores * seconds
        # What runs for guests stands in the accounts of user time already.
        self.machine["user"] += (machine.get("guest", 0.0)) * seconds
        self.machine["idle"] += (self.cores - own - sum(machine.values())) * seconds


@pytest.fixture(params=[Linux, MacOs])
def system(request):
    return request.param


@pytest.fixture
def accounts(monkeypatch, system):
    found = Accounts(cores=4)
    monkeypatch.setattr("cinert.quiet.time", SimpleNamespace(perf_counter=lambda: found.now))
    psutil = SimpleNamespace(
        cpu_count=lambda logical=True: found.cores,
        cpu_times=lambda: system(**{name: found.machine[name] for name in system._fields}),
        Process=lambda: SimpleNamespace(cpu_times=lambda: SimpleNamespace(**found.own)),
    )
    monkeypatch.setattr("cinert.quiet.psutil", psutil)
    return found


def test_our_own_work_is_not_foreign(accounts):
    watch = MachineWatch(threads=4)
    watch.begin()
    accounts.pass_time(0.5, own=4.0)
    assert watch.disturbance() is None


def test_the_work_of_others_is(accounts):
    watch = MachineWatch(threads=4)
    watch.begin()
    accounts.pass_time(0.5, own=2.0, user=1.0, system=0.5)
    assert watch.disturbance() == "other processes use 1.5 CPU cores"


@pytest.mark.parametrize(("others", "disturbs"), [(0.9, False), (1.1, True)])
def test_a_little_is_allowed(accounts, others, disturbs):
    watch = MachineWatch(threads=4)
    watch.begin()
    accounts.pass_time(0.5, own=2.0, nice=others * FOREIGN_CORES)
    assert (watch.disturbance() is not None) is disturbs


@pytest.mark.parametrize(("others", "disturbs"), [(3.1, False), (3.3, True)])
def test_others_may_use_the_cores_that_the_engine_leaves_free(accounts, others, disturbs):
    watch = MachineWatch(threads=1)
    watch.begin()
    accounts.pass_time(0.5, own=0.5, user=others)
    assert (watch.disturbance() is not None) is disturbs


def test_more_threads_than_cores_leave_none_free(accounts):
    watch = MachineWatch(threads=9)
    watch.begin()
    accounts.pass_time(0.5, user=0.5)
    assert watch.disturbance() == "other processes use 0.5 CPU cores"


def test_a_window_begins_anew(accounts):
    watch = MachineWatch(threads=4)
    accounts.pass_time(5.0, user=4.0)
    watch.begin()
    accounts.pass_time(0.5, own=4.0)
    assert watch.disturbance() is None


@pytest.mark.parametrize("system", [Linux], indirect=True)
class TestAccountsOfLinuxAlone:
    def test_time_stolen_by_other_guests_disturbs(self, accounts):
        watch = MachineWatch(threads=4)
        watch.begin()
        accounts.pass_time(0.5, own=2.0, steal=1.0)
        assert watch.disturbance() == "other processes use 1.0 CPU cores"

    def test_waiting_for_a_disk_does_not(self, accounts):
        watch = MachineWatch(threads=4)
        watch.begin()
        accounts.pass_time(0.5, own=2.0, iowait=2.0)
        assert watch.disturbance() is None

    def test_our_own_guests_are_counted_once(self, accounts):
        watch = MachineWatch(threads=4)
        watch.begin()
        accounts.pass_time(0.5, guest=1.5)
        assert watch.disturbance() == "other processes use 1.5 CPU cores"


@pytest.mark.parametrize(
    ("reasons", "says"),
    [
        (("power cap", "thermal (software)"), "the GPU is throttled: power cap, thermal (software)"),
        ((), None),
        (None, None),
    ],
)
def test_what_holds_a_gpu_back_is_named(accounts, monkeypatch, reasons, says):
    asked = []
    monkeypatch.setattr("cinert.quiet.throttle_reasons", lambda uuid: asked.append(uuid) or reasons)
    watch = MachineWatch(threads=4, gpu="GPU-12")
    watch.begin()
    accounts.pass_time(0.5, own=1.0)
    assert watch.disturbance() == says
    assert asked == ["GPU-12"]
    on_cpu = MachineWatch(threads=4)
    on_cpu.begin()
    accounts.pass_time(0.5, own=1.0)
    assert on_cpu.disturbance() is None
    assert asked == ["GPU-12"]


def test_the_accounts_of_this_machine_can_be_read():
    watch = MachineWatch(threads=1)
    watch.begin()
    said = watch.disturbance()
    assert said is None or said.startswith("other processes use ")
