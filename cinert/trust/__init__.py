"""Signed bundles: keys, signing, and opening only what the owner of a key has signed."""
