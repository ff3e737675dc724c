"""The wheelhouse: what is carried, what would not install, and that pieces make wheels again."""

import subprocess
import zipfile
from importlib import import_module

import pytest


@pytest.fixture
def wheelhouse(repository, monkeypatch):
    monkeypatch.syspath_prepend(str(repository / "benchmarks" / "gpu"))
    return import_module("wheelhouse")


@pytest.fixture
def make_wheel(tmp_path):
    def make(name, *requirements, tags="py3-none-any", content=b""):
        path = tmp_path / f"{name}-1.0-{tags}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements)
            archive.writestr(
                f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}"
            )
            archive.writestr("content", content)
        return path

    return make


@pytest.fixture
def needs_nothing(wheelhouse, monkeypatch):
    monkeypatch.setattr(wheelhouse, "ROOTS", ("cinert[rtx]",))
    monkeypatch.setattr(wheelhouse.metadata, "requires", lambda name: [])


def test_everything_is_carried_but_what_the_machine_has(wheelhouse):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed (pip install tensorrt-rtx)")
    carried = wheelhouse.to_carry("3.12")
    assert {"monai", "nibabel", "tensorrt-rtx-cu13-libs", "cuda-core", "pytest"} <= carried.keys()
    assert not {"torch", "onnxruntime", "numpy", "cinert", "ruff", "mypy"} & carried.keys()
    constraints = {
        wheelhouse.canonicalize_name(line.split("==")[0]): line.split("==")[1]
        for line in wheelhouse.CONSTRAINTS.read_text().splitlines()
        if "==" in line
    }
    assert {name: constraints[name] for name in carried if name in constraints} == {
        name: version for name, version in carried.items() if name in constraints
    }


@pytest.mark.usefixtures("needs_nothing")
def test_what_would_not_install_is_named(wheelhouse, make_wheel):
    wheels = [
        make_wheel("good", "torch>=2", "other>=1", 'older; python_version < "3.12"', 'more; extra == "more"'),
        make_wheel("other", "absent>=3", "good>=2"),
        make_wheel("elsewhere", tags="cp311-cp311-manylinux_2_28_x86_64"),
        make_wheel("stable", tags="cp310-abi3-manylinux_2_28_x86_64"),
    ]
    assert wheelhouse.problems(wheels, "3.12") == [
        "elsewhere-1.0-cp311-cp311-manylinux_2_28_x86_64.whl is not for Python 3.12 on x86-64 Linux",
        "other-1.0-py3-none-any.whl needs absent>=3, which is not carried",
        "other-1.0-py3-none-any.whl needs good>=2, which is not carried",
    ]


def test_cinert_itself_has_to_be_satisfied(wheelhouse):
    assert any(problem.startswith("cinert needs monai") for problem in wheelhouse.problems([], "3.12"))


def test_no_part_is_larger_than_the_limit_and_the_pieces_make_the_wheel_again(
    wheelhouse, make_wheel, repository, tmp_path
):
    sizes = {"large": 2500, "medium": 700, "small": 200, "tiny": 1}
    wheels = [make_wheel(name, content=bytes(range(256)) * (size // 256 + 1)) for name, size in sizes.items()]
    whole = {wheel.name: wheel.read_bytes() for wheel in wheels}
    parts = tmp_path / "parts"
    parts.mkdir()
    told = wheelhouse.pack(wheels, parts, 1400)
    found = [sum(path.stat().st_size for path in part.iterdir()) for part in sorted(parts.iterdir())]
    assert found == told
    assert max(told) <= 1400
    assert sum(told) == sum(map(len, whole.values()))
    collected = tmp_path / "collected"
    collected.mkdir()
    for path in parts.glob("*/*"):
        path.rename(collected / path.name)
    # Stands in for the Python that would install them.
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\n')
    fake.chmod(0o755)
    script = repository / "benchmarks" / "gpu" / "install_wheels.sh"
    subprocess.run(["bash", str(script), str(collected), str(fake)], check=True)
    assert {path.name: path.read_bytes() for path in collected.iterdir()} == whole
    wheels_call, own_call = (tmp_path / "called").read_text().splitlines()
    assert all(name in wheels_call for name in whole)
    assert "--no-index --no-deps" in wheels_call
    assert "-e" in own_call
