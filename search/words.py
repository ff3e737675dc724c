"""The vocabulary of a search: a few words that combine freely. Free of torch."""

from __future__ import annotations

from typing import Literal

LatencyTermName = str
"""What is held against the accuracy (`search.latency_terms`): nothing, each of n paths whole (Zeng 2020, Eq. 7-9), one
path by the critical path of its cells (Lu 2022, Eq. 3-5), the union of n paths with what they share paid once
(`latency.cost_union`), or the term of a package."""
DecoderName = str
"""How paths are chosen at the end (`search.decoders`): the n most probable whose union fits the budget, the n most
probable whatever they cost (MS-NAS), the n of the 10 most probable whose union is fastest (Lu 2022, Sec. 2.3), or what
a package does."""
Loss = Literal["weighted", "bounded", "lagrangian"]
"""How both are put together: CE + lambda LAT (Zeng 2020, Eq. 6), CE x LAT + lambda exp(LAT - bound) (Lu 2022, Eq. 2),
or CE alone, with probabilities charged for their latency until LAT <= budget (`search.lagrangian`)."""
Mixture = Literal["full", "sampled", "sampled-ops"]
"""What a step of the search computes: all edges of the grid, weighted, a sampled set of paths, or those with one op
sampled for each node of their cells."""
Optimizer = Literal["adam", "sgd"]
ActivationCheckpointing = Literal["auto", "on", "off"]
"""Whether a cell of the supernet keeps its input alone and is run again for its gradient: less memory, more time.
`auto` is on where a step computes the whole grid."""
Proposer = Literal["random", "evolution"]
"""Where the candidates of a search that trains them come from."""
NO_TERM = "none"
"""Latency is left out of the loss."""
