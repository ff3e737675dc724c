import numpy as np
import pytest
import torch

from cinert.errors import BadInputError
from cinert.ushape.choices import choices_of, random_ushape
from search.oneshot.loop import read_oneshot
from search.oneshot.sampler import Sampler
from search.oneshot.scoring import calibrate_norms, dice_of, finest_grid, with_weights
from search.oneshot.shared import SharedWeights

CPU = torch.device("cpu")


def test_a_resumed_search_ends_where_an_uninterrupted_one_does(start_search, tmp_path):
    whole = start_search()
    while not whole.finished:
        whole.run_epoch()
    begun = start_search()
    for _ in range(2):
        begun.run_epoch()
    begun.save(tmp_path / "s.safetensors", {}, {})
    again = start_search()
    again.restore(read_oneshot(tmp_path / "s.safetensors"))
    while not again.finished:
        again.run_epoch()
    for name, tensor in whole.weights.state_dict().items():
        assert torch.equal(tensor, again.weights.state_dict()[name]), name
    assert whole.sampler.to_dict() == again.sampler.to_dict()
    best, second = whole.best(), again.best()
    assert [(one.arch.digest, one.frames) for one in best] == [(one.arch.digest, one.frames) for one in second]


def test_what_is_found_is_within_the_budget_and_best_first(start_search, ms_of):
    search = start_search(budget_ms=4.0)
    while not search.finished:
        search.run_epoch()
    found = search.best()
    assert len(found) == search.settings.final_candidates
    assert len({one.arch.digest for one in found}) == len(found)
    assert all(0.4 * 4.0 <= ms_of(one.arch) <= 4.0 for one in found)
    assert [one.dice for one in found] == sorted((one.dice for one in found), reverse=True)


def test_shared_weights_learn(start_search):
    search = start_search(epochs=40, learning_rate=0.02, uniform_share=1.0, budget_ms=6.0)
    losses = [search.run_epoch() for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert search.best()[0].dice > 0.5


def test_probabilities_follow_what_scored_best(tiny_u, ms_of):
    rng = np.random.default_rng(0)
    sampler = Sampler(tiny_u, ms_of, low_ms=0, high_ms=100)
    best = random_ushape(tiny_u, rng)
    for _ in range(30):
        sampler.follow([best])
    chosen = choices_of(best)
    draws = [choices_of(sampler.draw(rng)) for _ in range(60)]
    share = np.mean([draw[key] == option for draw in draws for key, option in chosen.items()])
    assert 0.7 < share < 1
    for row in sampler.probabilities.values():
        assert row.sum() == pytest.approx(1)
        assert row.min() > 0


def test_a_budget_that_nothing_meets_is_refused(tiny_u, ms_of):
    with pytest.raises(BadInputError, match=r"between 0\.0085 and 0\.01 ms"):
        Sampler(tiny_u, ms_of, low_ms=0.0085, high_ms=0.01).draw(np.random.default_rng(0))


def test_a_perfect_coarse_mask_scores_high_on_the_finest_grid(tiny_u, folds_u):
    fine = finest_grid(tiny_u)
    assert tiny_u.grids[fine].shape_DHW == (4, 24, 24)
    coarse = torch.from_numpy(np.stack([sample.y_DHW for sample in folds_u[0].train])).long()
    labels = torch.from_numpy(np.stack([sample.y_DHW for sample in folds_u[fine].train])).long()

    class Perfect(torch.nn.Module):
        def forward(self, x_BCDHW):
            number = int(x_BCDHW[0, 0, 0, 0, 0])
            return 10.0 * torch.nn.functional.one_hot(coarse[number : number + 1], 4).movedim(-1, 1).float()

    numbered = torch.arange(len(coarse)).float()[:, None, None, None, None].expand(-1, 1, 4, 16, 16)
    scores = np.array(dice_of(Perfect(), numbered, labels))
    assert scores.min() > 0.75
    assert scores.mean() < 1


def test_norms_take_the_statistics_of_the_images_that_they_are_shown(tiny_u):
    torch.manual_seed(0)
    arch = random_ushape(tiny_u, np.random.default_rng(0))
    network = with_weights(arch, SharedWeights(tiny_u).of(arch), CPU)
    images = 3 * torch.randn(4, 1, *arch.input_shape_DHW)
    calibrate_norms(network, images, batch_size=4)
    assert not network.training
    stem = network.body.stem
    with torch.no_grad():
        x = stem[0](images)
    torch.testing.assert_close(stem[1].running_mean, x.mean(dim=(0, 2, 3, 4)), rtol=1e-3, atol=1e-4)
    # One batch that holds all images is normalised alike in training and in use.
    with torch.no_grad():
        in_use = network(images)
        network.train()
        torch.testing.assert_close(network(images), in_use, rtol=1e-2, atol=1e-2)
