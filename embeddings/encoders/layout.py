"""The files of an exported encoder, and the names in them."""

from __future__ import annotations

TEXT_FILE, IMAGE_FILE = "text.onnx", "image.onnx"
TOKENIZER_FILE = "tokenizer.json"
SAID_FILE = "encoder.json"
RANGES_FILE = "ranges.json"  # beside an image tower in int8: what it was calibrated with
PIXELS = "pixels"  # the image tower's input: (n, height, width, 3) bytes
