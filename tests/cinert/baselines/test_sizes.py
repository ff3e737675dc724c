"""The table of docs/baselines.md is what the networks have."""

import pytest


@pytest.fixture
def baseline_sizes(monkeypatch, repository):
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import baseline_sizes

    return baseline_sizes


def test_the_table_in_the_docs_is_current(baseline_sizes, repository):
    text = (repository / "docs" / "baselines.md").read_text()
    assert "\n".join(baseline_sizes.table()) in text


def test_operations_by_hand(baseline_sizes):
    # Two levels of two convolutions at 128x112 and 64x56, one of them up again, on 20 slices.
    fine = 128 * 112 * (9 * (1 * 2 + 2 * 2 + 4 * 2 + 2 * 2) + 2 * 4)
    coarse = 64 * 56 * (9 * (2 * 3 + 3 * 3) + 3 * 2 * 4)
    assert baseline_sizes.sizes("unet2d --widths 2,3")[1] == 2 * 20 * (fine + coarse)
