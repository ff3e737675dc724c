"""The table of baselines by kind. Free of torch; `cinert.baselines.networks` is its other half."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from cinert import __version__
from cinert.baselines.aniso_unet import AnisoUNet
from cinert.baselines.base import Baseline
from cinert.baselines.bix_nas import BixNas
from cinert.baselines.bix_nas_published import PublishedBixNas
from cinert.baselines.halving import Cells, PublishedBaseline
from cinert.baselines.ica_unet import IcaUNet
from cinert.baselines.levels import LevelledBaseline
from cinert.baselines.msu_net import MsuNet
from cinert.baselines.nas_unet import NasUNet
from cinert.baselines.nas_unet_published import PublishedNasUNet
from cinert.baselines.nnunet import NnUNet, NnUNetResEnc
from cinert.baselines.unet2d import UNet2d
from cinert.baselines.unet3d import UNet3d
from cinert.errors import BadInputError
from cinert.space import Space

KINDS: Mapping[str, type[Baseline]] = {
    kind.kind: kind for kind in (UNet2d, UNet3d, NnUNet, NnUNetResEnc, AnisoUNet, NasUNet, IcaUNet, BixNas, MsuNet)
}
PUBLISHED: Mapping[str, type[PublishedBaseline]] = {kind.kind: kind for kind in (PublishedNasUNet, PublishedBixNas)}
"""Those with the cells or skips that their authors publish; in `KINDS` the same kinds have ours."""


def kind_with(kind: str, cells: Cells) -> type[Baseline]:
    """The class of a kind with these cells; most kinds have no cells, and are the same either way."""
    return PUBLISHED[kind] if cells == "published" and kind in PUBLISHED else KINDS[kind]


def design(
    kind: str,
    space: Space,
    widths: tuple[int, ...],
    *,
    components: int | None = None,
    cells: Cells = "ours",
    norm: str | None = None,
) -> Baseline:
    """A baseline on the grid of a space, as `cinert baseline` writes it.

    Args:
        kind: in `KINDS`.
        space: that it is to be compared in.
        widths: channels at each level.
        components: of ica-unet; None for its own. Other kinds have none.
        cells: of nas-unet and bix-nas.
        norm: of a kind that has several; None for its own.

    Raises:
        BadInputError: it does not fit the space.
    """
    provenance = {
        "method": "cinert baseline",
        "space": {"name": space.name, "digest": space.digest},
        "versions": {"cinert": __version__},
    }
    made = kind_with(kind, cells).for_space(space, widths, provenance)
    if isinstance(made, IcaUNet) and components is not None:
        made = dataclasses.replace(made, components=components)
    if norm is not None:
        if not isinstance(made, PublishedBaseline | LevelledBaseline):
            raise BadInputError(f"{kind} has no choice of norms.", hint="leave --norm out.")
        made = dataclasses.replace(made, norm=norm)
    return made


def read_baseline(document: Mapping[str, Any], *, source: str) -> Baseline:
    """Read a baseline of any kind.

    Raises:
        BadInputError: an unknown kind, or what its reader refuses.
    """
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadInputError(f"{source}: kind is {kind!r}, which is no baseline.", hint=f"kinds: {', '.join(KINDS)}.")
    return kind_with(kind, "published" if "cells" in document else "ours").from_dict(document, source=source)
