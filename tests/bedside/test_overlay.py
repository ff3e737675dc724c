"""What the pictures show: the slices that hold the heart, whole, in the colours of their class; volumes, latency."""

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bedside.overlay import MIN_TILE_PX, TILE_PX, draw_frame
from bedside.overlay_canvas import Canvas
from bedside.overlay_chart import Story, ticks
from bedside.overlay_file import MAX_BYTES, write_overlay
from bedside.overlay_style import MONITOR, PRINT
from bedside.overlay_tile import tile
from bedside.overlay_view import LEVELS, MAX_SLICES, heart_view, level_view
from bedside.summary import draw_summary, write_summary
from bedside.volumes import function
from cinert.colours import CLASS_COLOURS
from cinert.data.nifti import Cine, Geometry

deterministic = settings(derandomize=True, deadline=None, database=None)


def _cine(slices: int = 9, side: int = 80) -> tuple[Cine, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 30, (side, side, slices, 5)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[50:70, 20:44, 1 : slices - 1] = 3
    geometry = Geometry((side, side, slices), np.diag([1.5, 1.5, 8.0, 1.0]))
    return Cine(image, geometry, None, 37.0), mask


def _story(phases: int, latency_ms: float = 20.0) -> Story:
    volumes = {name: [100.0 + 7 * phase for phase in range(phases)] for name in CLASS_COLOURS}
    return Story(
        title="test",
        latency_ms=[latency_ms] * phases,
        budget_ms=50.0,
        volumes_ml=volumes,
        function=function(volumes),
        time_step_ms=37.0,
    )


def _cone(slices: int = 12, *, base_first: bool = False) -> np.ndarray:
    """A left ventricle with muscle that gets wider from apex to base, and an RV beside the basal half."""
    mask = np.zeros((80, 80, slices, 2), np.uint8)
    for z in range(slices):
        radius = 4 + z
        mask[40 - radius : 40 + radius, 40 - radius : 40 + radius, z] = 2
        mask[42 - radius : 38 + radius, 42 - radius : 38 + radius, z] = 3
        if z >= slices // 2:
            mask[60:70, 30:50, z] = 1
    return mask[:, :, ::-1] if base_first else mask


@pytest.mark.parametrize("slices", [1, 2, 4, 9, 20])
def test_slices_are_chosen_inside_the_heart_in_stored_order(slices: int) -> None:
    cine, mask = _cine(max(3, slices))

    view = heart_view(cine.image, mask, cine.geometry)

    assert len(view.slices) == min(MAX_SLICES, max(3, slices) - 2)
    assert list(view.slices) == sorted(set(view.slices))
    assert min(view.slices) >= 1
    assert max(view.slices) <= max(3, slices) - 2
    assert view.mask_SYXT.any(axis=(1, 2, 3)).all()


def test_the_crop_holds_the_heart_and_little_else() -> None:
    cine, mask = _cine()

    view = heart_view(cine.image, mask, cine.geometry)

    shown = np.count_nonzero(view.mask_SYXT)
    assert shown == np.count_nonzero(mask[:, :, list(view.slices)])
    assert view.side_mm == (pytest.approx(90, abs=1.5), pytest.approx(90, abs=1.5))


def test_an_empty_mask_shows_the_whole_image() -> None:
    cine, mask = _cine()

    view = heart_view(cine.image, np.zeros_like(mask), cine.geometry)

    assert view.image_SYXT.shape[1:3] == (80, 80)
    assert len(view.slices) == MAX_SLICES


def test_slice_numbers_are_the_stored_ones_when_the_stack_runs_downwards() -> None:
    cine, mask = _cine()
    mask[..., 5:, :] = 0
    geometry = Geometry(cine.geometry.shape, np.diag([1.5, 1.5, -8.0, 1.0]))

    view = heart_view(cine.image, mask, geometry)

    assert view.slices == (1, 2, 3, 4)


def test_each_class_has_its_colour() -> None:
    grey = np.full((30, 30), 0.5, np.float32)
    for label, colour in enumerate(CLASS_COLOURS.values(), start=1):
        mask = np.zeros((30, 30), np.uint8)
        mask[10:20, 10:20] = label
        pixels = np.asarray(tile(grey, mask, (120, 120))).astype(int)
        assert np.ptp(pixels[5, 5]) == 0
        contour = np.abs(pixels[40:80, 38:44] - np.array(colour)).sum(axis=-1).min()
        assert contour < 60
        centre = pixels[60, 60] - pixels[5, 5]
        assert np.argmax(centre) == np.argmax(colour)


@pytest.mark.parametrize("base_first", [False, True])
@pytest.mark.parametrize("direction", [1, -1], ids=["upwards", "downwards"])
def test_base_middle_and_apex_are_found_whichever_end_comes_first(base_first: bool, direction: int) -> None:
    mask = _cone(base_first=base_first)
    geometry = Geometry(mask.shape[:3], np.diag([1.5, 1.5, direction * 8.0, 1.0]))

    view = level_view(mask.astype(np.float32), mask, geometry, ed_phase=0)

    expected = (1, 5, 9) if base_first else (10, 6, 2)
    assert all(abs(found - wanted) <= 1 for found, wanted in zip(view.slices, expected, strict=True)), view.slices
    assert view.names == tuple(f"{level}, slice {index + 1}" for level, index in zip(LEVELS, view.slices, strict=True))
    areas = np.count_nonzero(view.mask_SYXT[..., 0], axis=(1, 2))
    assert areas[0] > areas[1] > areas[2]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_levels_are_not_named_where_the_ventricle_is_hardly_found(kept: int) -> None:
    mask = _cone()
    mask[:, :, kept:] = 0
    geometry = Geometry(mask.shape[:3], np.diag([1.5, 1.5, 8.0, 1.0]))

    view = level_view(mask.astype(np.float32), mask, geometry, ed_phase=0)

    assert view.names == tuple(f"slice {index + 1}" for index in view.slices)
    assert len(view.slices) == (kept or 3)


@deterministic
@given(st.floats(1e-3, 1e6), st.integers(3, 6))
def test_ticks_are_few_round_and_inside(high: float, most: int) -> None:
    found = ticks(high, most)

    assert found[0] == 0
    assert 2 <= len(found) <= most + 1
    assert found[-1] <= high * (1 + 1e-9)
    assert f"{found[1]:.0e}"[0] in "125"


def test_words_that_are_too_long_end_in_an_ellipsis() -> None:
    canvas = Canvas(200, 20, MONITOR)

    assert canvas.fitted("short", 100, size=12) == "short"
    cut = canvas.fitted("a very long name of a processor with many cores", 100, size=12)
    assert cut.endswith("...")
    assert canvas.text((0, 10), cut, size=12) <= 100


def _share(picture: Image.Image, colour: tuple[int, int, int]) -> float:
    return float((np.abs(np.asarray(picture).astype(int) - colour).sum(axis=-1) < 12).mean())


def test_a_late_frame_is_marked_in_colour_and_others_are_not() -> None:
    cine, mask = _cine()
    view, story = heart_view(cine.image, mask, cine.geometry), _story(5)
    one_late = dataclasses.replace(story, latency_ms=[20.0, 20.0, 70.0, 20.0, 20.0])

    in_time, before, late = (
        _share(draw_frame(view, told, phase, TILE_PX), MONITOR.late)
        for told, phase in ((story, 2), (one_late, 1), (one_late, 2))
    )

    # The bar is in every frame of the strip; the state on top is the frame's own.
    assert in_time == 0
    assert before > 0
    assert late > before + 0.005


@pytest.mark.parametrize("slices", [3, 4, 5, 6, 8])
@pytest.mark.parametrize("tile_px", [MIN_TILE_PX, TILE_PX])
def test_every_frame_has_even_sides_and_the_height_of_its_panel(slices: int, tile_px: int) -> None:
    cine, mask = _cine(slices)

    picture = draw_frame(heart_view(cine.image, mask, cine.geometry), _story(5), 0, tile_px)

    assert picture.width % 2 == picture.height % 2 == 0
    assert 460 <= picture.height <= 480


def test_a_vanished_ventricle_is_said() -> None:
    lost = {"rv": [0.0, 0.0], "myo": [50.0, 50.0], "lv": [100.0, 40.0]}
    story = dataclasses.replace(_story(2), volumes_ml=lost, function=function(lost))

    assert story.ejection_words("lv") == "EF 60 %"
    assert story.ejection_words("rv") == "no EF, not found"


@pytest.mark.parametrize(("slices", "latency_ms"), [(3, 20.0), (9, 80.0)])
def test_the_gif_has_every_phase_at_the_cines_pace(tmp_path: Path, slices: int, latency_ms: float) -> None:
    cine, mask = _cine(slices)
    # Phases that look alike must not be merged.
    still = cine._replace(image=np.repeat(cine.image[..., :1], 5, axis=3))

    size = write_overlay(tmp_path / "o.gif", still, mask, _story(5, latency_ms))

    assert size == (tmp_path / "o.gif").stat().st_size <= MAX_BYTES
    with Image.open(tmp_path / "o.gif") as gif:
        assert gif.n_frames == 5
        assert gif.info["duration"] == 40
        assert gif.info["loop"] == 0


def test_a_picture_that_would_be_too_large_is_made_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cine, mask = _cine()
    write_overlay(tmp_path / "large.gif", cine, mask, _story(5))
    large = (tmp_path / "large.gif").stat().st_size
    monkeypatch.setattr("bedside.overlay_file.MAX_BYTES", large * 2 // 3)

    assert write_overlay(tmp_path / "small.gif", cine, mask, _story(5)) <= large * 2 // 3


def test_the_video_repeats_the_beat_at_the_cines_pace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cine, mask = _cine()
    monkeypatch.setattr("bedside.overlay_file.MIN_VIDEO_S", 0.5)

    size = write_overlay(tmp_path / "o.mp4", cine, mask, _story(5))

    assert size == (tmp_path / "o.mp4").stat().st_size
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(1000 / 37)
    # Three beats of five frames are the first that last half a second.
    assert len(frames) == 15
    expected = np.asarray(draw_frame(heart_view(cine.image, mask, cine.geometry), _story(5), 3, TILE_PX))
    assert np.abs(frames[8].astype(int) - expected).mean() < 8


def test_another_suffix_is_a_mistake(tmp_path: Path) -> None:
    cine, mask = _cine()
    with pytest.raises(ValueError, match=r"\.gif, \.mp4"):
        write_overlay(tmp_path / "o.avi", cine, mask, _story(5))


@pytest.mark.parametrize("step_ms", [37.0, None])
def test_the_summary_is_drawn_for_print(tmp_path: Path, step_ms: float | None) -> None:
    mask = _cone()
    rng = np.random.default_rng(0)
    image = rng.normal(100, 30, mask.shape).astype(np.float32)
    cine = Cine(image, Geometry(mask.shape[:3], np.diag([1.5, 1.5, 8.0, 1.0])), None, step_ms)
    story = dataclasses.replace(_story(2), time_step_ms=step_ms)

    write_summary(tmp_path / "s.png", cine, mask, story, source="a cine")

    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width == 2000
        assert all(_share(picture, colour) > 0 for colour in CLASS_COLOURS.values())
    assert [path.name for path in tmp_path.iterdir()] == ["s.png"]


def test_the_summary_of_nothing_found_is_drawn_too() -> None:
    cine, mask = _cine()
    nothing = {name: [0.0] * 5 for name in CLASS_COLOURS}
    story = dataclasses.replace(_story(5), volumes_ml=nothing, function=function(nothing))
    view = level_view(cine.image, np.zeros_like(mask), cine.geometry, ed_phase=0)

    picture = draw_summary(view, story, source="a cine")

    # Colours are left in the legend alone.
    assert 0 < _share(picture, CLASS_COLOURS["myo"]) < 0.001


def _pixels_of(picture: Image.Image, colour: tuple[int, int, int]) -> int:
    return int(np.count_nonzero((np.asarray(picture) == colour).all(axis=2)))


@pytest.mark.parametrize(
    ("whole", "phases"), [("no heart was found", ()), ("", ("", "no heart was found", "", "", ""))]
)
def test_what_is_not_to_be_relied_on_is_said_on_every_picture_of_it(whole: str, phases: tuple[str, ...]) -> None:
    cine, mask = _cine()
    view = heart_view(cine.image, mask, cine.geometry)
    story = dataclasses.replace(_story(5), unsure=whole, unsure_phases=phases)

    frames = [draw_frame(view, story, phase, MIN_TILE_PX) for phase in range(5)]

    assert len({frame.size for frame in frames}) == 1
    marked = [_pixels_of(frame, MONITOR.unsure) > 1000 for frame in frames]
    assert marked == ([True] * 5 if whole else [False, True, False, False, False])
    page = level_view(cine.image, mask, cine.geometry, ed_phase=0)
    assert _pixels_of(draw_summary(page, story, source="test"), PRINT.unsure) > 10_000
    sure = dataclasses.replace(story, unsure="", unsure_phases=())
    assert _pixels_of(draw_summary(page, sure, source="test"), PRINT.unsure) == 0
    assert draw_frame(view, sure, 0, MIN_TILE_PX).size != frames[0].size
