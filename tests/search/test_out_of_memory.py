"""Out of memory: one line that names the device and what takes less."""

import pytest
import torch

from cinert.errors import BadInputError
from search.out_of_memory import fits_in_memory

CPU = torch.device("cpu")


def test_what_torch_cannot_allocate_is_said():
    hint = "a smaller batch."
    with pytest.raises(BadInputError, match=f"out of memory on cpu. Hint: {hint}"), fits_in_memory(CPU, hint=hint):
        torch.empty(2**50)


@pytest.mark.gpu
def test_what_a_gpu_cannot_allocate_is_said():
    device = torch.device("cuda", 0)
    with pytest.raises(BadInputError, match="out of memory on cuda:0"), fits_in_memory(device, hint=""):
        torch.empty(2**45, device=device)


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="must match"), fits_in_memory(CPU, hint=""):
        torch.zeros(2) + torch.zeros(3)
