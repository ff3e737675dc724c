"""The supernet, its objectives and decoders, the search loop, and training from scratch."""
