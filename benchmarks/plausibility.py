"""What the plausibility gate lets pass and what it stops (docs/quality.md), on labels and on masks of networks.

    python benchmarks/plausibility.py --data acdc --cine sax_4d.nii.gz --bundle B --bundle B ... [-o RESULT.json]

- labels of all patients, as they are, as if of bodies of other sizes, and in a few of their slices: no alarm is wanted;
- masks of the bundles that were trained on patients, of those of them that they did not see, clean and corrupted: few
  alarms where the mean Dice is 0.8 or more, many where it is below 0.3;
- masks of the bundles that were trained on phantoms, and of networks that were not trained at all: alarms are wanted.

Bundles trained for a few epochs (train-arch --epochs 1, 2, 5, 50; export-engine) give masks of every Dice. Writes
benchmarks/results/DATE-plausibility.json.
"""

from __future__ import annotations

import argparse
import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from plausibility_masks import Judged, Truth, mask_of, out_of_fold, read_truths, untrained
from rich.progress import track

from bedside.plausibility import PlausibilityGate, implausible_cine
from bedside.volumes import function, volumes_ml
from bench.metrics import CLASS_LABELS
from cinert.bundle import Bundle, open_bundle
from cinert.data.cine import open_cine
from cinert.data.nifti import Cine, Geometry
from cinert.data.orientation import orientation_of
from cinert.environment import library_version
from cinert.files import write_json

RESULTS = Path(__file__).parent / "results"
SIZES = (0.4, 0.5, 0.6, 0.8, 1.25)
"""Of a body in length: a newborn's heart has a sixteenth of an adult's volume, 0.4 cubed."""
FEW_SLICES = (1, 2, 3, 4, 6)
BINS = ((0.8, 1.01), (0.3, 0.8), (0.0, 0.3))
"""Of the mean Dice: from, to below."""


def reason(mask: np.ndarray, geometry: Geometry) -> str:
    """What the gate says of a mask that no network made."""
    gate = PlausibilityGate()
    gate.bind(geometry)
    return gate.reason(mask)


def alarms(reasons: Sequence[str]) -> dict[str, Any]:
    """How many of the reasons there are, and the words of the first alarms."""
    found = [text for text in reasons if text]
    return {
        "masks": len(reasons),
        "alarms": len(found),
        "examples": [text for text, _ in Counter(found).most_common(3)],
    }


def resized(geometry: Geometry, factor: float) -> Geometry:
    """The same image of a body of another size."""
    affine = geometry.affine.copy()
    affine[:3] *= factor
    return Geometry(geometry.shape, affine)


def parts(truth: Truth, count: int) -> Iterable[tuple[np.ndarray, Geometry]]:
    """Every stack of so many neighbouring slices."""
    axis = orientation_of(truth.geometry).stored_axis[0]
    for first in range(truth.label.shape[axis] - count + 1):
        part = truth.label.take(range(first, first + count), axis=axis)
        yield part, Geometry(part.shape, truth.geometry.affine)


def of_truths(truths: Sequence[Truth]) -> dict[str, Any]:
    """Alarms on labels."""
    by_patient: dict[str, list[Truth]] = {}
    for truth in truths:
        by_patient.setdefault(truth.patient_id, []).append(truth)
    return {
        "frames": alarms([reason(truth.label, truth.geometry) for truth in truths]),
        "patients": alarms([_of_pair([(t.label, t.geometry) for t in pair]) for pair in by_patient.values()]),
        "of_size": {
            f"{size:g}": alarms([reason(truth.label, resized(truth.geometry, size)) for truth in truths])
            for size in SIZES
        },
        "in_slices": {
            str(count): alarms([reason(*part) for truth in truths for part in parts(truth, count)])
            for count in FEW_SLICES
        },
    }


def _of_pair(frames: Sequence[tuple[np.ndarray, Geometry]], judged: Sequence[str] | None = None) -> str:
    """As segment-cine judges the labelled frames of a patient, where they lie on one grid."""
    mask, geometry = np.stack([mask for mask, _ in frames], axis=3), frames[0][1]
    reasons = judged if judged is not None else [reason(mask, geometry) for mask, geometry in frames]
    volumes = volumes_ml(mask, geometry)
    return implausible_cine(reasons, volumes, function(volumes), geometry)


def by_dice(masks: Sequence[Judged]) -> dict[str, Any]:
    """Alarms in each bin of the mean Dice."""
    return {
        f"{low:g} to {min(high, 1.0):g}": alarms([m.reason for m in masks if low <= m.mean_dice < high])
        for low, high in BINS
    }


def of_cine(bundle: Bundle, cine: Cine) -> dict[str, Any]:
    """As segment-cine judges a cine."""
    reasons, masks = [], []
    for mask, text in mask_of(bundle, [(cine.image[..., t], cine.geometry) for t in range(cine.image.shape[3])]):
        masks.append(mask)
        reasons.append(text)
    volumes = volumes_ml(np.stack(masks, axis=3), cine.geometry)
    said = implausible_cine(reasons, volumes, function(volumes), cine.geometry, bundle.findable)
    return {**alarms(reasons), "cine_is_unsure": bool(said)}


def of_phantom_trained(bundle: Bundle, truths: Sequence[Truth], cine: Cine | None) -> dict[str, Any]:
    """Alarms of a network that saw phantoms alone, on real hearts."""
    masks = out_of_fold(bundle, truths, corrupted=False)
    pairs: dict[str, list[Judged]] = {}
    for mask in masks:
        pairs.setdefault(mask.patient_id, []).append(mask)
    unsure = [_of_pair([(m.mask, m.geometry) for m in pair], [m.reason for m in pair]) for pair in pairs.values()]
    return {
        "mean_dice": float(np.mean([mask.mean_dice for mask in masks])),
        "frames": alarms([mask.reason for mask in masks]),
        "patients": alarms(unsure),
        "frames_by_dice": by_dice(masks),
        "cine": None if cine is None else of_cine(bundle, cine),
    }


def _named(bundle: Bundle) -> dict[str, Any]:
    provenance = bundle.manifest.provenance
    return {
        "arch": bundle.arch.kind,
        "digest": bundle.digest[:16],
        "provenance": None if provenance is None else provenance.to_dict(),
    }


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="labelled patients")
    parser.add_argument("--cine", type=Path, help="a 4D cine, NIfTI or DICOM folder")
    parser.add_argument("--bundle", type=Path, action="append", default=[], help="of a trained network")
    parser.add_argument("--untrained-frames", type=int, default=8, help="of the data, for each untrained network")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / f"{today}-plausibility.json")
    words = parser.parse_args()
    truths = read_truths(words.data)
    cine = None if words.cine is None else open_cine(words.cine)
    bundles = [open_bundle(path) for path in words.bundle]
    document: dict[str, Any] = {"date": today, "data": words.data.name, "truths": of_truths(truths)}
    masks: list[Judged] = []
    document["trained_on_patients"], document["trained_on_phantoms"] = [], []
    for bundle in track(bundles, "bundles"):
        provenance = bundle.manifest.provenance
        if provenance is not None and provenance.phantoms and not provenance.patients:
            document["trained_on_phantoms"].append({**_named(bundle), **of_phantom_trained(bundle, truths, cine)})
            continue
        of_bundle = out_of_fold(bundle, truths, corrupted=True)
        masks += of_bundle
        clean = [mask for mask in of_bundle if not mask.corruption]
        mean = {name: float(np.mean([m.dice[name] for m in clean])) for name in CLASS_LABELS}
        document["trained_on_patients"].append(
            {
                **_named(bundle),
                "dice": mean,
                "clean": by_dice(clean),
                "all": by_dice([mask for mask in of_bundle if not mask.torn]),
            }
        )
    torn = [mask for mask in masks if mask.torn]
    masks = [mask for mask in masks if not mask.torn]
    document["out_of_fold"] = {
        "not_counted_since_the_image_is_torn": alarms([mask.reason for mask in torn]),
        "clean": by_dice([mask for mask in masks if not mask.corruption]),
        "corrupted": by_dice([mask for mask in masks if mask.corruption]),
        "all": by_dice(masks),
    }
    images = [(truth.image, truth.geometry) for truth in truths[:: max(1, len(truths) // words.untrained_frames)]]
    if cine is not None:
        images.append((cine.image[..., 0], cine.geometry))
    document["untrained"] = {
        name: alarms(reasons) for name, reasons in track(list(untrained(images)), "untrained networks")
    }
    document["versions"] = {name: library_version(name) for name in ("cinert", "numpy", "scipy", "openvino")}
    write_json(words.output, document)
    _say(document)
    print(f"wrote {words.output}")


def _say(document: dict[str, Any]) -> None:
    def share(figures: dict[str, Any]) -> str:
        return f"{figures['alarms']} of {figures['masks']}"

    print(f"labels: {share(document['truths']['frames'])}, patients {share(document['truths']['patients'])}")
    for name, figures in document["out_of_fold"]["all"].items():
        print(f"out of fold, Dice {name}: {share(figures)}")
    for figures in document["trained_on_phantoms"]:
        cine = figures["cine"]
        words = (
            "" if cine is None else f"; cine: {share(cine)} phases, {'unsure' if cine['cine_is_unsure'] else 'SURE'}"
        )
        print(f"{figures['arch']} trained on phantoms, mean Dice {figures['mean_dice']:.2f} on real hearts:")
        print(f"  {share(figures['frames'])} frames, {share(figures['patients'])} patients{words}")
    networks = document["untrained"].values()
    print(f"untrained: every mask of {sum(n['alarms'] == n['masks'] for n in networks)} of {len(networks)} networks")


if __name__ == "__main__":
    main()
