"""BiX-NAS with the skips that its authors publish, as an architecture file. Free of torch.

Source: Wang et al., MICCAI 2021 (BiX-Net). Authors' code: github.com/tiangexiang/BiX-NAS; the skips are its file
bixnet_gene.txt. Our module agrees with theirs at 36490ad on the same weights (docs/baselines.md).

Fixed there, and kept:

- Three iterations of an encoder and a decoder over four levels of 48 channels; a block is two 3x3 convolutions that its
  iterations share, with batch norms of its own for each of them. Between encoder and decoder lies a bridge of two
  convolutions, after one more pooling, whose norms are shared, too.
- Stem: three 3x3 convolutions of 32, 32 and 48 channels, and 2x2 max-pooling, so that all of this runs at half the
  image's size. Tail, at full size: two 3x3 convolutions of 32 channels and a 1x1 convolution to the classes.
- A block averages what it reads, each brought to its own size bilinearly (corners aligned).
- A block that nothing on the way to the last decoder reads is not computed.

Left open, and chosen here:

- The skips are of four levels, and so are the widths, all alike, because blocks read each other without a convolution
  between them. Stem and tail have two thirds of the width, as there.
- A softmax over the classes takes the place of the sigmoid; it is not part of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from cinert.baselines.bix_nas import StageSkips, read_skips
from cinert.baselines.halving import PublishedBaseline
from cinert.errors import BadInputError
from cinert.schema import read_number
from cinert.space import Space

_LEVELS = 4
_SOURCES: tuple[StageSkips, ...] = (
    ((0,), (0,), (0,), (0,)),
    ((2,), (0, 2), (1,), (1, 0)),
    ((3, 1), (1, 0), (2, 1, 0), (0, 2, 3)),
    ((3, 0), (2, 0), (1, 2), (0,)),
    ((3, 2, 4), (4,), (0,), (0, 3)),
    ((3,), (2, 0), (0, 2), (0,)),
)


@dataclass(frozen=True, kw_only=True)
class PublishedBixNas(PublishedBaseline):
    """Encoder and decoder with shared weights, run in turn; stages 0, 2, 4, ... are encoders, the others decoders."""

    kind: ClassVar[str] = "bix-nas"
    first_width: ClassVar[int] = 48
    width_growth: ClassVar[int] = 1
    norms: ClassVar[tuple[str, ...]] = ("batch",)
    readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        **PublishedBaseline.readers,
        "stem_width": lambda value: read_number(value, int),
        "sources": read_skips,
    }

    stem_width: int
    """Channels of the stem's first convolutions, and of the tail's."""
    sources: tuple[StageSkips, ...]
    """For each stage and each of its blocks in the order in which they run, what the block reads: 0 is the block before
    it in the chain (the stem for the first block of an encoder, the bridge for that of a decoder), k > 0 the k-th block
    of the stage before. Encoders run from fine to coarse, decoders from coarse to fine."""

    def __post_init__(self) -> None:
        """Check every value against the others.

        Raises:
            BadInputError: naming the key, the value and the file.
        """
        super().__post_init__()
        self._require(len(set(self.widths)) == 1, "widths", "the same width at each level")
        self._require(self.stem_width >= 1, "stem_width", "at least 1")
        levels = len(self.widths)
        smallest = 2 ** (levels + 1)
        large = min(self.input_shape_DHW[1:]) >= smallest
        self._require(large, "input_shape_DHW", f"at least {smallest} pixels in plane, to be halved {levels + 1} times")
        self._require(len(self.sources) >= 2 and len(self.sources) % 2 == 0, "sources", "two stages for each iteration")
        for number, stage in enumerate(self.sources):
            self._require(len(stage) == levels, "sources", f"{levels} blocks in each stage")
            known = range(levels + 1) if number else range(1)
            for block in stage:
                fits = bool(block) and len(set(block)) == len(block) and set(block) <= set(known)
                expected = f"from 0 to {levels}" if number else "0 alone in the first stage"
                self._require(fits, "sources", f"different blocks, at least one, {expected}")

    @classmethod
    def widths_in(cls, space: Space) -> tuple[int, ...]:  # noqa: ARG003 - the skips are of four levels in any space
        """Four levels."""
        return cls.default_widths(_LEVELS)

    @classmethod
    def own_fields(cls, widths: tuple[int, ...]) -> dict[str, Any]:
        """The authors' skips.

        Raises:
            BadInputError: they are of another number of levels.
        """
        if len(widths) != _LEVELS:
            raise BadInputError(
                f"the published skips of {cls.kind} are of {_LEVELS} levels, and there are {len(widths)} widths.",
                hint=f"give {_LEVELS} widths, or --cells ours.",
            )
        return {"stem_width": max(1, round(2 * widths[0] / 3)), "sources": _SOURCES}

    def needed(self) -> tuple[frozenset[int], ...]:
        """For each stage the blocks that lie on a way to the last block of the last stage."""
        found: list[set[int]] = [set() for _ in self.sources]
        found[-1].add(len(self.widths) - 1)
        for stage in reversed(range(len(self.sources))):
            for block in reversed(range(len(self.widths))):
                if block in found[stage]:
                    for source in self.sources[stage][block]:
                        self._mark(found, stage, block, source)
        return tuple(map(frozenset, found))

    def _mark(self, found: list[set[int]], stage: int, block: int, source: int) -> None:
        if source > 0:
            found[stage - 1].add(source - 1)
        elif block > 0:
            found[stage].add(block - 1)
        elif stage % 2 == 1:
            # Through the bridge.
            found[stage - 1].add(len(self.widths) - 1)
