"""What the overlay shows: the slices that hold the heart, whole, in the colours of their class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bedside.overlay import MAX_BYTES, Story, write_overlay
from bedside.overlay_draw import CLASS_COLOURS, tile
from bedside.overlay_view import MAX_SLICES, heart_view
from cinert.data.nifti import Cine, Geometry


def _cine(slices: int = 9, side: int = 80) -> tuple[Cine, np.ndarray]:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 30, (side, side, slices, 5)).astype(np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[50:70, 20:44, 1 : slices - 1] = 3
    geometry = Geometry((side, side, slices), np.diag([1.5, 1.5, 8.0, 1.0]))
    return Cine(image, geometry, None, 37.0), mask


def _story(phases: int, latency_ms: float = 20.0) -> Story:
    volumes = {name: [float(phase) for phase in range(phases)] for name in CLASS_COLOURS}
    return Story(title="test", latency_ms=[latency_ms] * phases, budget_ms=50.0, volumes_ml=volumes)


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
    monkeypatch.setattr("bedside.overlay.MAX_BYTES", large * 2 // 3)

    assert write_overlay(tmp_path / "small.gif", cine, mask, _story(5)) <= large * 2 // 3
