"""From arch.yaml and weights to a checked bundle with an engine."""
