"""How large a network is: parameters, and floating-point operations on one volume."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from cinert.architecture import Architecture
from cinert.network import build_network
from cinert.onnx import network_input_shape


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of one network."""

    parameters: int
    """Trained values, batch norm not folded."""
    flops: int
    """Floating-point operations of all convolutions on one volume, two for a multiply-add."""


def network_sizes(arch: Architecture) -> Sizes:
    """Count parameters and operations, without memory for the weights."""
    network = build_network(arch).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(network_input_shape(arch), device="meta"))
    return Sizes(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops())
