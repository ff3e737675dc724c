"""What the audit of a strongly typed network takes for fp32 by accident."""

import pytest

from cinert.backends.tensorrt.audit import audit_network
from cinert.backends.tensorrt.build import Layer
from cinert.errors import VerdictError

NORM = Layer("norm", "norm", "NORMALIZATION", "FLOAT")


@pytest.mark.parametrize("kind", ["SHUFFLE", "UNSQUEEZE"])
def test_the_parsers_own_reshaping_of_a_norms_scale_is_no_arithmetic(kind):
    own = Layer("ONNXTRT_unsqueezeTensor", "", kind, "FLOAT")
    audit_network([own, NORM], "fp16", {"norm"})
    of_a_node = Layer("reshape", "reshape", kind, "FLOAT")
    with pytest.raises(VerdictError, match=r"layer reshape \(ONNX node reshape\) runs in fp32"):
        audit_network([of_a_node, NORM], "fp16", {"norm"})


def test_arithmetic_without_a_node_and_norms_that_were_not_declared_are_refused():
    with pytest.raises(VerdictError, match="ONNX node unknown"):
        audit_network([Layer("sum", "", "ELEMENTWISE", "FLOAT")], "fp16", set())
    with pytest.raises(VerdictError, match="layer norm"):
        audit_network([NORM], "bf16", set())
    audit_network([NORM], "fp32", set())
