"""How much longer than on the quiet machine a frame takes for a user: measured, and kept apart from the prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cinert.schema import check_keys
from cinert.timing import Visits
from latency.checks import checked_ms

_RESAMPLES = 400
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadFactor:
    """Factors on the quiet-machine time, over all samples of the measurement, busy windows too."""

    p50: float
    p50_interval: Interval
    """90 %, by resampling visits."""
    p99: float
    p99_interval: Interval
    disturbed: float
    """Share of the visits in which something else used the machine."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, source: str) -> LoadFactor:
        """Read what `to_dict` wrote; raises BadInputError for what cannot be a factor."""
        check_keys(document, required=list(cls.__dataclass_fields__), source=source)
        values: dict[str, Any] = {}
        for name, value in document.items():
            if name.endswith("interval"):
                low, high = value
                values[name] = (checked_ms(low, f"{source}.{name}"), checked_ms(high, f"{source}.{name}"))
            else:
                values[name] = checked_ms(value, f"{source}.{name}")
        return cls(**values)


def measure_load(rows: Mapping[str, Visits], quiet_ms: Mapping[str, float], *, seed: int = 0) -> LoadFactor:
    """Compare every sample with its row's quiet time.

    Args:
        rows: visits to each network.
        quiet_ms: quiet time of each.
        seed: of the resampling.
    """
    visits = [
        (np.asarray(visit.samples_ms) / quiet_ms[name], visit.disturbed) for name, row in rows.items() for visit in row
    ]
    ratios = [ratio for ratio, _ in visits]
    rng = np.random.default_rng(seed)
    drawn = [
        np.percentile(
            np.concatenate([ratios[index] for index in rng.integers(len(ratios), size=len(ratios))]), [50, 99]
        )
        for _ in range(_RESAMPLES)
    ]
    low, high = np.percentile(drawn, [5, 95], axis=0)
    p50, p99 = np.percentile(np.concatenate(ratios), [50, 99])
    return LoadFactor(
        p50=float(p50),
        p50_interval=(float(low[0]), float(high[0])),
        p99=float(p99),
        p99_interval=(float(low[1]), float(high[1])),
        disturbed=float(np.mean([disturbed for _, disturbed in visits])),
    )
