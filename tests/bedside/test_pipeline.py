"""One frame in, one mask out."""

from pathlib import Path

import numpy as np
import pytest

from bedside.cine import segment_phases
from bedside.pipeline import STAGES, FramePipeline
from cinert.bundle import open_bundle
from cinert.data.grid import PreprocessingSpec
from cinert.data.nifti import read_cine
from cinert.errors import BadInputError


def test_a_frame_is_segmented_on_its_own_grid(bundle_folder: Path, cine) -> None:
    series = read_cine(cine[0])

    with FramePipeline.from_bundle(open_bundle(bundle_folder), threads=1) as pipeline:
        result = pipeline.bind(series.geometry).segment(series.image[..., 0])

    assert result.mask.shape == series.geometry.shape
    assert set(np.unique(result.mask)) == {0, 3}
    assert sum(result.stage_ms(stage) for stage in STAGES) == pytest.approx(result.total_ms)


def test_results_do_not_share_memory(make_bundle, cine) -> None:
    """The engine's output buffer is reused; a mask must not change when the next frame comes."""
    series = read_cine(cine[0])
    with FramePipeline.from_bundle(open_bundle(make_bundle("ort")), threads=1).bind(series.geometry) as pipeline:
        first = pipeline.segment(series.image[..., 0]).mask
        kept = first.copy()
        pipeline.segment(series.image[..., 3])

    np.testing.assert_array_equal(first, kept)


def test_unbound_and_misfitting_use_is_refused(make_bundle) -> None:
    bundle = open_bundle(make_bundle("ort"))
    with bundle.load_runner(threads=1) as runner:
        with pytest.raises(RuntimeError, match="bind"):
            FramePipeline(runner, bundle.preprocessing).segment(np.zeros((4, 4, 4)))
        with pytest.raises(BadInputError, match="one image of shape"):
            FramePipeline(runner, PreprocessingSpec(spacing_mm=(8.0, 4.0, 4.0), shape_DHW=(4, 4, 4)))


@pytest.mark.parametrize("repeat", [1, 3])
def test_repeats_add_samples_and_warm_up_adds_none(make_bundle, cine, repeat: int) -> None:
    series = read_cine(cine[0])
    done = []
    with FramePipeline.from_bundle(open_bundle(make_bundle("ort")), threads=1) as pipeline:
        result = segment_phases(pipeline, series, repeat=repeat, warmup=7, on_frame=lambda: done.append(1))

    phases = series.image.shape[3]
    assert result.stages_ms.shape == (phases * repeat, 6)
    assert result.quality == (None,) * phases * repeat
    assert len(done) == phases * repeat
    assert result.mask.shape == series.image.shape
    assert result.latency(50.0)["warmup_frames"] == 7
