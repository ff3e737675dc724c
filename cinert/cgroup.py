"""How many cores' worth of CPU time this process may use: the quota of its control group, version 1 or 2 of Linux.

`docker run --cpus 2` and a Kubernetes limit set it. It says nothing of which cores: threads beyond the quota run at
first, and then all of them stand still until the period of a tenth of a second is over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ESCAPED = re.compile(r"\\([0-7]{3})")


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that the control group of this process, and those around it, leave to it; None without a limit.

    Args:
        root: folder that /proc and the mounted control groups are looked for in.
    """
    limits = [limit for folder, version in _folders(root) if (limit := _limit(folder, version)) is not None]
    return min(limits, default=None)


def _folders(root: Path) -> Iterator[tuple[Path, int]]:
    """Folders of the process's control groups that have limits of the CPU, innermost first, each with its version."""
    groups = dict(_groups(_lines(root / "proc" / "self" / "cgroup")))
    for line in _lines(root / "proc" / "self" / "mountinfo"):
        mount, _, kind = line.partition(" - ")
        fields, (type_, _, *options) = mount.split(), [*kind.split(), "", ""][:3]
        version = 2 if type_ == "cgroup2" else 1
        if type_ not in {"cgroup", "cgroup2"} or (version == 1 and "cpu" not in ",".join(options).split(",")):
            continue
        if version not in groups or len(fields) < 5:
            continue
        top, place = (PurePosixPath(_ESCAPED.sub(lambda code: chr(int(code[1], 8)), field)) for field in fields[3:5])
        mounted = root / place.relative_to("/")
        yield mounted, version
        # A container may see the name that its group has outside, and only the group itself mounted.
        if groups[version].is_relative_to(top) and ".." not in groups[version].parts:
            for part in groups[version].relative_to(top).parts:
                mounted /= part
                yield mounted, version


def _groups(lines: list[str]) -> Iterator[tuple[int, PurePosixPath]]:
    """Version and name of each group of the process that has to do with the CPU."""
    for _, controllers, name in (line.split(":", 2) for line in lines if line.count(":") > 1):
        if not controllers:
            yield 2, PurePosixPath(name)
        elif "cpu" in controllers.split(","):
            yield 1, PurePosixPath(name)


def _limit(folder: Path, version: int) -> float | None:
    if version == 2:
        words = " ".join(_lines(folder / "cpu.max")).split()
    else:
        words = [word for name in ("quota", "period") for word in _lines(folder / f"cpu.cfs_{name}_us")]
    # `max`, and -1 in version 1, are no limit.
    if len(words) != 2 or not all(word.isdigit() for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) / int(words[1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
