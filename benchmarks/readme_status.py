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
    """Counts of built, run and verified networks of each preset, or why there are none."""
    if result is None:
        return "not tried"
    status = result["backends"][name]
    # What follows in parentheses is advice for the machine that it was said on.
    reason = (status["reason"] or "").split(" (")[0]
    nets = status["networks"]
    if not nets:
        return f"not available: {reason}"
    built, run, verified = (sum(net[step] for net in nets) for step in ("built", "run", "verified"))
    of = f"of {len(nets)}, {len(nets) // len({net['preset'] for net in nets})} of each preset"
    version = ", ".join(f"{library} {number}" for library, number in status["fingerprint"]["libraries"].items())
    if not status["available"]:
        gpus = ", ".join(status["built_for"])
        return (
            f"built {built} {of}, for compute capability {gpus} ({version}, {result['date']});"
            f" runs: not on this machine, {reason}"
        )
    device = status["fingerprint"]["device"]["name"]
    return f"{built} / {run} / {verified} {of} ({device}, {version}, {result['date']})"


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
