"""Deep supervision: heads on coarser features while a network is trained (Lee 2015; nnU-Net, Isensee 2021).

The heads live beside the network: what is kept of a training, exported and priced is the network alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cinert.segmenter import Segmenter
from cinert.space import CLASSES


class SideHeads:
    """A 1x1x1 convolution to the classes on each of a network's `side_outputs`.

    Args:
        network: to watch, on the device that it is trained on.

    Attributes:
        heads: one for each of the side outputs, in their order.
    """

    def __init__(self, network: Segmenter) -> None:
        self._watched = network.side_outputs()
        grid = network.arch.grid
        self._depth = grid.input_shape_DHW[0]
        device = next(network.parameters()).device
        image_BCDHW = torch.zeros(1, grid.in_channels, *grid.input_shape_DHW, device=device)
        channels = [volume.shape[1] for volume in self._probe(network, image_BCDHW)]
        self.heads = nn.ModuleList(nn.Conv3d(count, len(CLASSES), 1) for count in channels).to(device)

    @torch.no_grad()
    def _probe(self, network: Segmenter, image_BCDHW: Tensor) -> list[Tensor]:
        """The features of an image; in eval mode, so that batch norm keeps its statistics."""
        was_training = network.training
        with self.watching() as features:
            network.eval()(image_BCDHW)
        network.train(was_training)
        return self._volumes(features, len(image_BCDHW))

    @contextlib.contextmanager
    def watching(self) -> Iterator[dict[int, Tensor]]:
        """Yields what the side outputs give, by their number, while the network runs within."""
        features: dict[int, Tensor] = {}

        def keep(number: int) -> Callable[[nn.Module, object, Tensor], None]:
            return lambda _module, _inputs, output: features.update({number: output})

        handles = [module.register_forward_hook(keep(number)) for number, module in enumerate(self._watched)]
        try:
            yield features
        finally:
            for handle in handles:
                handle.remove()

    def logits(self, features: dict[int, Tensor], batch: int) -> list[Tensor]:
        """What the heads say, (B, classes, D', H', W') each.

        Args:
            features: what `watching` gave.
            batch: B, images that the network read; possibly none.
        """
        volumes = self._volumes(features, batch)
        return [head(volume) for head, volume in zip(self.heads, volumes, strict=True)]

    def _volumes(self, features: dict[int, Tensor], batch: int) -> list[Tensor]:
        """Features as (B, C, D, H, W), those of single slices too."""
        found = [features[number] for number in range(len(self._watched))]
        return [each.unflatten(0, (batch, self._depth)).transpose(1, 2) if each.dim() == 4 else each for each in found]


def coarser_labels(labels_BDHW: Tensor, shape_DHW: Sequence[int]) -> Tensor:
    """Labels (B, 1, D', H', W') on a coarser grid: that of the voxel nearest to each centre, as nnU-Net takes them."""
    return functional.interpolate(labels_BDHW[:, None].float(), size=shape_DHW, mode="nearest-exact").to(labels_BDHW)
