import dataclasses
import math

import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from cinert.colours import CLASS_COLOURS
from cinert.spaces import load_space
from search.draw_curves import draw_search, draw_training
from search.entropy import choice_entropies
from search.relaxation import ArchParameters
from search.run_log import RunLog, read_scalars

DICE = {"rv": 0.5, "myo": 0.6, "lv": 0.7, "mean": 0.6}


def height(path):
    with Image.open(path) as picture:
        return picture.size[1]


def test_a_training_is_drawn_with_what_was_measured(tmp_path):
    epochs = [{"epoch": number, "loss": 1 / number, "learning_rate": 0.01} for number in (1, 2, 3)]
    draw_training(tmp_path / "plain.png", epochs, who="patients")
    draw_training(tmp_path / "dice.png", [*epochs, {**epochs[-1], "epoch": 4, "dice": DICE}], who="phantoms")
    absent = {**epochs[-1], "epoch": 4, "dice": {**DICE, "rv": None}}
    draw_training(tmp_path / "without_rv.png", [*epochs, absent], who="patients")
    assert height(tmp_path / "dice.png") > height(tmp_path / "plain.png") > 300


def test_structures_have_the_colours_of_the_overlay_and_dice_says_whose_it_is(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("search.draw_curves._save", lambda _path, figure, _axes: drawn.append(figure))
    draw_training(tmp_path / "dice.png", [{"epoch": 1, "loss": 1.0, "dice": DICE}], who="phantoms")

    axes = drawn[0].axes[1]
    assert [to_rgb(line.get_color()) for line in axes.lines[:3]] == [
        pytest.approx([value / 255 for value in CLASS_COLOURS[name]]) for name in ("rv", "myo", "lv")
    ]
    assert "phantoms" in axes.get_ylabel()
    assert "patients" not in axes.get_ylabel()


def test_a_search_is_drawn_with_what_was_logged(tmp_path):
    curves = {"weight_loss": [(1, 2.0), (2, 1.0)]}
    draw_search(tmp_path / "first.png", curves)
    draw_search(tmp_path / "both.png", {**curves, "latency_ms": [(2, 30.0)], "beta_entropy": [(2, 0.9)]}, budget_ms=50)
    assert height(tmp_path / "both.png") > height(tmp_path / "first.png") > 150


@pytest.mark.parametrize("names", ["12", "21"])
def test_scalars_are_read_back_once_each(tmp_path, names):
    """Also where the names of two files do not sort as they were written, as 9 and 10 of one second do not."""
    assert read_scalars(tmp_path, "search") == {}
    with RunLog(tmp_path, first_epoch=0, name="search") as log:
        for epoch in range(3):
            log.metrics(epoch, {"weight_loss": 1.0 + epoch})
    # Killed after its third epoch, before that one's checkpoint: it is done and logged again.
    with RunLog(tmp_path, first_epoch=2, name="search") as log:
        log.metrics(2, {"weight_loss": 9.0})
    files = sorted(tmp_path.rglob("*tfevents*"), key=lambda path: path.stat().st_mtime_ns)
    for path, name in zip(files, names, strict=True):
        path.rename(path.with_name(f"events.out.tfevents.{name}"))
    assert read_scalars(tmp_path, "search") == {"weight_loss": [(1, 1.0), (2, 2.0), (3, 9.0)]}


@pytest.mark.parametrize("relaxation", ["separate", "joint"])
def test_entropy_falls_from_one_to_zero(relaxation):
    architecture = ArchParameters(dataclasses.replace(load_space("demo"), relaxation=relaxation))
    names = {"alpha", "beta"} | ({"gamma"} if relaxation == "separate" else set())
    assert choice_entropies(architecture) == {name: pytest.approx(1.0) for name in names}
    with torch.no_grad():
        for parameter in architecture.parameters():
            # Powers of a large base: in every group one choice is far ahead.
            parameter.copy_(200.0 * torch.arange(parameter.numel()).view(parameter.shape))
    assert choice_entropies(architecture) == {name: pytest.approx(0.0, abs=1e-6) for name in names}


def test_entropy_of_one_choice_by_hand():
    architecture = ArchParameters(dataclasses.replace(load_space("demo"), ops=("conv", "identity")))
    with torch.no_grad():
        for alpha in architecture.alpha.values():
            alpha[:, 0] = math.log(3)
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert choice_entropies(architecture)["alpha"] == pytest.approx(expected)
