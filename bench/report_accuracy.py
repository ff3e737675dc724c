"""Sections of a report on accuracy: Dice and HD95 per class and patient, and volumes against the labels'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.clinical import INDICES, Agreement, Clinical, PatientIndices
from bench.clinical_plot import save_bland_altman
from bench.metrics import CLASS_LABELS
from bench.report_document import Block, Paragraph, Span, Subheading, Table, Words, number, plain, strong
from bench.report_records import Records
from bench.report_run import Document, Run
from cinert.provenance import counted, kind
from cinert.scores import in_digits, mean_of


def accuracy_section(run: Run, records: Records) -> list[Block]:
    """Show scores per class, then per frame with the worst first, and the clinical indices."""
    document = records.accuracy
    if document is None:
        run.without("accuracy", "mean Dice on whom training held out", "accuracy.json")
        return []
    # Written by releases that know phantoms.
    phantoms = document.get("n_phantoms", 0)
    mean, patients, fold = document["mean"], document["n_patients"] - phantoms, document["fold"]
    who, called = counted(patients, phantoms), kind(patients, phantoms)
    figures = ", ".join(f"{name.upper()} {in_digits(mean['dice'][name])}" for name in CLASS_LABELS)
    figures += f"; {plain(_seen_words(document['seen_patients']))}" if document["seen_patients"] != [] else ""
    run.judge(
        "accuracy",
        f"mean Dice {in_digits(mean['dice']['mean'])} on {who}, fold {fold}",
        "measured",
        figures,
        "accuracy.json",
    )
    blocks: list[Block] = [
        Paragraph(
            (
                "Mean Dice ",
                strong(in_digits(mean["dice"]["mean"])),
                f" and mean HD95 {in_digits(mean['hd95_mm']['mean'], 1)} mm on {who} (fold {fold}), on the grid"
                " that the images were stored on. ",
                _seen_words(document["seen_patients"]),
            )
        ),
        _class_table(document),
        Subheading("Every frame, the worst first"),
        _frame_table(document),
    ]
    if "clinical" not in document:
        run.missing.append("accuracy.json has no clinical indices: it was written by another release.")
        return blocks
    return blocks + _clinical(run, document["clinical"], called)


def _seen_words(seen: list[str] | None) -> str | Span:
    if seen is None:
        return "The weights do not say which patients they saw."
    return strong(f"The weights saw {len(seen)} of them.") if seen else "The weights saw none of them."


def _class_table(document: Document) -> Table:
    rows: list[list[Words]] = []
    for name in CLASS_LABELS:
        scored = [item for item in document["patients"] if item["dice"][name] is not None]
        if not scored:
            rows.append([name.upper(), "neither in labels nor in masks", *[""] * 3])
            continue
        worst = min(scored, key=lambda item: item["dice"][name])
        farthest = max(scored, key=lambda item: item["hd95_mm"][name])
        rows.append(
            [
                name.upper(),
                *(
                    f"{document['mean'][score][name]:.{n}f} ± {document['std'][score][name]:.{n}f}"
                    for score, n in _SCORES
                ),
                f"{worst['dice'][name]:.3f}, {_frame(worst)}",
                f"{farthest['hd95_mm'][name]:.1f}, {_frame(farthest)}",
            ]
        )
    return Table(["class", "Dice, mean ± SD", "HD95 mm, mean ± SD", "worst Dice", "worst HD95 mm"], rows, "lrrll")


_SCORES = (("dice", 3), ("hd95_mm", 1))


def _frame(item: Mapping[str, Any]) -> str:
    return f"{item['id']} frame {item['frame']} ({item['phase']})"


def _frame_table(document: Document) -> Table:
    seen = document["seen_patients"] or []
    ordered = sorted(document["patients"], key=lambda item: mean_of(item["dice"].values()) or 0.0)
    rows: list[list[Words]] = [
        [
            item["id"] + (" (seen)" if item["id"] in seen else ""),
            f"{item['frame']} {item['phase']}",
            *(in_digits(item["dice"][name]) for name in CLASS_LABELS),
            in_digits(mean_of(item["dice"].values())),
            *(in_digits(item["hd95_mm"][name], 1) for name in CLASS_LABELS),
            f"{item['kept_share']:.1%}",
        ]
        for item in ordered
    ]
    names = [name.upper() for name in CLASS_LABELS]
    header = [
        "patient",
        "frame",
        *(f"Dice {n}" for n in names),
        "Dice mean",
        *(f"HD95 {n}, mm" for n in names),
        "in view",
    ]
    return Table(header, rows, "ll" + "r" * (len(header) - 2))


def _clinical(run: Run, document: Document, called: str) -> list[Block]:
    clinical = Clinical(
        patients=tuple(
            PatientIndices(patient_id=item["id"], reference=item["reference"], predicted=item["predicted"])
            for item in document["patients"]
        ),
        agreement={
            name: Agreement(
                **{**item, "limits": item["limits"] and tuple(item["limits"]), "undefined": tuple(item["undefined"])}
            )
            for name, item in document["agreement"].items()
        },
        without_both_phases=tuple(document["without_both_phases"]),
    )
    blocks: list[Block] = [Subheading("Volumes, ejection fraction and mass against the labels")]
    if clinical.without_both_phases:
        names = ", ".join(clinical.without_both_phases)
        blocks.append(Paragraph(f"Without both an ED and an ES frame, and not counted: {names}."))
    if clinical.patients:
        blocks += [
            _agreement_table(clinical),
            run.draw(
                "bland_altman.png",
                f"Bland-Altman of {called}: predicted minus reference over their mean, a point each; bias and limits of"
                " agreement (1.96 SD) as lines.",
                lambda path: save_bland_altman(path, clinical, title=f"predicted against reference, {called}"),
            ),
        ]
    return blocks


def _agreement_table(clinical: Clinical) -> Table:
    rows: list[list[Words]] = []
    for name, label in INDICES.items():
        row = clinical.agreement[name]
        limits = "-" if row.limits is None else f"{row.limits[0]:+.1f} to {row.limits[1]:+.1f}"
        rows.append(
            [
                label,
                str(row.n),
                "-" if row.bias is None else f"{row.bias:+.1f}",
                limits,
                "-" if row.mean_absolute_error is None else number(row.mean_absolute_error, 1),
                "-" if row.pearson_r is None else number(row.pearson_r, 3),
                ", ".join(row.undefined),
            ]
        )
    header = ["index", "patients", "bias", "limits of agreement", "mean abs. error", "Pearson r", "not defined for"]
    return Table(header, rows, "lrrrrrl")
