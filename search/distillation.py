"""Distillation: a trained network teaches another one what it thinks of every voxel (Hinton 2015)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from cinert.errors import BadInputError
from cinert.network import build_network, fit_tensors, fold_batch_norm
from cinert.segmenter import Segmenter
from search.source import Source


def build_teacher(source: Source) -> Segmenter:
    """The network of trained weights, ready to be asked; nothing of it is learnt.

    Raises:
        BadInputError: no arch.yaml of the weights lies beside them, or they do not fit it.
    """
    if source.arch is None:
        raise BadInputError(
            f"no arch.yaml of the network that weights {source.path} were trained for lies beside them.",
            hint="name a run folder of train-arch.",
        )
    network = build_network(source.arch)
    fit_tensors(network, source.tensors, source.path)
    fold_batch_norm(network.eval().requires_grad_(False))
    return network.channels_last()


def distillation_loss(student_BCDHW: Tensor, teacher_BCDHW: Tensor, temperature: float) -> Tensor:
    """KL divergence of the student's from the teacher's softened probabilities, summed over voxels.

    Args:
        student_BCDHW: logits.
        teacher_BCDHW: logits.
        temperature: that both are divided by; its square keeps the gradient as large at any temperature.
    """
    student, teacher = (functional.log_softmax(each / temperature, dim=1) for each in (student_BCDHW, teacher_BCDHW))
    return temperature**2 * functional.kl_div(student, teacher, reduction="sum", log_target=True)
