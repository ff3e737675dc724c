"""A builder that an exception left behind may be collected at any time, but not while TensorRT logs."""

import gc
import subprocess
import sys
import threading

import pytest

from cinert.backends.tensorrt.collection import no_collection

LEAVE_A_BUILDER_BEHIND = """
import gc
import tensorrt_rtx as trt
from onnx import TensorProto, helper
from cinert.backends.tensorrt import build
from cinert.backends.tensorrt.flavour import RTX

class Log(trt.ILogger):
    errors = []

    def log(self, severity, message):
        # So many that Python would collect.
        [[] for _ in range(200_000)]

ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in ("image", "logits")]
graph = helper.make_graph([helper.make_node("Relu", ["image"], ["logits"])], "g", ends[:1], ends[1:])
onnx = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
build.make_log = lambda _: Log()
gc.collect()
gc.set_threshold(100_000, 10, 10)
# TensorRT warns, holding its lock, that the logger of this builder is not that of the next one.
cycle = [trt.Builder(Log())]
cycle.append(cycle)
del cycle
plan = build.build_plan(RTX, onnx, name="relu", precision="fp32", capability="8.6", options=build.BuildOptions())
print("built", len(plan.data))
"""


def test_a_builder_left_behind_does_not_stop_the_next_build(rtx):
    run = subprocess.run(
        [sys.executable, "-c", LEAVE_A_BUILDER_BEHIND], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("built ")


@pytest.mark.parametrize("enabled", [True, False])
def test_blocks_of_several_threads_give_back_what_was(enabled):
    before, inside, leave = gc.isenabled(), threading.Event(), threading.Event()

    def other():
        with no_collection():
            inside.set()
            leave.wait(10)

    (gc.enable if enabled else gc.disable)()
    thread = threading.Thread(target=other)
    try:
        with no_collection():
            thread.start()
            assert inside.wait(10)
            assert not gc.isenabled()
        assert not gc.isenabled(), "the other thread is inside"
        leave.set()
        thread.join(10)
        assert gc.isenabled() == enabled
    finally:
        leave.set()
        (gc.enable if before else gc.disable)()
