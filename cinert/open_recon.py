"""The description that Open Recon (Siemens) reads of a container with an MRD server: a JSON label, version 1.1.0.

`serve-mrd` inside the container answers what this file promises. Free of torch.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from cinert import __version__
from cinert.bundle import Bundle
from cinert.files import write_json

CONFIG = "cinert"
"""The configuration by which an MRD client asks for the segmentation."""
CONFIGS = (CONFIG, "openrecon")
"""What clients may name; Open Recon names itself and sends the configuration as a parameter."""
PORT = 9002
LABEL = "com.siemens-healthineers.magneticresonance.openrecon.metadata:1.1.0"
"""Key of the image label that carries the description, base64-encoded."""
_MEMORY_MIB = 4096
_RESEARCH = "Research software, not a medical device. Not for diagnostic use."


def describe_open_recon(bundle: Bundle) -> dict[str, Any]:
    """Describe the container of a bundle: magnitude images in, masks in a series of their own out.

    The minima are what the container asks of the host: memory in MiB, a GPU only where the engine was built for one.
    """
    gpu = bundle.manifest.fingerprint["device"].get("kind") == "cuda"
    name = f"CineRT {bundle.arch.digest[:8]}"
    return {
        "general": {
            "name": {"en": name},
            "version": __version__,
            "vendor": "CineRT",
            "information": {"en": "Segments RV, myocardium and LV in cine images; the masks are a new series."},
            "id": f"cinert{bundle.digest[:8]}",
            "regulatory_information": {
                "device_trade_name": name,
                "production_identifier": bundle.digest,
                "manufacturer_address": "",
                "made_in": "",
                "manufacture_date": bundle.manifest.created[:10].replace("-", "/"),
                "material_number": f"{CONFIG}_{__version__}",
                "gtin": "",
                "udi": "",
                "safety_advices": _RESEARCH,
                "special_operating_instructions": "Short-axis stack of the heart, magnitude images.",
                "additional_relevant_information": f"Bundle {bundle.digest}, {bundle.backend} {bundle.precision}.",
            },
        },
        "reconstruction": {
            "transfer_protocol": {"protocol": "ISMRMRD", "version": "1.4.1"},
            "port": PORT,
            "emitter": "image",
            "injector": "image",
            "can_process_adjustment_data": False,
            "can_use_gpu": gpu,
            "min_count_required_gpus": int(gpu),
            "min_required_gpu_memory": _MEMORY_MIB if gpu else 0,
            "min_required_memory": _MEMORY_MIB,
            "min_count_required_cpu_cores": 2,
            "content_qualification_type": "RESEARCH",
        },
        "parameters": [
            {
                "id": "config",
                "type": "choice",
                "label": {"en": "Configuration"},
                "information": {"en": "What the server does with the images."},
                "values": [{"id": CONFIG, "name": {"en": "Heart segmentation"}}],
                "default": CONFIG,
            }
        ],
    }


def write_open_recon(path: Path, bundle: Bundle) -> None:
    """Write the description as JSON.

    Raises:
        BadInputError: the path cannot be written.
    """
    write_json(path, describe_open_recon(bundle))


def open_recon_label(bundle: Bundle) -> str:
    """The line of a Dockerfile that puts the description on the image."""
    text = json.dumps(describe_open_recon(bundle), indent=2)
    return f'LABEL "{LABEL}"="{base64.b64encode(text.encode()).decode()}"'
