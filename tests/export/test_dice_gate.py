"""The gate below fp32: Dice by hand, and a drop that is too large leaves no bundle."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cinert.data.dataset import Sample
from cinert.errors import BadInputError, ExitCode, VerdictError
from export.dice_gate import DICE_TOLERANCE, check_dice, class_dice, drop_of, parity_not_run, require_frames

LABEL = np.repeat(np.arange(4, dtype=np.uint8), 16).reshape(4, 4, 4)


def logits_of(mask):
    return np.float32(10) * np.stack([mask == label for label in range(4)]).astype(np.float32)


class Perfect(torch.nn.Module):
    """Finds every class where the image says its label."""

    def forward(self, x_BCDHW):
        return torch.from_numpy(logits_of(x_BCDHW.numpy()[0, 0])[None])


def frame():
    return Sample("patient901", 1, "ED", LABEL.astype(np.float32), LABEL, 1.0)


def test_dice_by_hand():
    assert class_dice(logits_of(LABEL), LABEL) == [1.0, 1.0, 1.0]
    # Half of the RV is missed: 2 * 8 / (8 + 16).
    mask = LABEL.copy()
    mask[1, :2] = 0
    assert class_dice(logits_of(mask), LABEL) == pytest.approx([2 / 3, 1, 1])
    assert class_dice(logits_of(np.zeros_like(LABEL)), LABEL) == [0.0, 0.0, 0.0]


def test_a_class_that_is_nowhere_leaves_the_drop():
    """RV is in no label. Nobody finds it: the drop is that of the two others. One invents it: 1 against 0."""
    label = np.where(LABEL == 1, 0, LABEL).astype(np.uint8)
    before = class_dice(logits_of(label), label)
    assert before == [None, 1.0, 1.0]
    half = label.copy()
    half[2, :2] = 0
    assert drop_of(before, class_dice(logits_of(half), label)) == pytest.approx((1 - 2 / 3) / 2)
    assert drop_of(before, class_dice(logits_of(LABEL), label)) == pytest.approx(1 / 3)
    assert drop_of(class_dice(logits_of(LABEL), label), before) == pytest.approx(-1 / 3)
    assert drop_of([None, None, None], [None, None, None]) == 0.0


def test_an_engine_that_agrees_passes_and_its_drop_is_told():
    runner = SimpleNamespace(run=lambda image: 1.01 * logits_of(image[0, 0])[None])
    parity = check_dice(runner, Perfect(), [frame(), frame()], "fp16")
    assert (parity.status, parity.dice_drop, parity.tolerance) == ("passed", 0.0, 0.002)
    assert parity.relative_logits == pytest.approx(0.01, rel=1e-3)
    assert parity.inputs == {"frames": 2}


@pytest.mark.parametrize(("precision", "good"), [("fp16", False), ("int8", True)])
def test_each_precision_has_its_own_limit(precision, good):
    """One of sixteen RV voxels is missed in one of four frames: the mean Dice drops by 0.0027."""

    def run(image):
        mask = image[0, 0].copy()
        mask[1, 0, 0] = 0 if next(calls) == 0 else 1
        return logits_of(mask)[None]

    calls = iter(range(4))
    frames, runner = [frame()] * 4, SimpleNamespace(run=run)
    if good:
        assert check_dice(runner, Perfect(), frames, precision).dice_drop == pytest.approx((1 - 30 / 31) / 12)
        return
    with pytest.raises(VerdictError, match=r"in fp16 the mean Dice drops by 0\.0027 on 4 frames") as error:
        check_dice(runner, Perfect(), frames, precision)
    assert error.value.exit_code == ExitCode.VERDICT_FAILED


def test_logits_that_are_no_numbers_never_pass():
    runner = SimpleNamespace(run=lambda image: np.full((1, 4, 4, 4, 4), np.nan, np.float32))
    with pytest.raises(VerdictError, match="logits differ by inf"):
        check_dice(runner, Perfect(), [frame()], "int8")


def test_without_frames_there_is_no_judgement():
    require_frames("fp32", [])
    require_frames("fp16", [frame()])
    with pytest.raises(BadInputError, match="an engine in fp16 is judged by its Dice") as error:
        require_frames("fp16", [])
    assert "--data" in error.value.hint


def test_what_was_not_run_says_so():
    assert parity_not_run("fp32", 1e-3).tolerance == 1e-3
    parity = parity_not_run("int8", 1e-3)
    assert (parity.status, parity.relative_logits, parity.dice_drop) == ("not_run", None, None)
    assert parity.tolerance == DICE_TOLERANCE["int8"]
