"""The localiser learns, the same seed gives the same weights, and a run that continues finds it again."""

import numpy as np
import pytest
import torch

from cinert.data.layouts import read_patients
from cinert.data.localiser import VIEW, heart_middle
from cinert.data.phantom import write_phantom
from cinert.errors import BadInputError
from search.localise import HeartViews, LocaliserSettings, load_views, train_localiser
from search.localise_run import ensure_localiser

CPU = torch.device("cpu")
SHORT = LocaliserSettings(steps=3, batch_size=1)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "out"
    write_phantom(folder, patients=3, seed=3)
    return folder


@pytest.fixture(scope="module")
def balls():
    """Bright balls on a dim, noisy ground."""
    rng = np.random.default_rng(0)
    index = np.stack(np.meshgrid(*map(np.arange, VIEW.shape_DHW), indexing="ij"), axis=-1) * list(VIEW.spacing_mm)
    images, hearts = [], []
    for _ in range(6):
        centre = np.array([80.0, 240.0, 240.0]) + rng.uniform(-60, 60, 3) * [0.3, 1, 1]
        heart = (np.linalg.norm(index - centre, axis=-1) < 50).astype(np.float32)
        images.append(2 * heart + rng.normal(0, 0.5, heart.shape).astype(np.float32))
        hearts.append(heart)
    return HeartViews(
        torch.from_numpy(np.stack(images))[:, None].float(), torch.from_numpy(np.stack(hearts))[:, None].float()
    )


def test_it_learns_and_repeats(balls):
    settings = LocaliserSettings(steps=60, batch_size=2, average_decay=0.8)
    network, again = (train_localiser(balls, settings, CPU) for _ in range(2))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    with torch.inference_mode():
        found = heart_middle(torch.sigmoid(network(balls.images_NCDHW[:1]))[0, 0].numpy())
    expected = heart_middle(balls.hearts_NCDHW[0, 0].numpy())
    assert np.abs(found - expected)[1:].max() < 2.0  # voxels of 10 mm


def test_views_hold_the_whole_heart(phantom):
    done = []
    views = load_views(read_patients(phantom)[:1], progress=lambda *counts: done.append(counts))
    assert views.images_NCDHW.shape == views.hearts_NCDHW.shape == (2, 1, *VIEW.shape_DHW)
    assert done == [("reading whole stacks", 1, 2), ("reading whole stacks", 2, 2)]
    assert 0.002 < float(views.hearts_NCDHW.mean()) < 0.1


def test_a_run_that_continues_finds_its_localiser(tmp_path, phantom):
    said = []
    arguments = (tmp_path, phantom, 0, SHORT, CPU)
    assert ensure_localiser(*arguments, progress=lambda *what: said.append(what))
    first = (tmp_path / "localiser.safetensors").read_bytes()
    assert said[-1] == ("training the localiser", 3, 3)
    said.clear()
    assert not ensure_localiser(*arguments, progress=lambda *what: said.append(what))
    assert said == []
    assert (tmp_path / "localiser.safetensors").read_bytes() == first
    (tmp_path / "localiser.safetensors").unlink()
    assert ensure_localiser(*arguments, progress=lambda *what: None)
    assert (tmp_path / "localiser.safetensors").read_bytes() == first


def test_a_localiser_of_another_fold_is_refused(tmp_path, phantom):
    ensure_localiser(tmp_path, phantom, 0, SHORT, CPU, progress=lambda *what: None)
    with pytest.raises(BadInputError, match="seen_patients"):
        ensure_localiser(tmp_path, phantom, 1, SHORT, CPU, progress=lambda *what: None)
