"""Precisions of the encoder, proved on the gallery's own images and texts."""
