"""Section of a report on the cine that was segmented: the beating heart, its volumes, and what each frame took."""

from __future__ import annotations

from bench.report_document import Block, Paragraph, Picture, Table, Words, code, number, outcome, strong
from bench.report_pictures import save_cine_chart
from bench.report_records import Records
from bench.report_run import Run

OVERLAYS = ("overlay.mp4", "overlay.gif")


def cine_section(run: Run, records: Records) -> list[Block]:
    """Show the overlay, the volume curves and the latency of each frame."""
    found = [run.folder / name for name in OVERLAYS if (run.folder / name).is_file()]
    blocks: list[Block] = [Picture(path, "The segmented cine.") for path in found[:1]]
    if not found:
        command = "segment-cine RUN/bundle CINE -o RUN/mask.nii.gz --overlay RUN/overlay.gif"
        run.missing.append((code("overlay.gif"), ", the segmented cine: not there; ", code(command), " writes it."))
    document = records.cine
    if document is None:
        return blocks
    if "unsure" in document:
        unsure = document["unsure"]
        figures = f"unsure, {unsure}" if unsure else "volumes, ejection fractions and shapes are those of a heart"
        run.judge("plausibility", "the masks of the cine can be a heart", outcome(not unsure), figures, "segment.json")
        if unsure:
            blocks.insert(0, Paragraph((strong("The masks are unsure, not to be relied on: "), f"{unsure}.")))
    latency, heart = document["latency"], document["function"]
    rows: list[list[Words]] = [
        [
            name.upper(),
            number(heart[name]["edv_ml"], 0),
            number(heart[name]["esv_ml"], 0),
            "not defined" if heart[name]["ef_percent"] is None else number(heart[name]["ef_percent"], 0),
        ]
        for name in ("lv", "rv")
    ]
    return [
        *blocks,
        Paragraph(
            f"{latency['frames']} frames of {document['cine']['file']}, frame in to mask out: p50"
            f" {latency['p50_ms']:.1f} ms, worst {latency['worst_ms']:.1f} ms, {latency['misses']} late."
        ),
        run.draw(
            "cine.png",
            "Volumes over the cycle with end diastole (ED) and end systole (ES), and frame in to mask out of each frame"
            " against the budget.",
            lambda path: save_cine_chart(path, document),
        ),
        Table(["ventricle", "EDV, ml", "ESV, ml", "EF, %"], rows, "lrrr"),
    ]
