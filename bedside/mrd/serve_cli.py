"""The command `serve-mrd`."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from pathlib import Path

import click

from bedside.audit.service import audit_options, service_log
from bedside.engine_limits import HANG_MS, KEEP_WARM_MS, SHORTEST_HANG_MS
from bedside.look_option import look_option
from cinert.backends import get_backend
from cinert.bundle import open_bundle
from cinert.cli import FiniteRange, command, console, engine_options, share
from cinert.device_lock import device_of
from cinert.environment import default_threads, device_name, fingerprint
from cinert.files import check_output_file
from cinert.open_recon import CONFIG, PORT
from cinert.provenance import provenance_words
from cinert.trust.opening import open_signed, trust_option

SERVE_EXAMPLES = """
serve-mrd bundle
serve-mrd bundle --slices 10
serve-mrd bundle --slices 3 --igtl 18944
serve-mrd bundle --host 0.0.0.0 --port 9002 --device cuda:0
serve-mrd bundle --queue 40
serve-mrd bundle --fresh-slices 1 --igtl 18944
serve-mrd bundle --trust public.pem --audit-log audit.jsonl
serve-mrd bundle --web 8080
"""
_PORTS = click.IntRange(0, 65535)
_POSITIVE = FiniteRange(min=0, min_open=True)


@command("serve-mrd", examples=SERVE_EXAMPLES, service=True)
@click.argument("bundle_path", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 is open to the network.")
@click.option("--port", default=PORT, type=_PORTS, help="Port to listen on; 0 takes a free one.")
@click.option(
    "--igtl", type=_PORTS, metavar="PORT", help="Show the masks by OpenIGTLink too; 3D Slicer asks for 18944."
)
@click.option("--web", type=_PORTS, metavar="PORT", help="Show the masks on a web page too.")
@click.option("--web-host", default="127.0.0.1", help="Address of the page; whoever reaches it sees the images.")
@click.option(
    "--stale-ms",
    default=500.0,
    type=_POSITIVE,
    help="Viewers are told `stale` without a new mask for so long, or where a slice of the stack is older.",
)
@click.option(
    "--slices",
    type=click.IntRange(min=1),
    help="2D images in a frame, for clients whose header does not say, such as converters from DICOM. [default: what"
    " the client's header says]",
)
@click.option(
    "--queue",
    default=1,
    type=click.IntRange(min=1),
    help="Frames that may wait; the oldest is dropped for a newer one. 1 is for live images. Frames of a gated cine,"
    " all complete at the end of the scan, wait beside them; a stored one that is sent moment by moment, faster than it"
    " is segmented, takes as many as it has phases.",
)
@click.option(
    "--fresh-slices",
    type=click.IntRange(min=1),
    metavar="N",
    help="After a first whole stack clients send single slices; N of them, put into the stack, are a frame and get its"
    " answer. [default: every frame is a whole stack]",
)
@click.option("--budget-ms", default=50.0, type=_POSITIVE, help="Last slice in to mask ready; a slower mask is `late`.")
@click.option("--max-clients", default=4, type=click.IntRange(min=1), help="Clients at one time.")
@click.option(
    "--max-slices", default=64, type=click.IntRange(min=1), help="Slices in a frame that a client may ask for."
)
@click.option("--max-image-mib", default=16.0, type=_POSITIVE, help="Pixels of one image.")
@click.option(
    "--max-held-mib",
    default=256.0,
    type=_POSITIVE,
    help="Pixels and attributes of one client that wait for their frames.",
)
@click.option("--max-text-kib", default=1024.0, type=_POSITIVE, help="XML header, text, or attributes of an image.")
@click.option(
    "--max-images-per-s", default=2000.0, type=_POSITIVE, help="A client that sends faster is read no faster."
)
@click.option("--idle-s", default=60.0, type=_POSITIVE, help="Without a message a client is sent away after so long.")
@click.option("--stall-s", default=5.0, type=_POSITIVE, help="Time that one message may take, in either direction.")
@look_option()
@click.option(
    "--keep-warm-ms",
    default=KEEP_WARM_MS,
    type=FiniteRange(min=0),
    help="An engine that is idle for so long segments a frame of noise, so that the next frame is not cold; 0 never"
    " does.",
)
@click.option(
    "--hang-ms",
    default=HANG_MS,
    type=FiniteRange(min=SHORTEST_HANG_MS),
    help="An engine without a sign of life for so long is killed and started again; has to be longer than any frame"
    " takes.",
)
@trust_option()
@audit_options()
@engine_options()
def serve_mrd(
    bundle_path: Path,
    host: str,
    port: int,
    igtl: int | None,
    web: int | None,
    web_host: str,
    stale_ms: float,
    slices: int | None,
    queue: int,
    fresh_slices: int | None,
    budget_ms: float,
    max_clients: int,
    max_slices: int,
    max_image_mib: float,
    max_held_mib: float,
    max_text_kib: float,
    max_images_per_s: float,
    idle_s: float,
    stall_s: float,
    look_frames: int,
    keep_warm_ms: float,
    hang_ms: float,
    trust: Path | None,
    audit_log: Path | None,
    audit_mib: float,
    device: str,
    threads: int | None,
) -> None:
    """Serve masks to MRD clients: scanners, Open Recon, Gadgetron, send-mrd.

    A client sends configuration, XML header, optional text, images and close. Each frame gets one answer: mask images
    in a new series, or a text that declares it dropped or failed. Nobody is authenticated and nothing is encrypted, so
    listen on loopback or on a network that is closed. The engine has a process of its own: if it crashes or hangs,
    frames are answered as failed and it is started again. Runs until it is interrupted.
    """
    from xsdata.exceptions import ConverterWarning

    from bedside.frames import Answer, Frame
    from bedside.igtl_link import IgtlLink
    from bedside.mrd.limits import Limits
    from bedside.mrd.server import Address, MrdServer
    from bedside.mrd.session import Service
    from bedside.pipeline_runner import PipelineRunners

    # What is wrong with a client's header is told to that client; xsdata would fill the terminal with it too.
    warnings.filterwarnings("ignore", category=ConverterWarning)
    logging.getLogger("xsdata").setLevel(logging.ERROR)
    bundle, signed = (open_bundle(bundle_path), None) if trust is None else open_signed(bundle_path, trust)
    backend = get_backend(bundle.backend)
    share(device_of(backend, device))
    threads = threads or default_threads()
    where = device_name(fingerprint(backend, device=device, threads=threads, precision=bundle.precision))
    limits = Limits(
        max_text_bytes=round(max_text_kib * 2**10),
        max_image_bytes=round(max_image_mib * 2**20),
        max_held_bytes=round(max_held_mib * 2**20),
        max_images_per_s=max_images_per_s,
        max_slices=max_slices,
        idle_s=idle_s,
        stall_s=stall_s,
    )
    if audit_log is not None:
        check_output_file(audit_log)
    with contextlib.ExitStack() as stack:
        runners = stack.enter_context(
            PipelineRunners(
                bundle,
                device=device,
                threads=threads,
                budget_ms=budget_ms,
                look_frames=look_frames,
                keep_warm_ms=keep_warm_ms,
                hang_ms=hang_ms,
                log=_say,
            )
        )
        link = None if igtl is None else stack.enter_context(IgtlLink(host, igtl, stale_ms=stale_ms))
        audit = None
        if audit_log is not None:
            settings = {
                "device": where,
                "budget_ms": budget_ms,
                "key": None if signed is None else signed.key_id,
            }
            audit = stack.enter_context(
                service_log(
                    audit_log, max_mib=audit_mib, service="serve-mrd", bundle=bundle, settings=settings, tell=_say
                )
            )
        page = None
        if web is not None:
            from bedside.web.board import Facts
            from bedside.web.server import WebView

            facts = Facts(bundle=bundle.digest, device=where, budget_ms=budget_ms, stale_ms=stale_ms, source="MRD")
            page = stack.enter_context(WebView(web_host, web, facts))

        def watch(place: int, frame: Frame | None, answer: Answer) -> None:
            if link is not None:
                link.publish(place, frame, answer)
            if audit is not None:
                audit.note(place, answer)
            if page is not None:
                page.publish(place, frame, answer)

        service = Service(
            open_runner=runners.open,
            limits=limits,
            bundle=bundle.digest,
            slices=slices,
            queue=queue,
            fresh_slices=fresh_slices,
            stale_ms=stale_ms,
        )
        server = MrdServer(Address(host, port), service, max_clients=max_clients, log=_say, watch=watch)
        stack.enter_context(server)
        _say(f"bundle {bundle.digest[:8]}, {provenance_words(bundle.manifest.provenance)}")
        if bundle.quality is None:
            _say("no quality score: calibrate-quality writes one into the bundle")
        _say(f"serving MRD on {server.address}, bundle {bundle.digest[:8]} on {where}, configuration {CONFIG}")
        if link is not None:
            _say(f"serving OpenIGTLink on {Address(host, link.port)}")
        if page is not None:
            _say(f"showing masks on {page.url}")
        threading.Event().wait()


def _say(text: str) -> None:
    console.print("".join(letter for letter in text if letter.isprintable()), markup=False)
