"""Probabilities sum to one where they should, and Gumbel-softmax is seeded and sharpens."""

import itertools

import torch

from cinert.paths import EDGE_KINDS, walk
from search.relaxation import ArchParameters, cell_inputs, grouped_log_softmax


def test_grouped_softmax_equals_softmax_of_each_group():
    logits, group = torch.tensor([1.0, -2.0, 500.0, 0.5, 499.0]), torch.tensor([0, 1, 2, 0, 2])
    found = grouped_log_softmax(logits, group)
    for number in range(3):
        torch.testing.assert_close(found[group == number], logits[group == number].log_softmax(0))


def test_weights_of_each_node_sum_to_one(either, randomised):
    parameters = randomised(ArchParameters(either), 0)
    for relaxed in (parameters.relax(), parameters.sample(torch.Generator().manual_seed(3), temperature=0.7)):
        for weights in relaxed.cells.values():
            for node in range(either.nodes):
                rows = [row for row, (owner, _) in enumerate(cell_inputs(either.nodes)) if owner == node]
                torch.testing.assert_close(weights[rows].sum(), torch.tensor(1.0))


def test_separate_is_gamma_times_alpha_and_joint_one_softmax(either, randomised):
    parameters = randomised(ArchParameters(either), 1)
    weights = parameters.relax().cells["ct"]
    alpha = parameters.alpha["ct"]
    if either.relaxation == "separate":
        gamma = parameters.gamma["ct"][1:3].softmax(0)
        torch.testing.assert_close(weights[1:3], gamma[:, None] * alpha[1:3].softmax(1))
        assert "gamma.ct" in parameters.state_dict()
    else:
        torch.testing.assert_close(weights[1:3].flatten(), alpha[1:3].flatten().softmax(0))
        assert not any(name.startswith("gamma") for name in parameters.state_dict())


def test_probabilities_of_all_paths_sum_to_one(either, randomised):
    parameters = randomised(ArchParameters(either), 2, scale=2.0)
    probability = dict(
        zip(((e.layer, e.source, e.kind) for e in _edges(either)), parameters.relax().edges.tolist(), strict=True)
    )
    total = 0.0
    for path in itertools.product(EDGE_KINDS, repeat=either.layers):
        product = 1.0
        for edge in walk(path):
            product *= probability.get((edge.layer, edge.source, edge.kind), 0.0)
        total += product
    assert abs(total - 1) < 1e-5


def _edges(space):
    from cinert.paths import legal_edges

    return legal_edges(space.layers, space.scales)


def test_gumbel_noise_follows_from_the_generator_and_temperature_sharpens(tiny):
    parameters = ArchParameters(tiny)

    def draw(seed, temperature):
        return parameters.sample(torch.Generator().manual_seed(seed), temperature=temperature).cells["ns"]

    assert torch.equal(draw(5, 1.0), draw(5, 1.0))
    assert not torch.equal(draw(5, 1.0), draw(6, 1.0))
    assert draw(5, 0.05).max(dim=1).values[0] > draw(5, 1.0).max(dim=1).values[0]
    mean = torch.stack([draw(seed, 0.1)[0] for seed in range(600)]).mean(0)
    # Without preference each op wins equally often: 6 ops, standard error 0.015.
    torch.testing.assert_close(mean, torch.full((6,), 1 / 6), atol=0.05, rtol=0)
