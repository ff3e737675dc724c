"""The training of one candidate of a search, which goes on after a kill where its last epoch ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from cinert.arch import Arch
from cinert.errors import BadInputError
from search.checkpoint import Checkpoint
from search.data import FoldData
from search.ranks import ALONE, Ranks
from search.scores import mean_dice
from search.training import Training, TrainingSettings, read_training


def score_candidate(
    arch: Arch,
    data: FoldData,
    settings: TrainingSettings,
    *,
    checkpoint: Path,
    identity: Mapping[str, Any],
    device: torch.device,
    on_epoch: Callable[[int], None],
    ranks: Ranks = ALONE,
) -> float:
    """Train a network, or continue its training, and score it.

    Args:
        arch: to train.
        data: to learn and to score on.
        settings: of the training.
        checkpoint: file to continue from if it is of this training, and to write after every epoch.
        identity: tells this training from others in the same file.
        device: where to compute.
        on_epoch: called with the number of epochs done.
        ranks: processes that share the work; the first alone writes.

    Returns:
        Mean Dice over frames, then classes, of the validation part.

    Raises:
        BadInputError: the checkpoint cannot be read, or there is nothing to score on.
    """
    begun = ranks.from_main(lambda: _begun(checkpoint, identity))
    training = Training(arch, data, settings, device, ranks=ranks)
    if begun is not None:
        training.restore(begun)
    while not training.finished:
        training.run_epoch()
        if ranks.is_main:
            training.save(checkpoint, dict(identity), history={})
        on_epoch(training.next_epoch)
    score = mean_dice(training.validate())["mean"]
    if score is None:
        raise BadInputError(
            "none of the patients that networks are scored on shows RV, MYO or LV on the network's grid.",
            hint="are the labels those of these images?",
        )
    return score


def _begun(path: Path, identity: Mapping[str, Any]) -> Checkpoint | None:
    """State of this training, if the file holds it; that of another one was scored, or is of no use."""
    if not path.exists():
        return None
    try:
        found = read_training(path)
    except BadInputError as error:
        # Starting the whole search anew, as the reader says, would cost what was scored as well.
        raise BadInputError(
            error.message, hint=f"remove {path}: only the training that it is of begins anew."
        ) from error
    return found if found.values.get("identity") == identity else None
