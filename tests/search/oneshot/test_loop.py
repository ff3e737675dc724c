import numpy as np
import pytest
import torch

from cinert.errors import BadInputError
from cinert.ushape.choices import choices_of, random_ushape
from search.oneshot.loop import read_oneshot
from search.oneshot.population import Population, Scored
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
    best, second = whole.score_members(), again.score_members()
    assert [(one.arch.digest, one.frames) for one in best] == [(one.arch.digest, one.frames) for one in second]


def test_what_is_found_is_within_the_budget_and_best_first(start_search, ms_of):
    search = start_search(budget_ms=4.0)
    while not search.finished:
        search.run_epoch()
    found = search.score_members()
    assert len(found) == search.settings.population
    assert len({one.arch.digest for one in found}) == len(found)
    assert all(0.4 * 4.0 <= ms_of(one.arch) <= 4.0 for one in found)
    assert [one.dice for one in found] == sorted((one.dice for one in found), reverse=True)


def test_shared_weights_learn(start_search):
    search = start_search(epochs=40, learning_rate=0.02, settle_share=1.0, budget_ms=6.0)
    losses = [search.run_epoch() for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]
    assert search.score_members()[0].dice > 0.5


def scored(arch, dice):
    return Scored(arch, (dice,))


@pytest.fixture
def population(tiny_u, ms_of):
    return Population(tiny_u, ms_of, low_ms=1.0, high_ms=4.0, size=6)


def test_founders_are_different_networks_within_the_budget(population, ms_of):
    population.found(np.random.default_rng(0))
    assert len({arch.digest for arch in population.members}) == 6
    assert all(1.0 <= ms_of(arch) <= 4.0 for arch in population.members)


def test_the_better_half_lives_and_children_take_after_it(population, ms_of):
    rng = np.random.default_rng(0)
    population.found(rng)
    members = list(population.members)
    population.evolve([scored(arch, dice=number / 10) for number, arch in enumerate(members)], rng)
    assert population.members[:3] == members[:2:-1]
    parents = [choices_of(arch) for arch in population.members[:3]]
    for child in population.members[3:]:
        assert 1.0 <= ms_of(child) <= 4.0
        inherited = [any(parent[key] == option for parent in parents) for key, option in choices_of(child).items()]
        assert np.mean(inherited) > 0.6
        assert all(child.digest != member.digest for member in members[3:])


def test_evolution_finds_what_scores_best(tiny_u, ms_of):
    # The score is the share of choices that agree with a network that nobody knows.
    rng = np.random.default_rng(3)
    population = Population(tiny_u, ms_of, low_ms=0, high_ms=100, size=8)
    target = choices_of(random_ushape(tiny_u, rng))

    def dice(arch):
        return float(np.mean([choices_of(arch)[key] == option for key, option in target.items()]))

    population.found(rng)
    before = max(map(dice, population.members))
    for _ in range(40):
        population.evolve([scored(arch, dice(arch)) for arch in population.members], rng)
    assert dice(population.members[0]) > max(before, 0.9)


def test_the_favourite_is_trained_most_and_everybody_is(population):
    rng = np.random.default_rng(0)
    population.found(rng)
    draws = [population.draw(rng).digest for _ in range(300)]
    counts = [draws.count(arch.digest) for arch in population.members]
    assert counts[0] == max(counts)
    assert min(counts) > 10


def test_a_budget_that_nothing_meets_is_refused(tiny_u, ms_of):
    with pytest.raises(BadInputError, match=r"between 0\.0085 and 0\.01 ms"):
        Population(tiny_u, ms_of, low_ms=0.0085, high_ms=0.01, size=4).found(np.random.default_rng(0))


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
