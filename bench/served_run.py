"""Frames through serve-mrd, from this process to another one and back, and the verdicts on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.co_load import CoLoad
from bench.frames import FrameSource
from bench.measure import FramesToMasks, Plan, Progress
from bench.memory import MemoryTrack
from bench.mrd_client import PacedClient
from bench.mrd_server import mrd_server
from bench.others import OthersTrack, blame_words, others_words
from bench.served import Served
from bench.stream import Stream


def measure_served(
    bundle: Path,
    source: FrameSource,
    plan: Plan,
    *,
    trust: Path | None,
    device: str,
    threads: int,
    progress: Progress,
) -> Served:
    """Start serve-mrd, send it the frames of the plan at its rate, and stop it.

    Args:
        bundle: folder.
        source: frames in stored axes.
        plan: frames, rate, warm-up and budget; always paced.
        trust: public key that the server demands a signature of.
        device: `auto`, `cpu` or `cuda:N`.
        threads: CPU threads of the engine.
        progress: makes a bar.

    Raises:
        BadInputError: the server does not start, or breaks off.
    """
    served = mrd_server(bundle, trust=trust, device=device, threads=threads, budget_ms=plan.budget_ms)
    with served as (address, pid):
        advance, memory, warmup = progress("frame to mask, served by MRD", plan.frames), MemoryTrack(pid), plan.warmup
        others = OthersTrack(threads)

        def on_frame() -> None:
            nonlocal warmup
            if warmup > 0:
                warmup -= 1
                return
            advance()
            memory.note()
            others.note()

        client = PacedClient(address, source)
        with others:
            frames = client.stream(plan.frames, fps=plan.fps, warmup=plan.warmup, on_frame=on_frame)
    return Served(frames, memory.to_dict(), others.to_dict())


def served_part(served: Served, plan: Plan) -> dict[str, Any]:
    """What verify.json says of served frames."""
    part = {"through": "mrd", **served.to_dict(plan.budget_ms)}
    part["failures"] = []
    if not part["budget_met"]:
        told = part["frame_to_mask"]
        p99 = "no frame got a mask" if told is None else f"frame to mask takes {told['p99_ms']:.1f} ms at p99"
        part["failures"].append(
            f"served by MRD the budget of {plan.budget_ms:g} ms is missed: {p99}, and {part['misses']} of"
            f" {part['frames']} frames got no mask in time{blame_words(part['others'])}"
        )
    return part


def co_load_part(command: str, load: CoLoad, engine: Stream, beside: FramesToMasks, plan: Plan) -> dict[str, Any]:
    """What verify.json says of the streams beside another program."""
    frames = beside.stream
    told = frames.to_dict(plan.budget_ms)
    met = frames.budget_met(plan.budget_ms)
    failure = (
        f"beside {command!r} the budget of {plan.budget_ms:g} ms is missed: frame to mask takes {told['p99_ms']:.1f} ms"
        f" at p99, and {told['misses']} of {told['frames']} frames are late{blame_words(beside.others)}"
    )
    return {
        "command": command,
        "cpu_cores": load.cpu_cores(),
        "measured": engine.to_dict(plan.budget_ms),
        "frame_to_mask": {**told, "queue_depth": frames.queue_depth(plan.fps)},
        "others": beside.others,
        "budget_met": met,
        "failures": [] if met else [failure],
    }


def proof_lines(document: Mapping[str, Any], verdict: Mapping[bool | None, str]) -> list[str]:
    """One line each for frames that were served and frames beside another program, in rich markup."""
    lines = []
    if (served := document["served"]) is not None:
        figures = "no masks"
        if served["frame_to_mask"] is not None:
            figures = (
                f"p99 {served['frame_to_mask']['p99_ms']:.1f} ms of {document['budget_ms']:g} ms, transport"
                f" {served['transport']['p50_ms']:.1f} ms (p99 {served['transport']['p99_ms']:.1f} ms)"
            )
        states = ", ".join(f"{count} {state}" for state, count in served["states"].items())
        depth = served["queue_depth"]["worst"]
        lines.append(
            f"{verdict[served['budget_met']]} served by MRD: {figures}; {states}; {depth} frames under way at most,"
            f" {served['overtaken']} served though a newer one was there{others_words(served.get('others'))}"
        )
    if (beside := document["co_load"]) is not None:
        alone, frames = document["frame_to_mask"], beside["frame_to_mask"]
        lines.append(
            f"{verdict[beside['budget_met']]} beside the other program ({beside['cpu_cores']:.1f} CPU cores): p99"
            f" {frames['p99_ms']:.1f} ms, alone {alone['p99_ms']:.1f} ms; {frames['misses']} of {frames['frames']}"
            f" frames late{others_words(beside.get('others'))}"
        )
    return lines
