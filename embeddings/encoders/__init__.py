"""Encoders: what turns images and texts into vectors that may be compared."""
