"""Whether a relaxed search has decided anything: the entropy of its choices at its end, in words. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping

COIN_TOSS = 0.9
"""Mean entropy of choices, as a share of the highest, above which they are called undecided (`search.entropy`)."""


def undecided(entropy: Mapping[str, float]) -> dict[str, float]:
    """Those of alpha, gamma and beta that stayed near a coin toss.

    Args:
        entropy: as the provenance of a decoded network holds it; empty where nothing was relaxed.
    """
    return {name: value for name, value in entropy.items() if value > COIN_TOSS}


def undecided_words(entropy: Mapping[str, float]) -> str | None:
    """What has to stand beside a network that such a search found; None where it has decided."""
    found = undecided(entropy)
    if not found:
        return None
    figures = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return (
        f"the search did not decide: the entropy of its choices is {figures} at its end (1 is a coin toss, above"
        f" {COIN_TOSS:g} is called undecided), so that this network says little about what is good."
    )
