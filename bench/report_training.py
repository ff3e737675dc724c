"""Section of a report on search and training over their epochs."""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import CLASS_LABELS
from bench.report_document import Block, Paragraph, code, pairs, strong
from bench.report_records import Records
from bench.report_run import Document, Run
from cinert.provenance import kind
from cinert.scores import in_digits


def curves_section(run: Run, records: Records) -> list[Block]:
    """Draw the search's and the training's curves."""
    entropy = {} if records.arch is None else records.arch.provenance.get("entropy", {})
    return [*_search(run, records.config, entropy), *_training(run, records.metrics)]


def _search(run: Run, config: Document | None, entropy: Mapping[str, float]) -> list[Block]:
    if config is None:
        return []
    patients = len(config["weight_patients"]), len(config["arch_patients"])
    identity = config["identity"]
    if identity.get("method") in {"random", "evolution"}:
        return [
            Paragraph(
                f"Search ({identity['method']}): {identity['candidates']} networks, trained on {patients[0]} patients"
                f" and scored on {patients[1]} others; the last round had {identity['epochs']} epochs."
            )
        ]
    from search.draw_curves import draw_search  # noqa: PLC0415 - slow to import: matplotlib
    from search.run_log import read_scalars  # noqa: PLC0415 - slow to import: torch
    from search.undecided import undecided_words  # noqa: PLC0415 - with the others

    curves = read_scalars(run.folder, "search")
    if not curves:
        run.missing.append((code("tensorboard/search"), ", the search's curves: not there; nas-search logs them."))
        return []
    if not entropy:
        # Of a release before the architecture's file kept it.
        names = ("alpha", "gamma", "beta")
        entropy = {name: curves[f"{name}_entropy"][-1][1] for name in names if f"{name}_entropy" in curves}
    words = undecided_words(entropy)
    return [
        *([] if words is None else [Paragraph(strong(words[0].upper() + words[1:]))]),
        Paragraph(
            f"Search: {identity['epochs']} epochs, weights on {patients[0]} patients, architecture on"
            f" {patients[1]} others."
        ),
        run.draw(
            "search.png",
            "The search: losses, expected latency, how undecided the choices still are, temperature, as far as logged.",
            lambda path: draw_search(path, curves, budget_ms=config["budget_ms"]),
        ),
    ]


def _training(run: Run, metrics: Document | None) -> list[Block]:
    if metrics is None:
        return []
    from search.draw_curves import draw_training  # noqa: PLC0415 - slow to import: matplotlib

    patients, validation, epochs = metrics["patients"], metrics["validation"]["mean"], metrics["epochs"]
    # Written by releases that know phantoms.
    phantoms = metrics.get("phantoms", {"train": 0, "validation": 0})
    of_all = sum(patients.values()) - sum(phantoms.values()), sum(phantoms.values())
    called = kind(*of_all)
    dice = "nobody was held out"
    if validation is not None:
        dice = ", ".join(f"{name.upper()} {in_digits(validation[name])}" for name in CLASS_LABELS)
        dice += f", mean {in_digits(validation['mean'])}"
    return [
        pairs(
            [
                ("training", f"{len(epochs)} epochs in {metrics['seconds']:.0f} s on {metrics['device']}"),
                (called, f"{patients['train']} to learn from, {patients['validation']} held out"),
                ("parameters", f"{metrics['parameters']:,}"),
                ("last loss", f"{epochs[-1]['loss']:.4f}"),
                (f"Dice of held-out {called} on the network's grid", dice),
                (
                    "labelled voxels in the field of view",
                    "{mean:.2%} on average, {worst:.2%} at worst".format_map(metrics["kept_share"]),
                ),
            ]
        ),
        run.draw(
            "training.png",
            f"The training: loss, Dice on held-out {called} and learning rate, as far as logged.",
            lambda path: draw_training(path, epochs, who=called),
        ),
    ]
