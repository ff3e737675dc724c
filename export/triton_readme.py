"""What a client of the Triton model has to do itself, as a README in the model's folder."""

from __future__ import annotations

from collections.abc import Sequence

from cinert.bundle import Bundle
from cinert.bundle_manifest import PREPROCESSING

_TEXT = """# {model}

CineRT bundle {digest}, {backend} {precision}.
Research software, not a medical device.

- Input `{input}`: float32, {image} as (batch, channel, z, y, x).
- Output `{output}`: float32 logits, {logits}; classes in their order: {classes}.

## What the client has to do

Preprocessing is not in the model. `{preprocessing}` holds its figures, `cinert.data.grid` does it:

1. Resample the frame to {spacing} mm (z, y, x), with an anti-aliasing filter where the grid gets coarser.
2. Crop or pad to {shape}, centred on the heart. {localiser}
3. Z-score over the voxels that the image fills; padding is 0.
4. Run the model. Interpolate the logits back to the stored grid and take the largest class there.

```python
import numpy as np
import tritonclient.grpc as triton

from cinert.data.cine import open_cine
from cinert.data.grid import GridMap, PreprocessingSpec

spec = PreprocessingSpec(spacing_mm={spacing}, shape_DHW={shape}, depth_squeeze={squeeze:g})
client = triton.InferenceServerClient("localhost:8001")
cine = open_cine("cine.nii.gz", ())
grid = GridMap(cine.geometry, spec)  # third argument: the heart's centre in mm, where it is known
x_DHW = grid.to_network(cine.image[..., 0])
image = triton.InferInput("{input}", [1, 1, *x_DHW.shape], "FP32")
image.set_data_from_numpy(np.ascontiguousarray(x_DHW[None, None], np.float32))
logits_BCDHW = client.infer("{model}", [image], client_timeout=1.0).as_numpy("{output}")
mask = grid.logits_to_stored(logits_BCDHW[0])
```

Deadline, states (`live`, `late`, ...), quality score and audit log belong to `serve-mrd`; over Triton the client has to
see to them. The bundle's latencies and its certificate do not hold for Triton: measure there.

Triton checks no signature. Before the model is served, hold its files against the signed bundle (`verify-bundle`):
`sha256sum -c {sums}` says whether they are what was exported, if the sums are those of the bundle's manifest.json.
"""


def readme(bundle: Bundle, models: Sequence[str], *, sums: str) -> str:
    """The README of a bundle's models.

    Args:
        bundle: the bundle.
        models: name of the network's model and, where there is one, of the localiser's.
        sums: name of the file with the models' SHA-256.
    """
    manifest, spec = bundle.manifest, bundle.preprocessing
    localiser = (
        f"`{models[1]}` finds the heart on a coarse grid; `cinert.data.localiser` says what to do with its maps."
        if len(models) > 1
        else "The bundle has no localiser: the crop is centred on the image."
    )
    return _TEXT.format(
        model=models[0],
        digest=bundle.digest,
        backend=bundle.backend,
        precision=bundle.precision,
        input=manifest.inputs[0].name,
        output=manifest.outputs[0].name,
        image=manifest.inputs[0].shape,
        logits=manifest.outputs[0].shape,
        classes=", ".join(("background", *(name.upper() for name in manifest.classes if name != "background"))),
        preprocessing=PREPROCESSING,
        spacing=tuple(spec.spacing_mm),
        shape=tuple(spec.shape_DHW),
        squeeze=spec.depth_squeeze,
        localiser=localiser,
        sums=sums,
    )
