"""How far a mask can be relied on, as a number: the calibrated model that a bundle carries in quality.json.

The score is the mean Dice that the model expects of a mask, from features that need no truth (a regression of Dice on
such features: Robinson et al., J Cardiovasc Magn Reson 21:18, 2019). Dice lies in 0..1, so the regression is a
fractional logit (Papke and Wooldridge, J Appl Econometrics 11:619, 1996). Every feature grows with what is wrong and no
weight is negative: whatever gets worse never raises the score. Free of torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cinert.errors import BadInputError
from cinert.schema import check_keys, check_schema, read_number

SCHEMA, VERSION = "cinert.quality", 1

FEATURES: dict[str, str] = {
    "entropy": "the network hesitates about the heart's voxels",
    "margin": "the network hardly tells one structure from its neighbours",
    "missing": "a structure is missing",
    "fragments": "a structure is in pieces",
    "open_lv": "the myocardium does not surround the left ventricle",
    "apart_rv": "the right ventricle does not lie beside the myocardium",
    "ragged": "the outline jumps from slice to slice",
    "cut": "the heart reaches the edge of the field of view",
    "volume": "a volume is far from those of other hearts",
    "jump": "the mask jumped since the last frame",
    "drift": "the volume of the myocardium differs from that of the frames before",
}
"""Name of each feature, and what is said where it weighs most; `bedside.quality_features` computes them."""

OVER_TIME = ("jump", "drift")
"""Features that need earlier frames; None until there are some."""

CALIBRATION = ("patients", "frames", "masks", "corruptions", "previous", "catch", "seed")
"""Keys of `QualityModel.calibration`."""

STRUCTURES = ("rv", "myo", "lv")


@dataclass(frozen=True, slots=True)
class Term:
    """What a feature takes off the logit of the score: weight * (value - mean) / scale.

    A value below the floor counts as the floor: two masks that hardly differ are no proof that both are good.
    """

    floor: float
    mean: float
    scale: float
    weight: float


@dataclass(frozen=True, slots=True)
class VolumeRange:
    """Natural logarithm of a structure's volume in ml over labelled hearts: mean and standard deviation."""

    mean_ln_ml: float
    sd_ln_ml: float


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityModel:
    """What quality.json says.

    Attributes:
        intercept: logit of the score of a mask whose features are all at their means.
        terms: by the name of the feature; all of `FEATURES`.
        volumes: of rv, myo and lv.
        threshold: score below which a mask is not to be relied on.
        good_dice: mean Dice that a good mask has at least.
        calibration: whom and what the model was fitted to: patients as {id, digest}, their labelled frames and the
            masks made of them, strengths by corruption, frames by what came before them, share of bad masks to be
            caught, seed.
        judged: what the score was worth on patients that it was not fitted to, as `bench.quality_worth` has it.
    """

    intercept: float
    terms: Mapping[str, Term]
    volumes: Mapping[str, VolumeRange]
    threshold: float
    good_dice: float
    calibration: Mapping[str, Any]
    judged: Mapping[str, Any]

    def losses(self, features: Mapping[str, float | None]) -> dict[str, float]:
        """What each feature takes off the logit; 0 for one that is None, not known."""
        return {
            name: (
                0.0
                if (value := features[name]) is None
                else term.weight * (max(value, term.floor) - term.mean) / term.scale
            )
            for name, term in self.terms.items()
        }

    def score(self, features: Mapping[str, float | None]) -> float:
        """Expected mean Dice, 0..1; `features` by name, None where one is not known yet."""
        return 1 / (1 + math.exp(-max(min(self.intercept - sum(self.losses(features).values()), 50.0), -50.0)))

    def reason(self, features: Mapping[str, float | None]) -> str:
        """The feature that takes off most, in words."""
        losses = self.losses(features)
        return FEATURES[max(losses, key=lambda name: losses[name])]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"schema": SCHEMA, "version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> QualityModel:
        """Read what `to_dict` wrote.

        Raises:
            BadInputError: another schema or version, an unknown or missing key, or a value of the wrong kind.
        """
        check_schema(document, schema=SCHEMA, version=VERSION, source=source)
        check_keys(document, required=["schema", "version", *cls.__dataclass_fields__], source=source)
        for key in ("terms", "volumes", "calibration", "judged"):
            if not isinstance(document[key], dict):
                raise BadInputError(f"{source}: {key} is {document[key]!r}, expected a mapping.")
        check_keys(document["calibration"], required=CALIBRATION, source=f"{source}: calibration")
        check_keys(document["terms"], required=FEATURES, source=f"{source}: terms")
        check_keys(document["volumes"], required=STRUCTURES, source=f"{source}: volumes")
        model = cls(
            intercept=_number(document["intercept"], "intercept", source),
            terms={name: Term(**_numbers(Term, document["terms"][name], name, source)) for name in FEATURES},
            volumes={
                name: VolumeRange(**_numbers(VolumeRange, document["volumes"][name], name, source))
                for name in STRUCTURES
            },
            threshold=_number(document["threshold"], "threshold", source),
            good_dice=_number(document["good_dice"], "good_dice", source),
            calibration=document["calibration"],
            judged=document["judged"],
        )
        for name, term in model.terms.items():
            if term.weight < 0 or term.scale <= 0:
                raise BadInputError(f"{source}: {name} has weight {term.weight} and scale {term.scale}.")
        for name, volume in model.volumes.items():
            if volume.sd_ln_ml <= 0:
                raise BadInputError(f"{source}: {name} has a spread of {volume.sd_ln_ml}.")
        return model


def _numbers(kind: type[Any], mapping: Any, name: str, source: str) -> dict[str, float]:
    if not isinstance(mapping, dict):
        raise BadInputError(f"{source}: {name} is {mapping!r}, expected a mapping.")
    check_keys(mapping, required=kind.__dataclass_fields__, source=f"{source}: {name}")
    return {key: _number(value, f"{name}.{key}", source) for key, value in mapping.items()}


def _number(value: Any, key: str, source: str) -> float:
    try:
        number: float = read_number(value, float)
    except TypeError as error:
        raise BadInputError(f"{source}: {key}: {error}.") from error
    if not math.isfinite(number):
        raise BadInputError(f"{source}: {key} is {value!r}, expected a finite number.")
    return number
