"""Section of a report on how a run was made: commands with their settings, versions, device, data and seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from safetensors import SafetensorError, safe_open

from bench.report_document import Block, Commands, Paragraph, Table, Words, code
from bench.report_records import Records
from bench.report_run import Document, Run

_LINES_OF_A_SPAN = 2
SEARCH_OPTIONS = {
    "method": "--method",
    "candidates": "--candidates",
    "fold": "--fold",
    "epochs": "--epochs",
    "paths": "--paths",
    "latency_term": "--latency-term",
    "occurrence": "--occurrence",
    "mixture": "--mixture",
    "latency_weight": "--lambda",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "arch_learning_rate": "--arch-learning-rate",
    "seed": "--seed",
}
"""Option of nas-search by setting."""
TRAINING_OPTIONS = {
    "fold": "--fold",
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "warmup_steps": "--warmup-steps",
    "weight_decay": "--weight-decay",
    "average_decay": "--average-decay",
    "deep_supervision": "--deep-supervision",
    "seed": "--seed",
}
"""Option of train-arch by setting."""
TEACHER_OPTIONS = {"teacher_weight": "--teacher-weight", "teacher_temperature": "--teacher-temperature"}
"""The same, where it has a teacher."""


def made_section(run: Run, records: Records) -> list[Block]:
    """Tell what is needed to make the run again."""
    blocks: list[Block] = []
    stages = _stages(run, records)
    if stages:
        blocks.append(Table(["stage", "seed", "fold", "data", "versions", "took"], stages, "llllll"))
    devices = _devices(records)
    if devices:
        blocks.append(Table(["file", "measured or built on", "libraries", "host"], devices, "llll"))
    return [
        *blocks,
        Paragraph(f"The commands, with the settings that the files record; {_yours(records)} are yours to name."),
        Commands(_commands(run, records)),
    ]


def _stages(run: Run, records: Records) -> list[list[Words]]:
    rows: list[list[Words]] = []
    if records.config is not None:
        provenance = {} if records.arch is None else records.arch.provenance
        settings = records.config["identity"]
        rows.append(["search", *_origin(settings), _versions(provenance.get("versions", {})), _search_minutes(run)])
    if records.metrics is not None:
        minutes, cpu_minutes = (records.metrics[key] / 60 for key in ("seconds", "cpu_seconds"))
        took = f"{minutes:.1f} min on {records.metrics['device']}, {cpu_minutes:.1f} min of CPU time"
        rows.append(["training", *_origin(records.metrics["settings"]), _weights_versions(run), took])
    return rows


def _search_minutes(run: Run) -> str:
    """Wall clock from the first to the last line of the search's log, pauses included."""
    log = run.folder / "search.log"
    times = [line.split(" ", 1)[0] for line in log.read_text().splitlines()] if log.is_file() else []
    if len(times) < _LINES_OF_A_SPAN:
        return "-"
    seconds = (datetime.fromisoformat(times[-1]) - datetime.fromisoformat(times[0])).total_seconds()
    return f"{seconds / 60:.1f} min from first to last line of its log"


def _weights_versions(run: Run) -> str:
    weights = run.folder / "weights.safetensors"
    if not weights.is_file():
        return "-"
    try:
        with safe_open(weights, framework="np") as stream:
            record = json.loads((stream.metadata() or {}).get("cinert", "{}"))
    except (SafetensorError, ValueError):
        return "cannot be read"
    return _versions(record.get("provenance", {}).get("versions", {}))


def _origin(settings: Mapping[str, Any]) -> list[Words]:
    return [str(settings["seed"]), str(settings["fold"]), code(settings["data"])]


def _versions(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items()) or "-"


def _devices(records: Records) -> list[list[Words]]:
    prints: dict[str, Mapping[str, Any]] = {}
    if records.lut is not None:
        prints["lut.json"] = records.lut.fingerprint
    if records.bundle is not None:
        prints["bundle/manifest.json"] = records.bundle.manifest.fingerprint
    prints |= {name: document["fingerprint"] for name, document in records.verify.items()}
    for name, document in (("accuracy.json", records.accuracy), ("segment.json", records.cine)):
        if document is not None:
            prints[name] = document["fingerprint"]
    return [[code(name), *_print_words(value)] for name, value in prints.items()]


def _print_words(value: Mapping[str, Any]) -> list[Words]:
    device, recorded = value["device"], value.get("recorded", {})
    driver = f", driver {device['driver']}" if "driver" in device else ""
    host = [
        str(recorded[name]) + unit
        for name, unit in (("host_cpu", ""), ("clock_mhz", " MHz"), ("memory_gib", " GiB"), ("system", ""))
        if recorded.get(name) is not None
    ]
    python = [f"Python {recorded['python']}"] if "python" in recorded else []
    return [
        f"{device['name']} ({value['backend']}, {value['precision']}, {value['threads']} threads){driver}",
        _versions(value["libraries"]),
        ", ".join([*host, *python]),
    ]


def _commands(run: Run, records: Records) -> list[str]:
    folder, lut = run.folder, run.lut
    searched = records.arch is None or records.arch.kind == "searched"
    training = ["--data DATA", *_options(records.metrics, "settings", TRAINING_OPTIONS), *_sources(records)]
    measurements: Mapping[str, Document | None] = records.verify or {"verify.json": None}
    return [
        _bench_ops(records, f"-o {lut}"),
        *([_nas_search(records, f"--lut {lut}", f"-o {folder}")] if searched else []),
        f"train-arch {folder}/arch.yaml {' '.join(training)} -o {folder}",
        _export(records, f"{folder}/arch.yaml --lut {lut} --data DATA -o {folder}/bundle"),
        f"evaluate-bundle {folder}/bundle --data DATA{_fold(records.accuracy)} -o {folder}/accuracy.json",
        *(
            _bench_engine(document, f"{folder}/bundle --lut {lut}", f"-o {folder}/{name}")
            for name, document in measurements.items()
        ),
        f"segment-cine {folder}/bundle CINE -o {folder}/mask.nii.gz --overlay {folder}/overlay.gif"
        f" --report {folder}/segment.json",
        f"cinert report {folder}",
    ]


def _options(document: Document | None, key: str, options: Mapping[str, str]) -> list[str]:
    settings = {} if document is None else document[key]
    return [f"{option} {settings[name]}" for name, option in options.items() if settings.get(name) is not None]


def _sources(records: Records) -> list[str]:
    """What a training read of others: the file has digests of their weights, not their places."""
    settings = {} if records.metrics is None else records.metrics["settings"]
    words = [f"--{name} {name.upper()}" for name in ("init", "teacher") if settings.get(name) is not None]
    return (
        words if settings.get("teacher") is None else [*words, *_options(records.metrics, "settings", TEACHER_OPTIONS)]
    )


def _yours(records: Records) -> str:
    settings = {} if records.metrics is None else records.metrics["settings"]
    more = [
        f"{name.upper()} (weights of SHA-256 {settings[name]}...)"
        for name in ("init", "teacher")
        if settings.get(name) is not None
    ]
    *first, last = ["DATA", "CINE", *more]
    return f"{', '.join(first)} and {last}"


def _bench_ops(records: Records, output: str) -> str:
    lut = records.lut
    if lut is None:
        return f"bench-ops --space SPACE {output}"
    networks = len(lut.prices.report.get("networks", []))
    clock = "" if lut.clock == "wall" else f" --clock {lut.clock}"
    return (
        f"bench-ops --space {lut.space.name} --backend {lut.backend} --precision {lut.precision}"
        f" --threads {lut.fingerprint['threads']}{clock} --networks {networks} {output}"
    )


def _nas_search(records: Records, lut: str, output: str) -> str:
    config = records.config
    words = ["nas-search", lut, "--data DATA"]
    if config is not None:
        words += [f"--space {config['space']['name']}", *_options(config, "identity", SEARCH_OPTIONS)]
        if config.get("decoder") is not None:
            words.append(f"--relaxation {config['space']['relaxation']} --decoder {config['decoder']}")
        words.append(f"--budget-ms {config['budget_ms']:g}")
    return " ".join([*words, output])


def _export(records: Records, rest: str) -> str:
    if records.bundle is None:
        return f"export-engine {rest}"
    manifest = records.bundle.manifest
    threads = manifest.fingerprint["threads"]
    return f"export-engine {rest} --backend {manifest.backend} --precision {manifest.precision} --threads {threads}"


def _fold(accuracy: Document | None) -> str:
    return "" if accuracy is None else f" --fold {accuracy['fold']}"


def _bench_engine(document: Document | None, inputs: str, output: str) -> str:
    if document is None:
        return f"bench-engine {inputs} {output}"
    measured = document["measured"]
    return (
        f"bench-engine {inputs} --mode {measured['mode']} --frames {measured['frames']} --fps {document['fps']:g}"
        f" --budget-ms {document['budget_ms']:g} {output}"
    )
