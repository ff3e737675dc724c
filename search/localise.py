"""Training of the localiser: where is the heart in a whole stack?

The target is everything labelled (RV, MYO, LV) as one class on the coarse view. Short enough to be run in one go: about
a minute on two cores. The same seed and data give the same weights.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_obj import set_track_meta
from monai.losses.dice import DiceCELoss
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import RandAdjustContrastd, RandGaussianNoised, RandScaleIntensityd
from monai.transforms.spatial.dictionary import RandAffined, RandFlipd
from torch import Tensor

from cinert import __version__
from cinert.data.localiser import VIEW, ViewMap
from cinert.data.patients import Patient, load_frame
from cinert.environment import library_version
from cinert.errors import CineRTError
from cinert.localiser_net import SCHEMA, VERSION, LocaliserNet
from cinert.progress import Advance, unheard
from search.average import WeightAverage
from search.checkpoint import Checkpoint, save_checkpoint
from search.data import PatientRecord, mix_seed

_BATCHES, _AUGMENT = range(2)


@dataclass(frozen=True, kw_only=True)
class LocaliserSettings:
    """How the localiser is trained."""

    steps: int = 1200
    """Of the optimizer, however many patients there are."""
    seed: int = 0
    """Of weights, batches and augmentation."""
    batch_size: int = 4
    """Stacks in a step."""
    learning_rate: float = 0.01
    """Peak of the cosine, of AdamW."""
    average_decay: float = 0.98
    """Of the moving average of the weights, per step."""


@dataclass(frozen=True, slots=True)
class HeartViews:
    """Stacks on the coarse view.

    Attributes:
        images_NCDHW: z-scored grey values, float32, one channel.
        hearts_NCDHW: 1 where anything is labelled, else 0, float32.
    """

    images_NCDHW: Tensor
    hearts_NCDHW: Tensor


def load_views(patients: Sequence[Patient], progress: Advance = unheard) -> HeartViews:
    """Read every labelled frame on the view.

    Args:
        patients: with their labels.
        progress: called with (what, frames done, frames in all).

    Raises:
        BadInputError: a file cannot be used.
    """
    frames = [frame for patient in patients for frame in patient.frames]
    images, hearts = [], []
    for done, frame in enumerate(frames, start=1):
        image, label, geometry = load_frame(frame)
        view = ViewMap(geometry)
        images.append(view.to_view(image))
        hearts.append((view.label_to_view((label > 0).astype(np.uint8)) > 0).astype(np.float32))
        progress("reading whole stacks", done, len(frames))
    return HeartViews(torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(np.stack(hearts))[:, None])


def _augmentation() -> Compose:
    """Hearts anywhere in the field of view, of any size: the crop must not depend on how a site plans its stacks."""
    set_track_meta(False)
    depth, height, width = VIEW.shape_DHW
    return Compose(
        [
            RandAffined(
                keys=("image", "heart"),
                prob=1.0,
                rotate_range=(math.radians(30), 0.0, 0.0),
                scale_range=(0.2, 0.2, 0.2),
                translate_range=(0.1 * depth, 0.12 * height, 0.12 * width),
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            RandFlipd(keys=("image", "heart"), prob=0.5, spatial_axis=0),
            RandGaussianNoised(keys="image", prob=0.2, std=0.2),
            RandScaleIntensityd(keys="image", prob=0.3, factors=0.3),
            RandAdjustContrastd(keys="image", prob=0.3, gamma=(0.6, 1.7), retain_stats=True),
        ]
    )


def train_localiser(
    views: HeartViews,
    settings: LocaliserSettings,
    device: torch.device,
    *,
    progress: Advance = unheard,
) -> LocaliserNet:
    """Train from scratch and return the network with its averaged weights, in eval mode, on the CPU.

    Args:
        views: of the training patients.
        settings: how.
        device: where to compute.
        progress: called with (what, steps done, steps in all).

    Raises:
        CineRTError: the loss is no longer finite.
    """
    torch.manual_seed(settings.seed)
    network = LocaliserNet().to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-4)
    average = WeightAverage(network, decay=settings.average_decay)
    criterion = DiceCELoss(sigmoid=True, batch=True)
    augment = _augmentation()
    augment.set_random_state(seed=mix_seed(settings.seed, _AUGMENT) % 2**32)
    rng = np.random.default_rng([settings.seed, _BATCHES])
    network.train()
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        chosen = rng.integers(len(views.images_NCDHW), size=settings.batch_size)
        pairs: Any = [augment({"image": views.images_NCDHW[i], "heart": views.hearts_NCDHW[i]}) for i in chosen]
        images = torch.stack([pair["image"] for pair in pairs]).float().to(device)
        hearts = torch.stack([pair["heart"] for pair in pairs]).float().to(device)
        optimizer.zero_grad()
        loss: Tensor = criterion(network(images), hearts)
        loss.backward()
        optimizer.step()
        average.update(network)
        progress("training the localiser", step + 1, settings.steps)
    if not math.isfinite(float(loss.detach())):
        raise CineRTError(f"the localiser diverged: its loss is {float(loss.detach())}.")
    trained = LocaliserNet()
    trained.load_state_dict({name: tensor.cpu() for name, tensor in average.state.items()})
    return trained.eval()


def localiser_record(settings: LocaliserSettings, seen: Sequence[PatientRecord]) -> dict[str, Any]:
    """What two localisers must share to be the same: how and on whom they were trained."""
    return {"settings": dataclasses.asdict(settings), "seen_patients": [record.to_dict() for record in seen]}


def save_localiser(
    path: Path, network: LocaliserNet, settings: LocaliserSettings, seen: Sequence[PatientRecord]
) -> None:
    """Write localiser.safetensors, with the patients that it saw."""
    values = {
        "schema": SCHEMA,
        "version": VERSION,
        **localiser_record(settings, seen),
        "versions": {"cinert": __version__, "torch": library_version("torch"), "monai": library_version("monai")},
    }
    save_checkpoint(path, Checkpoint(network.state_dict(), values))
