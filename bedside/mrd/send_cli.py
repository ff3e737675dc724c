"""The command `send-mrd`."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from cinert.cli import FiniteRange, command, console, progress_bar, say_notes, series_option
from cinert.data.cine import open_cine
from cinert.data.nifti import write_mask
from cinert.errors import BadInputError, VerdictError
from cinert.files import check_writable
from cinert.open_recon import CONFIG, PORT

SEND_EXAMPLES = """
send-mrd cine.nii.gz -o mask.nii.gz
send-mrd cine.nii.gz --fps 22 --repeat 10
send-mrd dicom/ --series 5 -o mask.nii.gz --port 9002
send-mrd cine.nii.gz --fresh-slices 1 --fps 22 --repeat 10
send-mrd cine.nii.gz --no-nul
"""

_POSITIVE = FiniteRange(min=0, min_open=True)


@command("send-mrd", examples=SEND_EXAMPLES)
@click.argument("cine_path", metavar="CINE", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Mask to write, on the cine's own grid.")
@series_option()
@click.option("--host", default="127.0.0.1", help="Address of the server.")
@click.option("--port", default=PORT, type=click.IntRange(1, 65535), help="Port of the server.")
@click.option("--config", default=CONFIG, help="Configuration to ask for.")
@click.option(
    "--nul/--no-nul",
    default=True,
    help="End the XML header in a NUL, as scanners and most clients do, or not, as newer descriptions of MRD have it.",
)
@click.option("--fps", type=_POSITIVE, help="Frames a second. [default: a frame goes out when the last is answered]")
@click.option("--repeat", default=1, type=click.IntRange(min=1), help="Passes through the cine.")
@click.option(
    "--fresh-slices",
    type=click.IntRange(min=1),
    metavar="N",
    help="Send the first phase whole and then N slices of each, in turn, to a server with the same option.",
)
@click.option("--timeout-s", default=30.0, type=_POSITIVE, help="How long the server may be silent.")
def send_mrd(
    cine_path: Path,
    output: Path | None,
    series: tuple[str, ...],
    host: str,
    port: int,
    config: str,
    nul: bool,
    fps: float | None,
    repeat: int,
    fresh_slices: int | None,
    timeout_s: float,
) -> None:
    """Replay a cine to an MRD server as a scanner would, and save the masks that come back.

    CINE is a 4D NIfTI file, or the folder of a DICOM series. Exit code 1 where a phase of the first pass got no mask:
    then no file is written.
    """
    from bedside.mrd.client import ReplayClient, scanner_axes
    from bedside.mrd.server import Address

    if output is not None:
        if not output.name.endswith((".nii", ".nii.gz")):
            raise BadInputError(f"-o is {output}; its name has to end in .nii or .nii.gz.")
        if output.resolve() == cine_path.resolve():
            raise BadInputError(f"-o {output} would overwrite the cine.")
        if fresh_slices is not None:
            raise BadInputError("-o takes whole phases, and --fresh-slices sends parts of them.", hint="leave one out.")
        check_writable(output)
    cine = open_cine(cine_path, series)
    say_notes(cine.notes)
    depth = cine.geometry.shape[scanner_axes(cine.geometry)[2]]
    if fresh_slices is not None and fresh_slices > depth:
        raise BadInputError(f"--fresh-slices is {fresh_slices}, and {cine_path} has {depth} slices.")
    client = ReplayClient(
        Address(host, port), config=config, nul=nul, fps=fps, timeout_s=timeout_s, fresh_slices=fresh_slices
    )
    with progress_bar() as progress:
        task = progress.add_task("replaying", total=cine.image.shape[3] * repeat)
        result = client.replay(cine, passes=repeat, on_answer=lambda: progress.advance(task))
    if result.refused:
        raise BadInputError(f"the MRD server at {Address(host, port)} said: {result.refused}.")
    masks = len(result.answered) - len(result.reasons)
    unsure = sum(state == "unsure" for state in result.answered.values())
    doubt = f", {unsure} of them unsure: not to be relied on" if unsure else ""
    console.print(f"{len(result.answered)} frames answered, {masks} with a mask{doubt}", markup=False)
    if result.round_trip_ms:
        p50, p99 = np.percentile(result.round_trip_ms, [50, 99])
        console.print(f"first byte out to mask in: p50 {p50:.1f} ms, p99 {p99:.1f} ms", markup=False)
    if missing := [
        phase
        for phase in range(cine.image.shape[3])
        if (0, phase) in result.reasons or (0, phase) not in result.answered
    ]:
        reason = result.reasons.get((0, missing[0]), "no answer")
        raise VerdictError(
            f"{len(missing)} of {cine.image.shape[3]} phases got no mask, phase {missing[0] + 1} first: {reason}.",
            hint="without --fps every frame waits for its answer.",
        )
    if output is not None:
        write_mask(output, result.mask, like=cine.header)
        console.print(f"wrote {output}", markup=False)
