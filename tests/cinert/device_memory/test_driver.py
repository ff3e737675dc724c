"""The driver asked through ctypes: against a double in C, and without any."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest

from cinert.device_memory import driver, graph, installed, open_device
from cinert.errors import BackendUnavailableError

# Answers as a driver with one GPU of compute capability 8.6 does, and counts what is done to graphs.
DOUBLE = r"""
#include <string.h>
#include <stddef.h>
static int begun, ended, launched, destroyed;
int counts(int which) { int all[] = {begun, ended, launched, destroyed}; return all[which]; }
int cuInit(unsigned flags) { return INIT; }
int cuGetErrorName(int status, const char **name) { *name = "CUDA_ERROR_DOUBLE"; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Double RTX", size); return 0; }
int cuDeviceGetUuid_v2(unsigned char *uuid, int device) { for (int i = 0; i < 16; i++) uuid[i] = i; return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)8 << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 8 : 6; return 0; }
int cuStreamBeginCapture_v2(void *stream, int mode) { begun++; return stream == (void *)13 ? 900 : 0; }
int cuStreamEndCapture(void *stream, void **graph) { ended++; *graph = (void *)7; return 0; }
int cuGraphInstantiateWithFlags(void **out, void *graph, unsigned long long flags) { *out = (void *)9; return 0; }
int cuGraphDestroy(void *graph) { return 0; }
int cuGraphLaunch(void *graph, void *stream) { launched++; return graph == (void *)9 ? 0 : 1; }
int cuGraphExecDestroy(void *graph) { destroyed++; return 0; }
"""


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
        source, library = tmp_path / "driver.c", tmp_path / "libdouble.so"
        source.write_text(DOUBLE)
        command = [compiler, "-shared", "-fPIC", f"-DINIT={init}", "-o", str(library), str(source)]
        subprocess.run(command, check=True)
        monkeypatch.setattr(driver, "LIBRARY", str(library))
        return ctypes.CDLL(str(library))

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


def test_without_either_package_the_extras_are_named(double, monkeypatch):
    double()
    monkeypatch.setattr("cinert.device_memory.library_version", lambda name: "absent")
    with pytest.raises(BackendUnavailableError, match="neither pycuda nor cuda-core is installed") as error:
        open_device()
    assert "cinert[trt]" in error.value.hint


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


@pytest.mark.gpu
@pytest.mark.parametrize("implementation", ["pycuda", "cuda-core"])
def test_memory_goes_to_the_gpu_and_back(implementation):
    if implementation not in installed():
        pytest.skip(f"{implementation} is not installed")
    device = open_device(0, implementation)
    with device.current():
        source, target = device.pinned((4, 5), np.float32), device.pinned((4, 5), np.float32)
        source[...] = np.arange(20).reshape(4, 5)
        buffer, stream = device.allocate(source.nbytes), device.stream()
        stream.upload(source, buffer)
        start = stream.record()
        captured = stream.capture(lambda: stream.download(buffer, target))
        captured.launch()
        assert stream.record().ms_since(start) > 0
        stream.synchronise()
        np.testing.assert_array_equal(target, source)
        captured.release()
        buffer.release()
