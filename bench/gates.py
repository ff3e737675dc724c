"""Parity and layer audit of a bundle, which an engine for another machine left open where it was exported.

The gates are those of `export-engine`. The bundle is pinned by its hashes and stays as it is: what is found here stands
in verify.json. Free of torch until parity is really checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bedside.pipeline import FramePipeline
from cinert.backends.base import Runner
from cinert.backends.tensorrt.audit import audit_plan
from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.bundle import Bundle
from cinert.bundle_manifest import LOCALISER, WEIGHTS
from cinert.errors import VerdictError

if TYPE_CHECKING:
    from cinert.data.dataset import Sample

Status = Literal["passed", "failed", "not_run"]
Where = Literal["export", "here"]
_ELSEWHERE = "the engine could not run where it was exported"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParityCheck:
    """How far the engine lies from PyTorch in fp32, and where that was found."""

    status: Status
    checked: Where
    relative_logits: float | None
    """max |a - b| / max |b|, the worst over all inputs; None where not compared, or not finite."""
    dice_drop: float | None
    """Mean Dice of PyTorch less the engine's, on labelled frames; None in fp32, or without frames."""
    tolerance: float
    """Of `relative_logits` in fp32, of `dice_drop` below."""
    inputs: Mapping[str, int]
    """How many inputs of each kind were compared: `random`, `frames`."""
    localiser_logits: float | None = None
    """As `relative_logits`, of the localiser; None where the bundle has none, or export checked it."""
    reason: str | None = None
    """Why the status is not `passed`."""

    @property
    def failures(self) -> list[str]:
        """A line where the check failed."""
        return [f"parity: {self.reason}"] if self.status == "failed" else []

    def to_dict(self) -> dict[str, Any]:
        """Plain values for verify.json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditCheck:
    """Whether a layer runs in fp32 that was not declared to, and where that was found."""

    status: Status
    checked: Where
    reason: str | None = None
    """Why the status is not `passed`."""

    @property
    def failures(self) -> list[str]:
        """A line where the check failed."""
        return [f"audit: {self.reason}"] if self.status == "failed" else []

    def to_dict(self) -> dict[str, Any]:
        """Plain values for verify.json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParityInputs:
    """What engine and PyTorch are compared on."""

    images: Mapping[str, Sequence[NDArray[np.float32]]]
    """x_BCDHW by kind: an engine in fp32 has to give PyTorch's logits on them."""
    frames: Sequence[Sample] = field(default=())
    """An engine below fp32 has to give PyTorch's Dice on them."""


def parity_inputs(bundle: Bundle, data: Path | None) -> ParityInputs | None:
    """Read what parity takes, before anything is measured.

    Args:
        bundle: what is measured.
        data: labelled patients, or None.

    Returns:
        None where the manifest's word stands: parity passed at export, and no data were given to check it again; or
        PyTorch, the reference, is not installed here.

    Raises:
        BadInputError: the data are in no known layout, or a frame cannot be read.
    """
    if (bundle.manifest.parity.status == "passed" and data is None) or not _has_torch():
        return None
    from export.dice_gate import labelled_frames  # noqa: PLC0415 - slow to import: torch
    from export.parity import random_images, real_images  # noqa: PLC0415 - slow to import: torch

    images = {"random": random_images(bundle.manifest.inputs[0].shape)}
    if data is None:
        return ParityInputs(images=images)
    if bundle.precision == "fp32":
        return ParityInputs(images={**images, "frames": real_images(data, bundle.preprocessing)})
    return ParityInputs(images=images, frames=labelled_frames(data, bundle.preprocessing))


def _has_torch() -> bool:
    return find_spec("torch") is not None


def parity_at_export(bundle: Bundle) -> ParityCheck:
    """What the manifest says."""
    stored = bundle.manifest.parity
    without_torch = "" if _has_torch() else ", and PyTorch, the reference, is not installed here"
    return ParityCheck(
        status=stored.status,
        checked="export",
        relative_logits=stored.relative_logits,
        dice_drop=stored.dice_drop,
        tolerance=stored.tolerance,
        inputs=dict(stored.inputs),
        reason=None if stored.status == "passed" else _ELSEWHERE + without_torch,
    )


def check_parity(bundle: Bundle, pipeline: FramePipeline, inputs: ParityInputs) -> ParityCheck:
    """Compare the engines with PyTorch, with the weights in the bundle, by the gates of `export-engine`.

    Args:
        bundle: says the precision, which decides the gate, and holds the weights.
        pipeline: with the engines, open.
        inputs: to compare on; below fp32 and without labelled frames the logits are told, and not judged.

    Raises:
        BadInputError: the weights in the bundle do not fit its architecture.
    """
    from export.dice_gate import DICE_TOLERANCE, dice_drop  # noqa: PLC0415 - slow to import: torch
    from export.parity import TOLERANCE, worst_difference  # noqa: PLC0415 - slow to import: torch
    from export.weights import load_trained  # noqa: PLC0415 - slow to import: torch

    network = load_trained(bundle.arch, bundle.folder / WEIGHTS).network
    precision, drop, unjudged, failure = bundle.precision, None, None, None
    tolerance = TOLERANCE if precision == "fp32" else DICE_TOLERANCE[precision]
    compared = {kind: len(batch) for kind, batch in inputs.images.items()}
    if precision != "fp32" and inputs.frames:
        compared = {"frames": len(inputs.frames)}
        drop, worst = dice_drop(pipeline.runner, network, inputs.frames)
        if not (math.isfinite(worst) and drop <= tolerance):
            failure = (
                f"in {precision} the mean Dice drops by {drop:.4f} on {len(inputs.frames)} frames (logits differ by"
                f" {worst:.1e}), more than {tolerance:g}"
            )
    else:
        worst, where = worst_difference(pipeline.runner, network, inputs.images)
        if precision != "fp32":
            unjudged = f"an engine in {precision} is judged by its Dice on labelled frames: give --data"
        elif not worst <= tolerance:
            failure = _too_far("engine", worst, tolerance, where)
    localiser = _localiser_difference(bundle, pipeline)
    if localiser is not None and not localiser[0] <= localiser[1]:
        failure = failure or _too_far("localiser", *localiser, "random views")
    return ParityCheck(
        status="failed" if failure else "not_run" if unjudged else "passed",
        checked="here",
        relative_logits=_finite(worst),
        dice_drop=drop,
        tolerance=tolerance,
        inputs=compared,
        localiser_logits=None if localiser is None else _finite(localiser[0]),
        reason=failure or unjudged,
    )


def _too_far(what: str, difference: float, tolerance: float, where: str) -> str:
    return f"the {what}'s logits differ from PyTorch's by {difference:.2e} (relative, {where}), more than {tolerance:g}"


def _localiser_difference(bundle: Bundle, pipeline: FramePipeline) -> tuple[float, float] | None:
    """Difference of the localiser's logits and what it may be; None where the bundle has no localiser."""
    if pipeline.localiser is None:
        return None
    from export.localiser import (  # noqa: PLC0415 - slow to import: torch
        LOCALISER_TOLERANCE,
        load_trained_localiser,
        localiser_difference,
    )

    trained = load_trained_localiser(bundle.folder / LOCALISER)
    difference = localiser_difference(pipeline.localiser.runner, trained.network)
    return difference, LOCALISER_TOLERANCE[bundle.precision]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check_audit(bundle: Bundle, pipeline: FramePipeline) -> AuditCheck | None:
    """Hold the layers of the loaded plans against what the manifest declares, where export could not.

    Returns:
        None where the engine is of a back end whose layers are not audited.
    """
    builds = {part: build for part, build in bundle.manifest.build.items() if "audit" in build}
    if not builds:
        return None
    runners: dict[str, Runner] = {"network": pipeline.runner}
    if pipeline.localiser is not None:
        runners["localiser"] = pipeline.localiser.runner
    checked: Where = "export"
    for part, build in builds.items():
        if build["audit"] == "passed":
            continue
        runner = runners[part]
        if not isinstance(runner, TensorRtRunner):
            return AuditCheck(
                status="not_run", checked="here", reason=f"an engine of {bundle.backend} does not show its layers"
            )
        checked = "here"
        try:
            audit_plan(runner.information(), bundle.precision, {kept["node"] for kept in build["kept_in_fp32"]})
        except VerdictError as error:
            return AuditCheck(status="failed", checked=checked, reason=f"{part}: {error.message.rstrip('.')}")
    return AuditCheck(status="passed", checked=checked)
