"""Designed networks made as fast as a budget: all widths by one factor, until the measured latency is right."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from cinert.baselines.base import Baseline
from cinert.environment import BINDING
from cinert.errors import BadInputError
from cinert.network import build_network, random_weights
from cinert.onnx import network_model
from cinert.timing import measure_interleaved, quiet_medians
from latency.clocks import host_to_host
from latency.profile import Setup

Widths = tuple[int, ...]
TOLERANCE = 0.05
"""How far the measured p50 may lie from the budget, as a fraction of it."""
MULTIPLES = (8, 4, 2, 1)
"""What wide levels are rounded to, coarsest first: engines compute channels in blocks, and pay a part as a whole."""
_WIDEST = 4096
_MOST_PARAMETERS = 150_000_000
"""0.6 GB in fp32: a file of ONNX holds 2 GiB, and a network that is run three times is unrolled in it."""
_STEEPNESS = 0.6
"""Guess of log(factor) over log(time): 0.5 where time goes with the square of the widths, 1 where it is linear."""


@dataclass(frozen=True, slots=True)
class Rung:
    """Widths that rounding can give, and a factor that gives them."""

    factor: float
    widths: Widths


@dataclass(frozen=True, slots=True)
class Measured:
    """A rung, and its p50 in milliseconds."""

    rung: Rung
    ms: float


Bounds = tuple[Measured | None, Measured | None]
"""The widest network that was too fast and the narrowest that was too slow, as far as there are any."""


def offered(multiple: int) -> list[int]:
    """Widths that a level may have: multiples, and of narrow levels halves and quarters of them, so that none jumps.

    A step is a third of the width at most, which keeps the levels' proportions.
    """
    widths = [1]
    while widths[-1] < _WIDEST:
        step = multiple
        while step > 1 and 3 * step > widths[-1]:
            step //= 2
        widths.append(widths[-1] + step)
    return widths


def rungs(widths: Widths, multiple: int) -> list[Rung]:
    """All widths that scaling by one factor and rounding can give, narrowest first.

    Args:
        widths: to be scaled.
        multiple: that wide levels are rounded to.
    """
    choices = offered(multiple)
    between = [(low + high) / 2 for low, high in itertools.pairwise(choices)]
    most = between[-1] / max(widths)
    edges = sorted({middle / width for middle in between for width in widths if middle / width <= most})
    found: dict[Widths, float] = {}
    for low, high in itertools.pairwise([edges[0] / 2, *edges]):
        factor = math.sqrt(low * high)
        scaled = tuple(choices[bisect.bisect_left(between, width * factor)] for width in widths)
        # Those that were given are scaled by 1 exactly, not by the middle of what rounds to them.
        found.setdefault(scaled, 1.0 if scaled == widths else factor)
    return [Rung(factor, scaled) for scaled, factor in found.items()]


def search_rung(
    widths: Widths, budget_ms: float, measure: Callable[[Widths], float], *, buildable: Callable[[Widths], bool]
) -> Measured:
    """Bisect over the factor until a network takes the budget, within `TOLERANCE`.

    Coarse multiples come first, from the coarsest that offers the given widths; finer ones where those skip the budget.

    Args:
        widths: to be scaled.
        budget_ms: to be met.
        measure: p50 of a network of such widths, in milliseconds; asked once for each.
        buildable: whether such a network is small enough to be built.

    Raises:
        BadInputError: no widths take the budget.
    """
    known: dict[Widths, Measured] = {}
    bounds: Bounds = (None, None)
    for multiple in MULTIPLES:
        if multiple > 1 and not set(widths) <= set(offered(multiple)):
            continue
        ladder = rungs(widths, multiple)
        ladder = ladder[: bisect.bisect_left(ladder, True, key=lambda rung: not buildable(rung.widths))]
        # Rounded to another multiple, a network of a smaller factor may be the slower one: bounds hold on one ladder.
        guess, bounds = _guess(bounds, budget_ms), (None, None)
        while waiting := _between(ladder, bounds):
            rung = min(waiting, key=lambda each: abs(math.log(each.factor / guess)))
            if rung.widths not in known:
                known[rung.widths] = Measured(rung, measure(rung.widths))
            found = known[rung.widths]
            if abs(found.ms / budget_ms - 1) <= TOLERANCE:
                return found
            bounds = (found, bounds[1]) if found.ms < budget_ms else (bounds[0], found)
            guess = _guess(bounds, budget_ms)
    raise BadInputError(_none_fits(bounds, budget_ms), hint="choose another budget, --widths or --threads.")


def _between(ladder: Sequence[Rung], bounds: Bounds) -> list[Rung]:
    faster, slower = bounds
    low = math.prod(faster.rung.widths) if faster else 0
    high = math.prod(slower.rung.widths) if slower else math.inf
    return [rung for rung in ladder if low < math.prod(rung.widths) < high]


def _guess(bounds: Bounds, budget_ms: float) -> float:
    """The factor to try next: between the bounds where there are two, beyond the one, or 1."""
    faster, slower = bounds
    if faster is not None and slower is not None:
        share = math.log(budget_ms / faster.ms) / math.log(slower.ms / faster.ms)
        low, high = math.log(faster.rung.factor), math.log(slower.rung.factor)
        return math.exp(low + min(max(share, 0.1), 0.9) * (high - low))
    bound = faster or slower
    if bound is None:
        return 1.0
    return bound.rung.factor * min(max(math.pow(budget_ms / bound.ms, _STEEPNESS), 0.5), 2.0)


def _none_fits(bounds: Bounds, budget_ms: float) -> str:
    taken = " and ".join(
        f"{','.join(map(str, bound.rung.widths))} take {bound.ms:.2f} ms" for bound in bounds if bound is not None
    )
    end = {(True, False): ", the narrowest", (False, True): ", the widest that can be built"}
    kind = end.get((bounds[0] is None, bounds[1] is None), "")
    return f"no widths bring the network within {TOLERANCE:.0%} of {budget_ms:g} ms here: {taken or 'none'}{kind}."


def measured_p50_ms(arch: Baseline, setup: Setup) -> float:
    """p50 of one volume from host memory to host memory on the quiet machine, with random weights.

    Raises:
        MachineBusyError: the machine does not become quiet.
    """
    # Given its weights, it is exported without being cached: most of what is measured is never seen again.
    network = build_network(arch)
    random_weights(network, seed=0)
    with setup.runner(network_model(arch, network)) as runner:
        clocks = {"network": setup.timed(host_to_host)(runner)}
        visits = measure_interleaved(clocks, setup.protocol, seed=setup.seed, watch=setup.watch())["network"]
    return float(np.median(quiet_medians(visits, setup.protocol, floor=0.0)))


def scale_to_budget(
    make: Callable[[Widths], Baseline],
    widths: Widths,
    budget_ms: float,
    setup: Setup,
    *,
    say: Callable[[str], object],
) -> Baseline:
    """A designed network whose widths are scaled until its p50 here is the budget, within `TOLERANCE`.

    Args:
        make: the network of such widths.
        widths: to be scaled; their number is kept, and so is the depth.
        budget_ms: of one volume through the network, from host memory to host memory.
        setup: where and how to measure.
        say: told of every network that was measured.

    Returns:
        The network. Its provenance says under `scaled` what was measured, and where.

    Raises:
        BadInputError: no widths take the budget.
        MachineBusyError: the machine does not become quiet.
    """

    def measure(scaled: Widths) -> float:
        ms = measured_p50_ms(make(scaled), setup)
        say(f"Widths {','.join(map(str, scaled))}: {ms:.2f} ms.")
        return ms

    found = search_rung(widths, budget_ms, measure, buildable=lambda scaled: _is_buildable(make(scaled)))
    made = make(found.rung.widths)
    return replace(made, provenance={**made.provenance, "scaled": _record(found, widths, budget_ms, setup)})


def _is_buildable(arch: Baseline) -> bool:
    with torch.device("meta"):
        network = build_network(arch)
    return sum(parameter.numel() for parameter in network.parameters()) <= _MOST_PARAMETERS


def _record(found: Measured, widths: Sequence[int], budget_ms: float, setup: Setup) -> Mapping[str, Any]:
    here = setup.fingerprint()
    return {
        "budget_ms": budget_ms,
        "measured_p50_ms": round(found.ms, 3),
        "from_widths": list(widths),
        "factor": round(found.rung.factor, 4),
        "clock": setup.clock,
        "busy": setup.protocol.tolerant,
        **{key: here[key] for key in BINDING},
    }
