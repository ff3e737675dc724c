"""Readers, preprocessing and its inverse, folds, and the beating phantom."""
