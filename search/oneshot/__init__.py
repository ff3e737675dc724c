"""One-shot search among U-shaped networks: sub-networks share full-channel weights, and keep them when they are taken.

It may import `cinert`, `latency` and the trainings of `search`. `shared` holds the weights, `population` says
which networks a step trains, `loop` trains and scores, `run` is the way from data to arch.yaml.
"""
