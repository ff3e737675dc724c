"""Out of memory: one line that names the device and what takes less."""

import pytest
import torch

from cinert.errors import BadInputError
from search.out_of_memory import fits_in_memory

CPU = torch.device("cpu")


def test_what_torch_cannot_allocate_is_said():
    said = f"out of memory on cpu: {2**52} bytes were asked for. Hint: smaller."
    with pytest.raises(BadInputError, match=said), fits_in_memory(CPU, hint="smaller."):
        torch.empty(2**50)


@pytest.mark.gpu
def test_what_a_gpu_cannot_allocate_is_said():
    device = torch.device("cuda", 0)
    with (
        pytest.raises(BadInputError, match=r"out of memory on cuda:0: .* were asked for"),
        fits_in_memory(device, hint=""),
    ):
        torch.empty(2**45, device=device)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="must match"), fits_in_memory(CPU, hint=""):
        torch.zeros(2) + torch.zeros(3)
