"""Put the runs of real_patients.sh side by side: benchmarks/results/DATE-real-patients.{json,md}.

python benchmarks/real_patients_table.py runs/real/searched runs/real/unet
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from cinert.environment import device_name
from cinert.files import read_json, write_json, write_text

RESULTS = Path(__file__).parent / "results"


def figures(run: Path) -> dict[str, Any]:
    """What a run folder says about its network."""
    accuracy, metrics = read_json(run / "accuracy.json", "accuracy"), read_json(run / "metrics.json", "metrics")
    burst, paced = (read_json(run / name, "the measurement") for name in ("verify.json", "verify_paced.json"))
    agreement = accuracy["clinical"]["agreement"]
    kept = [frame["kept_share"] for frame in accuracy["patients"]]
    return {
        "run": run.name,
        "patients": {"train": metrics["patients"]["train"], "held_out": accuracy["n_patients"]},
        "dice": accuracy["mean"]["dice"],
        "dice_std": accuracy["std"]["dice"],
        "hd95_mm": accuracy["mean"]["hd95_mm"],
        "network_grid_dice": metrics["validation"]["mean"],
        "kept_share": {"mean": sum(kept) / len(kept), "worst": min(kept)},
        "clinical": {name: agreement[name] for name in agreement},
        "parameters": metrics["parameters"],
        "training": {
            "epochs": metrics["settings"]["epochs"],
            "minutes": metrics["seconds"] / 60,
            "cpu_minutes": metrics["cpu_seconds"] / 60,
        },
        "estimate": burst["estimate"],
        "engine_p50_ms": burst["measured"]["p50_ms"],
        "engine_fps": burst["measured"]["throughput_fps"],
        "frame_to_mask": {
            mode: {key: document["frame_to_mask"][key] for key in ("p50_ms", "p99_ms", "worst_ms", "stages_p50_ms")}
            for mode, document in (("burst", burst), ("paced", paced))
        },
        "within_interval": burst["within_interval"],
        "budget_met": burst["budget_met"] and paced["budget_met"],
        "device": device_name(burst["fingerprint"]),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A column per network."""

    def line(words: str, values: list[str]) -> str:
        return "| " + " | ".join([words, *values]) + " |"

    def dice(row: dict[str, Any], name: str) -> str:
        return f"{row['dice'][name]:.3f} ± {row['dice_std'][name]:.3f}"

    lines = [line("", [row["run"] for row in rows]), line("---", ["---"] * len(rows))]
    for name in ("rv", "myo", "lv"):
        lines.append(line(f"Dice {name.upper()}, original grid", [dice(row, name) for row in rows]))
    lines += [
        line("**Dice, mean**", [f"**{row['dice']['mean']:.3f}**" for row in rows]),
        line("HD95, mean, mm", [f"{row['hd95_mm']['mean']:.1f}" for row in rows]),
        line("Dice, network grid", [f"{row['network_grid_dice']['mean']:.3f}" for row in rows]),
        line("labelled voxels kept, mean / worst", [_kept(row) for row in rows]),
        line("parameters", [f"{row['parameters']:,}" for row in rows]),
        line("training, epochs / CPU minutes", [_training(row) for row in rows]),
        line("estimate, ms", [_estimate(row) for row in rows]),
        line("**engine p50, ms**", [f"**{row['engine_p50_ms']:.2f}**" for row in rows]),
        line("engine, frames/s, two in flight", [f"{row['engine_fps']:.0f}" for row in rows]),
    ]
    for mode in ("burst", "paced"):
        values = [f"{r['frame_to_mask'][mode]['p50_ms']:.1f} / {r['frame_to_mask'][mode]['p99_ms']:.1f}" for r in rows]
        lines.append(line(f"frame to mask, {mode}, p50 / p99, ms", values))
    return "\n".join(lines)


def _kept(row: dict[str, Any]) -> str:
    return f"{100 * row['kept_share']['mean']:.2f} % / {100 * row['kept_share']['worst']:.2f} %"


def _training(row: dict[str, Any]) -> str:
    return f"{row['training']['epochs']} / {row['training']['cpu_minutes']:.0f}"


def _estimate(row: dict[str, Any]) -> str:
    estimate = row["estimate"]
    return "-" if estimate is None else f"{estimate['ms']:.2f} [{estimate['low_ms']:.2f}, {estimate['high_ms']:.2f}]"


def main() -> None:
    """Read the runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    rows = [figures(run) for run in parser.parse_args().runs]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    write_json(RESULTS / f"{today}-real-patients.json", {"date": today, "networks": rows})
    held_out, train = rows[0]["patients"]["held_out"], rows[0]["patients"]["train"]
    text = (
        f"# Searched network and 3D U-Net on real patients, {today}\n\n"
        f"{train} patients to learn from, {held_out} held out (fold 0); {rows[0]['device']}; by"
        " `benchmarks/real_patients.sh`.\n\n" + table(rows) + "\n"
    )
    write_text(RESULTS / f"{today}-real-patients.md", text)
    print(text)


if __name__ == "__main__":
    main()
