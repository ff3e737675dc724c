"""The CPU quota of a container, as Linux shows it in its two versions of control groups."""

import pytest

from cinert import environment
from cinert.cgroup import cpu_quota
from cinert.environment import default_threads

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNTS = (
    "31 23 0:27 {root} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "32 23 0:28 {root} /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory"
)
OTHER_MOUNT = "29 23 8:1 / / rw,relatime - ext4 /dev/sda1 rw"


@pytest.fixture
def system(tmp_path):
    """Writes what /proc and /sys show: the process's groups, its mounts, and the files of the groups."""

    def system(groups, mounts, files):
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(f"{groups}\n")
        (tmp_path / "proc" / "self" / "mountinfo").write_text(f"{OTHER_MOUNT}\n{mounts}\n")
        for name, text in files.items():
            path = tmp_path / "sys" / "fs" / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n")
        return tmp_path

    return system


@pytest.mark.parametrize(("text", "cores"), [("200000 100000", 2.0), ("50000 100000", 0.5), ("max 100000", None)])
def test_version_2_in_a_container(system, text, cores):
    assert cpu_quota(system("0::/", V2_MOUNT, {"cpu.max": text})) == cores


def test_version_2_of_a_service_and_of_the_slices_around_it(system):
    files = {
        "user.slice/cpu.max": "150000 100000",
        "user.slice/run.scope/cpu.max": "max 100000",
        "user.slice/other.scope/cpu.max": "10000 100000",
    }
    assert cpu_quota(system("0::/user.slice/run.scope", V2_MOUNT, files)) == 1.5


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3.0), ("-1", None)])
@pytest.mark.parametrize("root", ["/", "/docker/5e1f"])
def test_version_1_in_a_container(system, root, quota, cores):
    """Docker mounts the group itself where its root is named, and shows the name that the group has outside."""
    groups = "5:memory:/docker/5e1f\n4:cpu,cpuacct:/docker/5e1f"
    here = "docker/5e1f/" if root == "/" else ""
    files = {f"cpu,cpuacct/{here}cpu.cfs_quota_us": quota, f"cpu,cpuacct/{here}cpu.cfs_period_us": "100000"}
    assert cpu_quota(system(groups, V1_MOUNTS.format(root=root), files)) == cores


def test_both_versions_at_once(system):
    """As systemd mounts them in its hybrid mode: the controllers are in version 1, and version 2 has no limits."""
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    mounts = f"{V1_MOUNTS.format(root='/')}\n33 23 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
    assert cpu_quota(system("4:cpu,cpuacct:/\n0::/", mounts, files)) == 2.5


@pytest.mark.parametrize(
    ("groups", "files"),
    [
        ("0::/", {}),
        ("0::/../outside", {"cpu.max": "max 100000"}),
        ("0::/", {"cpu.max": "no numbers"}),
        ("0::/", {"cpu.max": "100000 0"}),
        ("1:name=systemd:/", {"cpu.max": "100000 100000"}),
    ],
)
def test_where_nothing_is_said_there_is_no_limit(system, groups, files):
    assert cpu_quota(system(groups, V2_MOUNT, files)) is None


def test_without_proc_there_is_no_limit(tmp_path):
    assert cpu_quota(tmp_path) is None


def test_the_groups_of_this_machine_can_be_read():
    quota = cpu_quota()
    assert quota is None or quota > 0


@pytest.mark.parametrize(
    ("quota", "threads"), [(None, 4), (64.0, 4), (4.0, 4), (2.0, 2), (2.5, 2), (1.0, 1), (0.25, 1)]
)
def test_default_threads_stay_within_the_quota(monkeypatch, quota, threads):
    monkeypatch.setattr(environment, "cpu_quota", lambda: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr("psutil.cpu_count", lambda logical=True: 16 if logical else 4)
    assert default_threads() == threads
