"""BiX-NAS with skips of our own as an architecture file: a recurrent U-Net with skips across levels. Free of torch.

Source: Wang et al., MICCAI 2021, after BiO-Net (Xiang et al., MICCAI 2020); compared with in Lu 2022 (Table 2).
Authors' code: github.com/tiangexiang/BiX-NAS.

Fixed there: encoder and decoder are run several times with the same weights; skips lead from the encoder to the decoder
and back from the decoder to the next run's encoder, at the same level or across levels; which of them are kept is
searched, so that few remain.

The authors' skips, stem and tail are in `bix_nas_published.py`. Chosen here, before they were at hand:

- `skips` are ours: each block reads its own level of the stage before; a decoder block reads the next finer level of
  the encoder as well, and an encoder block the next coarser level of the decoder. They stand in the file, so that the
  authors' or any other skips can be written there instead.
- Three iterations, each an encoder and a decoder over all levels, two 3x3 convolutions in a block. All levels have the
  same width unless `--widths` says otherwise.
- What arrives at a block is averaged, so that its weights do not depend on how many skips it has. From another level it
  comes by max-pooling or bilinear upsampling and a 1x1 convolution to the level's width; these convolutions, too, are
  shared by the iterations.
- Each iteration has batch norms of its own, because its features have statistics of their own; they are folded at
  export, which gives every iteration its own copy of the convolutions.
- Lu 2022 does not say how the network was brought to volumes: it is 2D here, and the slices of a volume are one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cinert.baselines.levels import SliceBaseline
from cinert.schema import read_number

StageSkips = tuple[tuple[int, ...], ...]


def read_skips(value: Any) -> tuple[StageSkips, ...]:
    """Read skips from YAML; raises TypeError for anything but stages of levels of numbers."""
    if not isinstance(value, list) or not all(isinstance(stage, list) for stage in value):
        raise TypeError("expected a list of stages, each a list of levels")
    if not all(isinstance(level, list) for stage in value for level in stage):
        raise TypeError("expected the levels that are read as a list")
    return tuple(tuple(tuple(read_number(source, int) for source in level) for level in stage) for stage in value)


@dataclass(frozen=True, kw_only=True)
class BixNas(SliceBaseline):
    """Encoder and decoder with shared weights, run in turn; stages 0, 2, 4, ... are encoders, the others decoders."""

    kind: ClassVar[str] = "bix-nas"
    first_width: ClassVar[int] = 32
    width_growth: ClassVar[int] = 1
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **SliceBaseline.readers,
        "iterations": lambda value: read_number(value, int),
        "convs_per_level": lambda value: read_number(value, int),
        "skips": read_skips,
    }

    iterations: int
    """How often encoder and decoder are run."""
    convs_per_level: int
    """Convolutions in a block."""
    skips: tuple[StageSkips, ...]
    """For each stage after the first and each level: the levels of the stage before that its block reads."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self._require(self.iterations >= 1, "iterations", "at least 1")
        self._require(self.convs_per_level >= 1, "convs_per_level", "at least 1")
        stages, levels = 2 * self.iterations - 1, len(self.widths)
        self._require(len(self.skips) == stages, "skips", f"{stages} stages, two for each iteration but the first one")
        for stage in self.skips:
            self._require(len(stage) == levels, "skips", f"{levels} levels in each stage")
            for sources in stage:
                fits = len(set(sources)) == len(sources) and all(0 <= source < levels for source in sources)
                self._require(fits, "skips", f"different levels from 0 to {levels - 1}")
        for stage in self.skips[::2]:
            # A decoder that does not read the encoder there has nothing to begin with.
            self._require(bool(stage[-1]), "skips", "a level to read for the coarsest block of each decoder")

    @classmethod
    def own_fields(cls, levels: int) -> dict[str, Any]:
        """Three iterations, and the skips that this file's head speaks of."""
        decoder = tuple((level,) if level == 0 else (level, level - 1) for level in range(levels))
        encoder = tuple((level,) if level == levels - 1 else (level, level + 1) for level in range(levels))
        iterations = 3
        return {
            "iterations": iterations,
            "convs_per_level": 2,
            "skips": (decoder, *(encoder, decoder) * (iterations - 1)),
        }
