"""Networks that were designed, not searched: what a searched one has to be compared with."""
