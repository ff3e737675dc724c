"""A comparison as a Markdown page: the paper's table with ours beside it, the paper's numbers never in our columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.compare.document import SCORES, entries, held_out, is_measured
from cinert.provenance import counted, kind
from cinert.quiet import BUSY
from search.undecided import undecided_words

_NONE = "-"
Entry = Mapping[str, Any]


def to_markdown(document: Entry, *, picture: str) -> str:
    """Write the page.

    Args:
        document: of SUITE.json.
        picture: file beside the page; named where a network was measured.
    """
    networks = document["networks"]
    lines = [f"# {document['source']}, and ours beside it", "", *_facts(document), "", "## Dice", ""]
    lines += [
        f"Mean ± standard deviation over patients. Ours: the held-out {kind(*held_out(document))}, original grid, each"
        " the mean of its frames; a missed structure counts 0.",
        "",
        *_dice_table(networks),
        "",
        "## Cost",
        "",
        "Ours: engine host to host, back to back; frames/s with two frames in flight. *In time*: frame to mask, with"
        f" localiser, preprocessing and inverse mapping, stays within {document['setting']['budget_ms']:g} ms at p99"
        f" without a miss and sustains {document['setting']['fps']:g} frames/s. *Others*: CPU cores that other programs"
        " used meanwhile, on average and in the worst second, with a ! where they may have disturbed it. GFLOP:"
        f" convolutions on one volume, two for a multiply-add. {_memory_words(networks)}",
        "",
        *_cost_table(networks),
        "",
        "## What each was given",
        "",
        *_given_table(networks),
        *_same_words(networks),
        *_undecided_lines(networks),
    ]
    if missing := [entry for entry in entries(document) if entry["state"] != "finished"]:
        lines += ["", "## Not in the tables", ""]
        lines += [f"- {entry['title']} (`{entry['network']}`): {_why(entry)}" for entry in missing]
    if any(is_measured(entry) for entry in entries(document)):
        lines += ["", "## Dice against latency", "", f"![Dice against latency and throughput]({picture})", ""]
        lines += [_front_words(document), *_random_words(document["random"])]
    return "\n".join(lines) + "\n"


def _facts(document: Entry) -> list[str]:
    setting = document["setting"]
    learnt = setting.get("phantoms", {"train": 0})["train"]
    train = setting["patients"]["train"] - learnt, learnt
    clock = "of wall-clock time" if setting["clock"] == "wall" else "of CPU time per thread"
    lut = setting["lut"]
    prices = "no LUT" if lut is None else f"LUT {lut}{'' if setting['lut_of_here'] else ', of another device'}"
    if setting["lut_busy"]:
        prices += f", {BUSY}: it was taken with --allow-busy"
    return [
        f"- Ours: {setting['device']}; space {setting['space'].split()[0]}; {prices}; budget {setting['budget_ms']:g}"
        f" ms; {setting['frames']} frames timed.",
        f"- Data: {setting['data_folder']}, fold {setting['fold']}: {counted(*train)} to train on,"
        f" {setting['patients']['held_out']} held out (digest {setting['data']}).",
        f"- Each network was trained for {setting['minutes']:g} minutes {clock}, with the same recipe, each search ran"
        f" for {setting['search_minutes']:g}; computed on {setting['computed_on']}, seed {setting['seed']}, one run"
        " each.",
        f"- The paper's numbers: {document['paper_conditions']}. Another device, other patients, longer trainings: they"
        " show what was reported, and are no yardstick for ours.",
    ]


def _same_words(networks: Sequence[Entry]) -> list[str]:
    """Of networks that came out the same."""
    titles = {entry["network"]: entry["title"] for entry in networks}
    same = [(entry["title"], titles[entry["same_as"]]) for entry in networks if entry["same_as"] is not None]
    return ["", *(f"{title} is the same network as {first}." for title, first in same)] if same else []


def _undecided_lines(networks: Sequence[Entry]) -> list[str]:
    """Of networks that a relaxed search decoded from choices near a coin toss."""
    lines = []
    for entry in networks:
        search = entry["ours"]["search"] or {}
        if (words := undecided_words(search.get("entropy") or {})) is not None:
            lines += ["", f"{entry['title']}: {words}"]
    return lines


def _dice_table(networks: Sequence[Entry]) -> list[str]:
    names = [name.upper() if name != "mean" else name for name in SCORES]
    header = ["network", *(f"ours: {name}" for name in names), *(f"paper: {name}" for name in names)]
    rows = []
    for entry in networks:
        ours, paper = entry["ours"]["dice"], None if entry["paper"] is None else entry["paper"]["dice"]
        rows.append([entry["title"], *(_spread(dice, name) for dice in (ours, paper) for name in SCORES)])
    return table(header, rows)


def _spread(dice: Entry | None, name: str) -> str:
    if dice is None or dice[name]["mean"] is None:
        return _NONE
    return f"{dice[name]['mean']:.3f} ± {dice[name]['std']:.3f}"


def _cost_table(networks: Sequence[Entry]) -> list[str]:
    header = ["network", "ours: p50 ms", "p99 ms", "frames/s", "in time", "others", "M parameters", "GFLOP", "MiB"]
    header += ["paper: ms", "paper: frames/s"]
    rows = []
    for entry in networks:
        ours, paper = entry["ours"], entry["paper"]
        latency, memory = ours["latency"], ours["memory"]
        rows.append(
            [
                entry["title"],
                number(latency, lambda found: f"{found['p50_ms']:.2f}"),
                number(latency, lambda found: f"{found['p99_ms']:.2f}"),
                number(latency, lambda found: f"{found['throughput_fps']:.1f}"),
                number(latency, lambda found: "yes" if found["in_time"] else "no"),
                number(None if latency is None else latency["others"], others_figures),
                number(ours["parameters"], lambda found: f"{found / 1e6:.2f}"),
                number(ours["flops"], lambda found: f"{found / 1e9:.1f}"),
                number(memory, lambda found: f"{found['engine_mib']:.0f}"),
                number(paper, lambda found: f"{found['latency_ms']:g}"),
                number(paper, lambda found: f"{found['throughput_fps']:g}"),
            ]
        )
    return table(header, rows)


def others_figures(others: Entry) -> str:
    """CPU cores that other programs used, with a mark where that may have disturbed the measurement."""
    mark = " !" if others["disturbing"] else ""
    return f"{others['cpu_cores']:.1f}, {others['worst_cpu_cores']:.1f}{mark}"


def _memory_words(networks: Sequence[Entry]) -> str:
    if any((entry["ours"]["memory"] or {}).get("of") == "device" for entry in networks):
        return "MiB: GPU memory that engine and runs took."
    return "MiB: peak of a process of its own that loads and runs the engine, less what it held before."


def _given_table(networks: Sequence[Entry]) -> list[str]:
    header = [
        "network",
        "how",
        "search: epochs",
        "minutes",
        "CPU minutes",
        "training: epochs",
        "minutes",
        "CPU minutes",
    ]
    rows = []
    for entry in networks:
        given = [entry["ours"][name] for name in ("search", "training")]
        figures = [
            number(each, form.format_map)
            for each in given
            for form in ("{epochs:d}", "{minutes:.1f}", "{cpu_minutes:.1f}")
        ]
        rows.append([entry["title"], f"`{entry['how']}`", *figures])
    return [
        *table(header, rows, left=2),
        "",
        "A search that serves several networks is counted at each of them. CPU minutes are summed over threads; timing"
        " the first steps, from which the epochs are fixed, is in neither.",
    ]


def _why(entry: Entry) -> str:
    reason = "" if entry["reason"] is None else f": {entry['reason']}"
    return f"{entry['state']}{reason}"


def _front_words(document: Entry) -> str:
    titles = {entry["network"]: entry["title"] for entry in entries(document)}
    return (
        "No other network here beats these in both latency and mean Dice: "
        + ", ".join(titles[name] for name in document["front"]["latency"])
        + "."
    )


def _random_words(drawn: Sequence[Entry]) -> list[str]:
    measured = [entry["ours"] for entry in drawn if is_measured(entry)]
    if not measured:
        return []
    dice = [ours["dice"]["mean"]["mean"] for ours in measured]
    ms = [ours["latency"]["p50_ms"] for ours in measured]
    networks = f"{len(measured)} random network{'s' if len(measured) > 1 else ''} of the space"
    return [
        "",
        f"Grey: {networks}, trained for the same minutes: mean Dice {min(dice):.3f} to {max(dice):.3f},"
        f" p50 {min(ms):.2f} to {max(ms):.2f} ms.",
    ]


def number(value: Any, form: Callable[[Any], str]) -> str:
    """A figure, or a dash where there is none."""
    return _NONE if value is None else form(value)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Lines of a Markdown table, the first columns to the left and the others to the right."""
    rule = ["---" if column < left else "--:" for column in range(len(header))]
    return [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
