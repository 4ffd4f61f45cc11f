"""The rival of bench/ingest.py: the loop that every tutorial shows, one image at a time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image as Pixels
from transformers import CLIPImageProcessor, CLIPModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class PlainLoop:
    """PIL, the processor and the model, in float32, with as many threads as we are given."""

    def __init__(self, encoder: Path, *, device: str = "cpu") -> None:
        self._model = CLIPModel.from_pretrained(encoder).eval().to(device)
        self._processor = CLIPImageProcessor.from_pretrained(encoder)

    def vectors(self, paths: Iterable[Path]) -> list[NDArray[np.float32]]:
        found = []
        for path in paths:
            image = Pixels.open(path).convert("RGB")
            inputs = self._processor(images=image, return_tensors="pt").to(self._model.device)
            with torch.no_grad():
                features = self._model.get_image_features(**inputs)
            vector = getattr(features, "pooler_output", features)[0].cpu().numpy()
            found.append(vector / (vector**2).sum() ** 0.5)
        return found
