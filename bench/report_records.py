"""Everything that a run folder records, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report_document import code
from bench.report_run import Document, Run
from cinert.arch import load_arch
from cinert.architecture import Architecture
from cinert.bundle import Bundle, open_bundle

if TYPE_CHECKING:
    from latency.lut import Lut


@dataclass(frozen=True, kw_only=True)
class Records:
    """What was read; None or empty where it is missing, which `Run.missing` says."""

    arch: Architecture | None
    config: Document | None
    """Of the search."""
    metrics: Document | None
    """Of the training."""
    bundle: Bundle | None
    accuracy: Document | None
    verify: Mapping[str, Document]
    """verify.json and every verify*.json beside it, by name."""
    cine: Document | None
    lut: Lut | None


def read_records(run: Run) -> Records:
    """Read the files of a run folder, in the order in which the stages write them."""
    from latency.lut import load_lut  # noqa: PLC0415 - slow to import: torch

    name = "lut.json" if run.lut.parent == run.folder else str(run.lut.absolute())
    lut = run.read(name, "the latency table", "bench-ops -o RUN/lut.json", load_lut)
    arch = run.read("arch.yaml", "the architecture", "nas-search --lut LUT -o RUN", load_arch)
    searched = arch is None or arch.kind == "searched"
    config = run.read_document("config.json", "the settings of the search", "nas-search") if searched else None
    if lut is None and config is not None:
        run.missing.append(
            (code(f"cinert report RUN --lut {config['lut']['file']}"), " would show the latency table of the search.")
        )
    metrics = run.read_document("metrics.json", "how training went", "train-arch RUN/arch.yaml -o RUN")
    bundle = run.read("bundle", "the engine", "export-engine RUN/arch.yaml -o RUN/bundle", open_bundle)
    command = "evaluate-bundle RUN/bundle --data DATA -o RUN/accuracy.json"
    accuracy = run.read_document("accuracy.json", "Dice and HD95", command)
    verify = {}
    for file in sorted({"verify.json", *(path.name for path in run.folder.glob("verify*.json"))}):
        document = run.read_document(file, "the measured latency", f"bench-engine RUN/bundle -o RUN/{file}")
        if document is not None:
            verify[file] = document
    command = "segment-cine RUN/bundle CINE -o RUN/mask.nii.gz --report RUN/segment.json"
    cine = run.read_document("segment.json", "the report on a cine", command)
    return Records(
        arch=arch, config=config, metrics=metrics, bundle=bundle, accuracy=accuracy, verify=verify, cine=cine, lut=lut
    )
