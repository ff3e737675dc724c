"""Looking inside an engine: the time of every layer as CSV, and what the engine inspector says as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from cinert.backends.tensorrt.runner import TensorRtRunner
from cinert.files import write_json, write_text

LAYERS_CSV, LAYERS_JSON = "layers.csv", "layers.json"


def layers_csv(times_ms: Sequence[tuple[str, float]]) -> str:
    """A row per layer in the order of execution: its name, its milliseconds and its share of the sum."""
    total = sum(ms for _, ms in times_ms) or 1.0
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["layer", "time_ms", "share"])
    writer.writerows([name, f"{ms:.4f}", f"{ms / total:.4f}"] for name, ms in times_ms)
    return stream.getvalue()


def write_layers(runner: TensorRtRunner, folder: Path, *, runs: int) -> list[tuple[str, float]]:
    """Write layers.csv (median over `runs`) and layers.json to a folder; return the times as (layer, milliseconds).

    Raises:
        BadInputError: the folder cannot be written.
    """
    times_ms = runner.layer_times_ms(runs)
    write_text(folder / LAYERS_CSV, layers_csv(times_ms))
    write_json(folder / LAYERS_JSON, json.loads(runner.information()))
    return times_ms
