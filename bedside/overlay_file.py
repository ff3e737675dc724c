"""The moving picture as a file: GIF, which any page shows, or MP4, which any player shows."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bedside.overlay import MIN_TILE_PX, TILE_PX, draw_frame
from bedside.overlay_chart import Story
from bedside.overlay_view import heart_view
from cinert.data.nifti import Cine
from cinert.files import atomic_path

SUFFIXES = (".gif", ".mp4")
MAX_BYTES = 3_000_000
"""Of a GIF, so that it can stand in a page; an MP4 is far smaller."""
MIN_VIDEO_S = 6.0
"""Players stop at the end of an MP4, and one beat is too short to look at: it is repeated for this long."""
_DEFAULT_STEP_MS = 50.0


def write_overlay(path: Path, cine: Cine, mask: NDArray[np.uint8], story: Story) -> int:
    """Write the moving picture, one frame per phase, at the cine's own pace.

    Args:
        path: ends in .gif (loops; at most about 3 MB) or .mp4 (H.264; the beat is repeated for 6 s or more).
        cine: (x, y, z, t). Where it has no time step, 50 ms are taken.
        mask: the same shape, uint8.
        story: latency and volumes of each phase.

    Returns:
        Bytes written.

    Raises:
        BadInputError: the path cannot be written.
        ValueError: the path ends in something else.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} ends in none of {', '.join(SUFFIXES)}")
    view = heart_view(cine.image, mask, cine.geometry)
    step_ms = cine.time_step_ms or _DEFAULT_STEP_MS

    def draw(tile_px: int) -> list[Image.Image]:
        return [draw_frame(view, story, phase, tile_px) for phase in range(cine.image.shape[3])]

    with atomic_path(path) as partial:
        if path.suffix == ".mp4":
            write_mp4(partial, draw(TILE_PX), step_ms)
        else:
            tile_px = TILE_PX
            data = encode_gif(draw(tile_px), step_ms)
            while len(data) > MAX_BYTES and tile_px > MIN_TILE_PX:
                tile_px = max(MIN_TILE_PX, int(tile_px * math.sqrt(MAX_BYTES / len(data)) * 0.97))
                data = encode_gif(draw(tile_px), step_ms)
            partial.write_bytes(data)
        return partial.stat().st_size


def encode_gif(frames: Sequence[Image.Image], step_ms: float) -> bytes:
    """Encode frames as a looping GIF with one palette for all, so that colours do not flicker."""
    sample = frames[:: max(1, len(frames) // 6)]
    strip = Image.new("RGB", (sample[0].width, sample[0].height * len(sample)))
    for number, frame in enumerate(sample):
        strip.paste(frame, (0, number * frame.height))
    palette = strip.quantize(256, method=Image.Quantize.MEDIANCUT)
    indexed = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    # Viewers slow down GIFs that ask for less than 20 ms; the format counts in steps of 10 ms.
    duration_ms = max(20, round(step_ms / 10) * 10)
    stream = io.BytesIO()
    indexed[0].save(
        stream,
        "GIF",
        save_all=True,
        append_images=indexed[1:],
        duration=duration_ms,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return stream.getvalue()


def write_mp4(path: Path, frames: Sequence[Image.Image], step_ms: float) -> None:
    """Encode frames as H.264, which every browser and slide show plays.

    Args:
        path: of the file.
        frames: RGB, of one even width and height.
        step_ms: how long each is shown.
    """
    # Slow to import, and only videos need it.
    import av  # noqa: PLC0415 - slow to import: av, 100 MB

    beats = math.ceil(MIN_VIDEO_S * 1e3 / (step_ms * len(frames)))
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(1000) / Fraction(step_ms).limit_denominator(100))
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv420p"
        stream.options = {"crf": "24", "preset": "fast"}
        for _ in range(beats):
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame), format="rgb24")))
        container.mux(stream.encode())
