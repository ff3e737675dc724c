"""The driver, and the packages on top of it, on a double in C whose device memory is host memory; and without any."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from cinert.device_memory import driver, graph, installed, open_device
from cinert.errors import BackendUnavailableError

DOUBLE = Path(__file__).with_name("driver_double.c")


@pytest.fixture(autouse=True)
def fresh():
    driver.load_driver.cache_clear()
    yield
    driver.load_driver.cache_clear()


@pytest.fixture
def double(tmp_path, monkeypatch):
    """Compiles the double, whose cuInit gives a status, and puts it in the driver's place."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the driver's double")

    def make(init=0):
        # The name under which CUDA's own packages look for it.
        library = tmp_path / "libcuda.so.1"
        command = [compiler, "-shared", "-fPIC", f"-DINIT={init}", "-o", str(library), str(DOUBLE)]
        subprocess.run(command, check=True)
        # pycuda is linked to the name without a version.
        (tmp_path / "libcuda.so").symlink_to(library)
        monkeypatch.setattr(driver, "LIBRARY", str(library))
        loaded = ctypes.CDLL(str(library))
        loaded.cuCtxSetCurrent(ctypes.c_void_p(1))
        return loaded

    return make


def test_no_driver_is_a_reason(monkeypatch):
    monkeypatch.setattr(driver, "LIBRARY", "libcuda-that-is-not-there.so.1")
    problem = driver.driver_problem()
    assert problem == "there is no NVIDIA driver here (libcuda-that-is-not-there.so.1 is not found)"
    with pytest.raises(BackendUnavailableError, match="the GPU cannot be used: there is no NVIDIA driver") as error:
        open_device()
    assert error.value.exit_code == 3


def test_a_driver_that_does_not_start_is_named_as_it_names_itself(double):
    double(init=100)
    assert driver.driver_problem() == "the NVIDIA driver does not start (cuInit: CUDA_ERROR_DOUBLE)"


def test_a_gpu_is_described(double):
    double()
    facts = driver.gpu_facts()
    assert facts.name == "Double RTX"
    assert facts.compute_capability == "8.6"
    assert facts.memory_mib == 8192
    assert facts.uuid == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"


def test_a_gpu_that_is_not_there(double):
    double()
    assert driver.driver_problem(0) is None
    assert driver.driver_problem(1) == "there is no cuda:1, the driver sees 1 GPU(s)"
    with pytest.raises(BackendUnavailableError, match="there is no cuda:1"):
        driver.gpu_facts(1)


def test_without_either_package_both_are_named(double, monkeypatch):
    double()
    monkeypatch.setattr("cinert.device_memory.library_version", lambda name: "absent")
    with pytest.raises(BackendUnavailableError, match="neither pycuda nor cuda-core is installed") as error:
        open_device()
    assert "pip install cuda-core cuda-bindings" in error.value.hint
    assert "pip install pycuda" in error.value.hint


@pytest.mark.parametrize(
    ("there", "order"),
    [({"pycuda", "cuda-core"}, ("pycuda", "cuda-core")), ({"cuda-core"}, ("cuda-core",)), (set(), ())],
)
def test_pycuda_comes_first(monkeypatch, there, order):
    monkeypatch.setattr("cinert.device_memory.library_version", lambda name: "1" if name in there else "absent")
    assert installed() == order


def test_a_graph_is_captured_launched_and_destroyed_once(double):
    library, seen = double(), []
    captured = graph.DriverGraph(5, lambda: seen.append("work"))
    captured.launch()
    captured.launch()
    captured.release()
    captured.release()
    assert seen == ["work"]
    assert [library.counts(which) for which in range(4)] == [1, 1, 2, 1]


def test_a_capture_ends_even_if_the_work_fails(double):
    library = double()

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        graph.DriverGraph(5, fail)
    assert library.counts(1) == 1


def test_a_refused_capture_is_named(double):
    double()
    with pytest.raises(BackendUnavailableError, match="refuses the capture of a CUDA graph: CUDA_ERROR_DOUBLE"):
        graph.DriverGraph(13, lambda: None)


ROUND_TRIP = """
import sys
import threading
import numpy as np
from cinert.device_memory import open_device

device = open_device(0, sys.argv[1])


def round_trip():
    with device.current():
        source, target = device.pinned((4, 5), np.float32), device.pinned((4, 5), np.float32)
        assert not source.any()
        source[...] = np.arange(20).reshape(4, 5)
        buffer, stream = device.allocate(source.nbytes), device.stream()
        assert buffer.size == 80
        start = stream.record()
        stream.upload(source, buffer)
        stream.synchronise()
        captured = stream.capture(lambda: stream.download(buffer, target))
        assert not target.any(), "captured work was run"
        captured.launch()
        assert stream.record().ms_since(start) > 0
        stream.synchronise()
        assert (target == source).all()
        captured.release()
        buffer.release()
    print("good")


round_trip()
# A runner is made in one thread and used in another.
thread = threading.Thread(target=round_trip)
thread.start()
thread.join()
"""


@pytest.mark.parametrize("implementation", ["pycuda", "cuda-core"])
def test_memory_goes_to_the_double_and_back(double, implementation, tmp_path, monkeypatch, run_python):
    if implementation not in installed():
        pytest.skip(f"{implementation} is not installed")
    double()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_DOUBLE", str(tmp_path / "libcuda.so.1"))
    result = run_python(ROUND_TRIP, implementation)
    assert (result.returncode, result.stdout) == (0, "good\ngood\n"), result.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["pycuda", "cuda-core"])
def test_memory_goes_to_the_gpu_and_back(implementation, run_python):
    if implementation not in installed():
        pytest.skip(f"{implementation} is not installed")
    result = run_python(ROUND_TRIP, implementation)
    assert (result.returncode, result.stdout) == (0, "good\ngood\n"), result.stderr
