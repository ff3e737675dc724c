"""Small spaces of U-shaped networks, so that every kind of part occurs."""

from __future__ import annotations

import dataclasses

import pytest


@pytest.fixture(scope="session")
def tiny(tiny_ushapes):
    """Two grids, three levels, every block."""
    return tiny_ushapes


@pytest.fixture(scope="session")
def summed(tiny):
    """The same with strided reductions, sums for concatenations, and residual levels."""
    return dataclasses.replace(tiny, name="summed", down="strided", join="add", residual=True)


@pytest.fixture(scope="session")
def refined(tiny):
    """The same with residual levels alone: the first block of a level is added nowhere but behind the stem."""
    return dataclasses.replace(tiny, name="refined", residual=True)
