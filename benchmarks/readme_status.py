"""Write the README's table of back ends from the newest results in benchmarks/results.

python benchmarks/readme_status.py [--check]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- status: written by `make docs` from benchmarks/results -->", "<!-- /status -->"
KINDS = {"cpu": "CPU", "gpu": "NVIDIA GPU"}
TITLES = {
    "torch": "PyTorch",
    "ort": "ONNX Runtime",
    "openvino": "OpenVINO",
    "trt": "TensorRT",
    "trt-rtx": "TensorRT-RTX",
}


def newest(kind: str) -> dict[str, Any] | None:
    """The newest result of a kind of device, by the date in its name."""
    files = sorted((ROOT / "benchmarks" / "results").glob(f"*-backends-{kind}.json"))
    return json.loads(files[-1].read_text()) if files else None


def cell(result: dict[str, Any] | None, name: str) -> str:
    """Counts of built, run and verified networks, or why there are none."""
    if result is None:
        return "not tried"
    status = result["backends"][name]
    if not status["available"]:
        return "not available"
    nets = status["networks"]
    counts = " / ".join(str(sum(net[step] for net in nets)) for step in ("built", "run", "verified"))
    device = status["fingerprint"]["device"]["name"]
    version = ", ".join(f"{library} {number}" for library, number in status["fingerprint"]["libraries"].items())
    return f"{counts} of {len(nets)} ({device}, {version}, {result['date']})"


def table() -> str:
    """The table as Markdown."""
    results = {kind: newest(kind) for kind in KINDS}
    lines = [
        "| back end | " + " | ".join(f"{title}: built / run / verified" for title in KINDS.values()) + " |",
        "| --- |" + " --- |" * len(KINDS),
    ]
    for name, title in TITLES.items():
        lines.append(f"| `{name}` {title} | " + " | ".join(cell(results[kind], name) for kind in KINDS) + " |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite the README, or with --check only say whether it is up to date."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    wanted = f"{before}{START}\n{table()}\n{END}{after}"
    if "--check" in sys.argv:
        sys.exit(0 if text == wanted else "README.md is not what benchmarks/results say: run make docs.")
    readme.write_text(wanted)


if __name__ == "__main__":
    main()
