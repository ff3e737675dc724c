"""Mixed precision: convolutions in bf16 or fp16, weights, losses and batch statistics in fp32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cinert.errors import BackendUnavailableError
from search.settings import Amp

_DTYPES: dict[str, torch.dtype | None] = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def resolve_amp(amp: Amp, device: torch.device) -> Amp:
    """What `auto` means on a device.

    Raises:
        BackendUnavailableError: bf16 on a GPU that has it not.
    """
    has_bf16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if amp == "auto":
        return "off" if device.type == "cpu" else "bf16" if has_bf16 else "fp16"
    if amp == "bf16" and not has_bf16:
        raise BackendUnavailableError(
            f"bf16 is not available because {torch.cuda.get_device_name(device)} has no units for it.",
            hint="use --amp fp16.",
        )
    return amp


class MixedPrecision:
    """Computes in a precision, and scales losses where it is fp16, whose small gradients would vanish.

    Args:
        amp: which.
        device: where.

    Raises:
        BackendUnavailableError: as `resolve_amp`.
    """

    def __init__(self, amp: Amp, device: torch.device) -> None:
        self.name = resolve_amp(amp, device)
        self._device, self._dtype = device, _DTYPES[self.name]
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")

    def autocast(self) -> torch.autocast:
        """Where the network runs."""
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to take gradients of; scaled in fp16."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def step(self, optimizer: torch.optim.Optimizer, *, largest_norm: float) -> None:
        """Clip the gradients of an optimizer by their norm and step; in fp16 an overflow leaves the step out."""
        self._scaler.unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, largest_norm)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """Plain values, empty but in fp16."""
        return dict(self._scaler.state_dict())

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` gave; that of another precision is of no use and left."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state))
