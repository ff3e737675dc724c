"""The tables of both papers, ours beside theirs (`bench-compare`): same data, recipe, minutes and device for all."""
