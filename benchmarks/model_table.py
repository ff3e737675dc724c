"""Write the table of docs/latency-model.md from the bench-model results in benchmarks/results.

python benchmarks/model_table.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "latency-model.md"
START, END = "<!-- figures: written by `make docs` from benchmarks/results -->", "<!-- /figures -->"
ROWS = {
    "calibrated": "calibrated",
    "uncalibrated": "prices in context",
    "raw_sum": "parts alone, summed",
    "flops": "FLOPs, a line",
    "throughput": "throughput",
}


def lines_of(document: dict[str, Any], date: str) -> list[str]:
    """The rows of one run."""
    lut = document["lut"]
    where = f"{lut['space']}, {lut['device']}, {document['nets']} networks, seed {document['seed']}, {date}"
    found = [f"| **{where}** | | | | | | | |"]
    for name, words in ROWS.items():
        row = document["held_out"][name]
        inside = f"{row['coverage_90']:.0%}" if "coverage_90" in row else ""
        found.append(
            f"| {words} | {row['mape']:.1%} | {row['within_5']:.0%} | {row['within_10']:.0%} | {row['worst']:.0%}"
            f" | {row['kendall_tau']:.3f} | {row['spearman_rho']:.3f} | {inside} |"
        )
    noise = document["noise_floor"]
    found.append(
        f"| measured again | {noise['mape']:.1%} | {noise['within_5']:.0%} | {noise['within_10']:.0%}"
        f" | {noise['worst']:.0%} | | | |"
    )
    return found


def table() -> str:
    """The table as Markdown: every result, by name."""
    lines = [
        "| model | MAPE | within 5 % | within 10 % | worst | tau | rho | in its 90 % interval |",
        "| --- | --: | --: | --: | --: | --: | --: | --: |",
    ]
    for path in sorted((ROOT / "benchmarks" / "results").glob("*-model-*.json")):
        lines += lines_of(json.loads(path.read_text()), path.name[:10])
    return "\n".join(lines)


def main() -> None:
    """Write the table, or with --check say whether it is up to date."""
    before = PAGE.read_text()
    head, rest = before.split(START)
    after = f"{head}{START}\n{table()}\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv[1:]:
        sys.exit(0 if after == before else "docs/latency-model.md is not what benchmarks/results say: run `make docs`.")
    PAGE.write_text(after)


if __name__ == "__main__":
    main()
