"""The wheels that a GPU machine without a package index needs, in parts that are small enough to be carried.

    python benchmarks/gpu/wheelhouse.py [-o wheelhouse] [--python 3.12] [--part-mib 58]

Takes what cinert requires with the extra [rtx], and what its tests require, in the versions of constraints.txt; but not
what the machine has (PRESENT). A wheel that is larger than a part is cut: NAME.whl.00, NAME.whl.01 and so on, which
install_wheels.sh joins again. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from collections.abc import Collection, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.metadata import parse_email
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from cinert.files import atomic_folder

PRESENT = {"torch", "onnxruntime", "numpy"}
"""On the GPU machine already, each with all that it requires."""
ROOTS = ("cinert[rtx]", "pytest", "hypothesis", "jsonschema")
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
# These two hold no library, only requirements and a few lines of Python, and are published as sources alone.
_SOURCES = {"tensorrt-rtx", "tensorrt-rtx-cu13"}
# glibc 2.39 is Ubuntu 24.04's. pip takes the platforms that it is given, and no older ones beside them.
_PLATFORMS = [
    *(f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)),
    *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1)),
]


def applying(requirements: Sequence[str] | None, python: str, extras: Collection[str] = ()) -> Iterator[Requirement]:
    """The requirements that hold on x86-64 Linux with that Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "sys_platform": "linux",
    }
    for requirement in map(Requirement, requirements or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras)):
            yield requirement


def to_carry(python: str) -> dict[NormalizedName, str]:
    """Every distribution that the roots need and the machine lacks, with the version that is installed here.

    Raises:
        PackageNotFoundError: one is not installed here; `make install` installs all.
    """
    found: dict[NormalizedName, str] = {}
    waiting = [Requirement(root) for root in ROOTS]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in PRESENT or name in found:
            continue
        found[name] = metadata.version(name)
        waiting += applying(metadata.requires(name), python, requirement.extras)
    del found[canonicalize_name("cinert")]
    return found


def fetch(folder: Path, versions: dict[NormalizedName, str], python: str) -> None:
    """Have pip download all wheels, and make those that are published as sources."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    shared = ["--no-deps", "-c", str(CONSTRAINTS)]
    target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    for platform in _PLATFORMS:
        target += ["--platform", platform]
    pinned = {name: f"{name}=={version}" for name, version in versions.items()}
    wheels = [words for name, words in pinned.items() if name not in _SOURCES]
    sources = [words for name, words in pinned.items() if name in _SOURCES]
    subprocess.run([*pip, "download", *shared, *target, "-d", str(folder), *wheels], check=True)
    subprocess.run([*pip, "wheel", *shared, "-w", str(folder), *sources], check=True)


def problems(wheels: Sequence[Path], python: str) -> list[str]:
    """What would not install: wheels for another Python or platform, requirements that no wheel meets."""
    version = tuple(int(number) for number in python.split("."))
    taken: set[Tag] = {*cpython_tags(version, platforms=_PLATFORMS), *compatible_tags(version, platforms=_PLATFORMS)}
    carried: dict[NormalizedName, Version] = {}
    found = []
    for wheel in wheels:
        name, number, _, tags = parse_wheel_filename(wheel.name)
        carried[name] = number
        if not tags & taken:
            found.append(f"{wheel.name} is not for Python {python} on x86-64 Linux")
    needs = {wheel.name: applying(_requirements(wheel), python) for wheel in wheels}
    needs |= {root: applying([root], python) for root in ROOTS[1:]}
    needs["cinert"] = applying(metadata.requires("cinert"), python, ["rtx"])
    for source, requirements in needs.items():
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            if name not in PRESENT and (name not in carried or carried[name] not in requirement.specifier):
                found.append(f"{source} needs {requirement}, which is not carried")
    return found


def _requirements(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        return parse_email(archive.read(name))[0].get("requires_dist", [])


def pack(wheels: Sequence[Path], folder: Path, limit: int) -> list[int]:
    """Move wheels into the folders 1, 2, ... of at most `limit` bytes each, the large ones first and cut if need be.

    Returns:
        Bytes in each folder.
    """
    sizes: list[int] = []
    for wheel in sorted(wheels, key=lambda path: (-path.stat().st_size, path.name)):
        data = wheel.read_bytes()
        pieces = [data[start : start + limit] for start in range(0, len(data), limit)]
        for number, piece in enumerate(pieces):
            part = next((part for part, size in enumerate(sizes) if size + len(piece) <= limit), len(sizes))
            if part == len(sizes):
                sizes.append(0)
                (folder / str(part + 1)).mkdir()
            name = wheel.name if len(pieces) == 1 else f"{wheel.name}.{number:02d}"
            (folder / str(part + 1) / name).write_bytes(piece)
            sizes[part] += len(piece)
        wheel.unlink()
    return sizes


def main() -> None:
    """Download, check, and pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("wheelhouse"), help="folder to write, replaced")
    parser.add_argument("--python", default="3.12", help="version on the GPU machine")
    parser.add_argument("--part-mib", type=int, default=58, help="most that a part may hold")
    words = parser.parse_args()
    versions = to_carry(words.python)
    with atomic_folder(words.output) as folder:
        fetch(folder, versions, words.python)
        wheels = sorted(folder.glob("*.whl"))
        if found := problems(wheels, words.python):
            sys.exit("\n".join(found))
        sizes = pack(wheels, folder, words.part_mib << 20)
    for number, size in enumerate(sizes, 1):
        print(f"{words.output}/{number}: {size / 2**20:.1f} MiB")
    print(f"{len(wheels)} wheels for Python {words.python}; taken for granted there: {', '.join(sorted(PRESENT))}.")


if __name__ == "__main__":
    main()
