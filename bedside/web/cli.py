"""The command `view-cine`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from cinert.backends import get_backend
from cinert.cli import FiniteRange, command, console, engine_options, say_notes, series_option, share
from cinert.data.cine import open_cine
from cinert.device_lock import device_of
from cinert.environment import default_threads, device_name, fingerprint
from cinert.errors import BadInputError
from cinert.trust.opening import open_trusted, trust_option

EXAMPLES = """
view-cine bundle cine.nii.gz
view-cine bundle cine.nii.gz --fps 22 --port 8080
view-cine bundle dicom/ --series 5 --repeat 10
"""
PORT = 8080

_POSITIVE = FiniteRange(min=0, min_open=True)


@command("view-cine", examples=EXAMPLES, service=True)
@click.argument("bundle_path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.argument("cine_path", metavar="CINE", type=click.Path(path_type=Path))
@series_option()
@click.option("--fps", type=_POSITIVE, help="Frames a second. [default: the cine's own]")
@click.option("--repeat", type=click.IntRange(min=1), help="Passes through the cine. [default: until interrupted]")
@click.option("--host", default="127.0.0.1", help="Address of the page; 0.0.0.0 shows the images to the network.")
@click.option("--port", default=PORT, type=click.IntRange(0, 65535), help="Port of the page; 0 takes a free one.")
@click.option("--budget-ms", default=50.0, type=_POSITIVE, help="Frame in to mask ready; a slower mask is `late`.")
@click.option("--stale-ms", default=500.0, type=_POSITIVE, help="A picture that is older is shown as `stale`.")
@trust_option()
@engine_options()
def view_cine(
    bundle_path: Path,
    cine_path: Path,
    series: tuple[str, ...],
    fps: float | None,
    repeat: int | None,
    host: str,
    port: int,
    budget_ms: float,
    stale_ms: float,
    trust: Path | None,
    device: str,
    threads: int | None,
) -> None:
    """Replay a cine at its pace, segment it as it comes, and show it on a web page.

    CINE is a 4D NIfTI file, or the folder of a DICOM series. Frames that come while the engine works give way to the
    newest one, as they would at the bedside. Nobody is authenticated: keep the page on loopback, or on a network that
    is closed.
    """
    from bedside.frames import Answer, Frame
    from bedside.pipeline_runner import PipelineRunners
    from bedside.web.board import Facts
    from bedside.web.replay import Replay
    from bedside.web.server import WebView

    bundle = open_trusted(bundle_path, trust)
    cine = open_cine(cine_path, series)
    say_notes(cine.notes)
    if fps is None:
        if not cine.time_step_ms:
            raise BadInputError(f"{cine_path} does not say how fast its frames came.", hint="give --fps.")
        fps = 1e3 / cine.time_step_ms
    backend = get_backend(bundle.backend)
    share(device_of(backend, device))
    threads = threads or default_threads()
    facts = Facts(
        bundle=bundle.digest,
        device=device_name(fingerprint(backend, device=device, threads=threads, precision=bundle.precision)),
        budget_ms=budget_ms,
        stale_ms=stale_ms,
        source=f"replay of {cine_path.resolve().name} at {fps:.1f} frames/s",
    )
    with (
        PipelineRunners(
            bundle,
            device=device,
            threads=threads,
            budget_ms=budget_ms,
            log=lambda line: console.print(line, markup=False),
        ) as runners,
        WebView(host, port, facts) as page,
    ):
        console.print(f"showing {facts.source} on {page.url}", markup=False)
        runner = runners.open()
        states: Counter[str] = Counter()

        def show(frame: Frame | None, answer: Answer) -> None:
            states[answer.state] += 1
            page.publish(1, frame, answer)

        try:
            Replay(cine, fps=fps, passes=repeat, show=show).run(runner)
        finally:
            runner.close()
            counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
            console.print(f"{states.total()} frames: {counted}", markup=False)
