"""NVML on a double of its functions; constants and errors are those of the real package."""

import pytest

from cinert.backends import get_backend
from cinert.environment import binding_differences, fingerprint
from cinert.gpu_state import _open, gpu_state, throttle_reasons

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed (pip install nvidia-ml-py)")


@pytest.fixture
def nvml(monkeypatch):
    """A GPU at 61 degrees whose power is capped, as (answers, calls); the answers may be changed."""
    answers = {
        "nvmlInit": None,
        "nvmlDeviceGetHandleByUUID": "handle",
        "nvmlDeviceGetClockInfo": 1830,
        "nvmlDeviceGetPowerUsage": 249_500,
        "nvmlDeviceGetEnforcedPowerLimit": 250_000,
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetCurrentClocksEventReasons": pynvml.nvmlClocksEventReasonSwPowerCap
        | pynvml.nvmlClocksEventReasonGpuIdle,
    }
    calls = []

    def answer(name):
        def function(*arguments):
            calls.append((name, *arguments))
            if isinstance(answers[name], Exception):
                raise answers[name]
            return answers[name]

        return function

    for name in answers:
        monkeypatch.setattr(pynvml, name, answer(name))
    _open.cache_clear()
    yield answers, calls
    _open.cache_clear()


def test_the_state_is_read_in_plain_units(nvml):
    assert gpu_state("GPU-12") == {
        "sm_clock_mhz": 1830,
        "memory_clock_mhz": 1830,
        "power_w": 249.5,
        "power_limit_w": 250.0,
        "temperature_c": 61,
        "throttled_by": ["power cap"],
    }


def test_torch_writes_uuids_without_their_prefix(nvml):
    gpu_state("12")
    assert ("nvmlDeviceGetHandleByUUID", "GPU-12") in nvml[1]


def test_what_a_gpu_does_not_tell_is_none(nvml):
    nvml[0]["nvmlDeviceGetPowerUsage"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    nvml[0]["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    state = gpu_state("GPU-12")
    assert (state["power_w"], state["throttled_by"], state["temperature_c"]) == (None, None, 61)


def test_without_a_driver_nothing_is_recorded(nvml):
    nvml[0]["nvmlInit"] = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    assert gpu_state("GPU-12") is None


def test_a_gpu_that_nvml_does_not_know_is_none(nvml):
    nvml[0]["nvmlDeviceGetHandleByUUID"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
    assert gpu_state("GPU-12") is None


@pytest.mark.parametrize(
    ("bits", "reasons"),
    [
        (["GpuIdle", "ApplicationsClocksSetting", "SyncBoost"], ()),
        (["SwPowerCap"], ("power cap",)),
        (["HwSlowdown", "HwThermalSlowdown"], ("hardware slowdown", "thermal (hardware)")),
        (["SwThermalSlowdown", "HwPowerBrakeSlowdown"], ("thermal (software)", "power brake")),
    ],
)
def test_power_and_heat_throttle_and_the_users_own_settings_do_not(nvml, bits, reasons):
    nvml[0]["nvmlDeviceGetCurrentClocksEventReasons"] = sum(
        getattr(pynvml, f"nvmlClocksEventReason{bit}") for bit in bits
    )
    assert throttle_reasons("GPU-12") == reasons


def test_throttling_is_polled_by_one_call(nvml):
    throttle_reasons("GPU-12")
    nvml[1].clear()
    nvml[0]["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.nvmlClocksEventReasonNone
    assert throttle_reasons("GPU-12") == ()
    assert nvml[1] == [("nvmlDeviceGetCurrentClocksEventReasons", "handle")]


def test_throttling_that_is_not_told_is_not_taken_for_none(nvml):
    nvml[0]["nvmlDeviceGetCurrentClocksEventReasons"] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    assert throttle_reasons("GPU-12") is None


def test_the_state_is_recorded_and_binds_nothing(nvml, monkeypatch):
    backend = get_backend("ort")
    device = {"kind": "cuda", "name": "Pretended", "uuid": "GPU-12"}
    monkeypatch.setattr(backend, "fingerprint", lambda device_: {"device": device, "libraries": {"onnxruntime": "1"}})
    hot = fingerprint(backend, device="cuda:0", threads=1, precision="fp32")
    assert hot["recorded"]["gpu"]["temperature_c"] == 61
    nvml[0]["nvmlDeviceGetTemperature"] = 30
    cold = fingerprint(backend, device="cuda:0", threads=1, precision="fp32")
    assert binding_differences(hot, cold) == []


def test_a_cpu_has_no_such_state():
    here = fingerprint(get_backend("ort"), device="cpu", threads=1, precision="fp32")
    assert "gpu" not in here["recorded"]
