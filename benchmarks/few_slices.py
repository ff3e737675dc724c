"""Two ways to segment one to three fresh slices of a stack: which is more accurate, and which is faster.

    python benchmarks/few_slices.py BUNDLE SLICES.yaml --data DIR --fold 0
    python benchmarks/few_slices.py BUNDLE SLICES.yaml --cine sax_4d.nii.gz --labels sax_4d_lvlabel_auto.nii.gz \
        --cine-slices 2 12
    python benchmarks/few_slices.py BUNDLE SLICES.yaml --data DIR --tiny

`stack`: the fresh slices take their places in the stack's last state, and the bundle's network segments the stack, as
`serve-mrd --fresh-slices` does. `slices`: a 2D network (`cinert baseline unet2d`, then `train-arch`) segments the
fresh slices alone, cropped where the stack had the heart. `whole` is the bundle on a stack in which every slice is
fresh: what nobody has who acquires few slices.

Dice is of masks put together from the slices as they were when they were fresh. On patients with ED and ES alone, the
rest of the stack is of the other phase: half a beat old, which is the worst that a beat can do. On a cine the slices
are acquired in turn, one to three per phase, so the rest of the stack has the ages that it would have.

Latency is frame in to mask out without a localiser, which both ways would pay alike; slices that are acquired alone
need no more of it than the map to their grid. Writes benchmarks/results/DATE-few-slices.json.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from few_slices_dice import FRESH, dice_on_cine, dice_on_patients
from few_slices_networks import SliceNetwork, StackNetwork, latencies_ms

from bench.seen import refuse_seen, seen_among
from cinert.arch import load_arch
from cinert.backends import get_backend
from cinert.baselines.levels import SliceBaseline
from cinert.bundle import open_bundle
from cinert.data.folds import split_patients
from cinert.data.layouts import read_patients
from cinert.data.nifti import read_cine, read_label
from cinert.environment import default_threads, fingerprint, library_version
from cinert.files import write_json
from export.weights import find_weights, load_trained

RESULTS = Path(__file__).parent / "results"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="of a 3D network")
    parser.add_argument("slices", type=Path, help="arch.yaml of a 2D network, with weights.safetensors beside it")
    parser.add_argument("--data", type=Path, help="folder of labelled patients")
    parser.add_argument("--fold", type=int, default=0, help="fold whose patients neither network saw")
    parser.add_argument("--patients", type=int, help="of the fold, at most")
    parser.add_argument("--cine", type=Path, help="4D NIfTI with labels of every phase")
    parser.add_argument("--labels", type=Path, help="its labels")
    parser.add_argument("--cine-slices", type=int, nargs=2, metavar=("FIRST", "LAST"), help="that the labels hold for")
    parser.add_argument("--backends", default="ort,openvino", help="engines to time; empty times none")
    parser.add_argument("--repeats", type=int, default=200, help="frames timed of each way and engine")
    parser.add_argument("--note", default="", help="what a reader has to know, e.g. of the weights")
    parser.add_argument("--tiny", action="store_true", help="one patient, two phases, few repeats: to see it work")
    parser.add_argument("-o", "--output", type=Path, help="JSON to write instead")
    return parser.parse_args()


def main() -> None:
    """Measure and write."""
    words = parse()
    bundle, arch = open_bundle(words.bundle), load_arch(words.slices)
    if not isinstance(arch, SliceBaseline):
        raise SystemExit(f"{words.slices} is no 2D network; `cinert baseline unet2d` makes one")
    trained = load_trained(arch, find_weights(words.slices, None))
    document: dict[str, Any] = {
        "what": "stack: last state with fresh slices replaced, 3D network; slices: 2D network on the fresh ones alone",
        "bundle": {"digest": bundle.digest, "architecture": bundle.arch.digest},
        "slices": {"architecture": arch.digest},
        "note": words.note,
        "versions": {name: library_version(name) for name in ("cinert", "numpy", "openvino", "onnxruntime")},
    }
    stack, slices = StackNetwork(bundle), SliceNetwork(arch, trained.network, bundle.backend)
    if words.data is not None:
        patients = {patient.id: patient for patient in read_patients(words.data)}
        held_out = [patients[id_] for id_ in split_patients(patients.values(), words.fold).validation]
        for path, seen in ((words.bundle, bundle.seen_patients), (words.slices, trained.seen_patients)):
            if seen is not None:
                found = seen_among(held_out, seen, on_patient=lambda: None)
                refuse_seen(found, by=path, hint="give the --fold that both were trained without.")
        document["patients"] = dice_on_patients(held_out[: 1 if words.tiny else words.patients], stack, slices)
    if words.cine is not None:
        cine = read_cine(words.cine)
        phases = 2 if words.tiny else cine.image.shape[3]
        labels = [read_label(words.labels, volume=phase)[0] for phase in range(phases)]
        first, last = words.cine_slices or (0, cine.geometry.shape[2] - 1)
        document["cine"] = dice_on_cine(cine, labels, (first, last), stack, slices)
    document["latency"] = {
        name: {
            "fingerprint": fingerprint(get_backend(name), device="cpu", threads=default_threads(), precision="fp32"),
            **latencies_ms(name, bundle, arch, trained.network, FRESH, repeats=3 if words.tiny else words.repeats),
        }
        for name in filter(None, words.backends.split(","))
    }
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = words.output or RESULTS / f"{today}-few-slices.json"
    write_json(path, document)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
