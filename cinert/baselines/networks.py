"""From a baseline to its torch module, by kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cinert.baselines.aniso_unet import AnisoUNet
from cinert.baselines.aniso_unet_network import AnisoUNetNetwork
from cinert.baselines.base import Baseline
from cinert.baselines.bix_nas import BixNas
from cinert.baselines.bix_nas_network import BixNasNetwork
from cinert.baselines.bix_nas_published import PublishedBixNas
from cinert.baselines.bix_nas_published_network import PublishedBixNasNetwork
from cinert.baselines.halving import PublishedBaseline
from cinert.baselines.ica_unet import IcaUNet
from cinert.baselines.ica_unet_network import IcaUNetNetwork
from cinert.baselines.msu_net import MsuNet
from cinert.baselines.msu_net_network import MsuNetNetwork
from cinert.baselines.nas_unet import NasUNet
from cinert.baselines.nas_unet_network import NasUNetNetwork
from cinert.baselines.nas_unet_published import PublishedNasUNet
from cinert.baselines.nas_unet_published_network import PublishedNasUNetNetwork
from cinert.baselines.nnunet import NnUNet, NnUNetResEnc
from cinert.baselines.nnunet_network import NnUNetNetwork
from cinert.baselines.unet2d import UNet2d
from cinert.baselines.unet2d_network import UNet2dNetwork
from cinert.baselines.unet3d import UNet3d
from cinert.baselines.unet3d_network import UNet3dNetwork
from cinert.segmenter import Segmenter

NETWORKS: Mapping[str, Callable[[Any], Segmenter]] = {
    UNet2d.kind: UNet2dNetwork,
    UNet3d.kind: UNet3dNetwork,
    NnUNet.kind: NnUNetNetwork,
    NnUNetResEnc.kind: NnUNetNetwork,
    AnisoUNet.kind: AnisoUNetNetwork,
    NasUNet.kind: NasUNetNetwork,
    IcaUNet.kind: IcaUNetNetwork,
    BixNas.kind: BixNasNetwork,
    MsuNet.kind: MsuNetNetwork,
}
PUBLISHED_NETWORKS: Mapping[str, Callable[[Any], Segmenter]] = {
    PublishedNasUNet.kind: PublishedNasUNetNetwork,
    PublishedBixNas.kind: PublishedBixNasNetwork,
}


def build_baseline(baseline: Baseline) -> Segmenter:
    """Build the module of a baseline, with fresh weights."""
    networks = PUBLISHED_NETWORKS if isinstance(baseline, PublishedBaseline) else NETWORKS
    return networks[baseline.kind](baseline)
