"""Exact search by one matrix product on a CUDA device.

A device has the bandwidth to compare a query with every vector of millions in a millisecond, so
nothing need be approximate there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from embeddings.indexes.contract import Candidates, Mask, best
from embeddings.indexes.faiss_index import FaissIndex
from embeddings.vectors import Ids, Vector

ROWS_AT_ONCE = 262_144  # turned to float32 at once: half a gigabyte of the device at 512 dimensions


class TorchMatrix:
    """The vectors of a flat index as a float16 matrix on a device."""

    kind = "gpu"
    is_exact = scan_is_exact = True
    efforts: tuple[float, ...] = ()
    effort: float | None = None

    def __init__(self, flat: FaissIndex, *, device: str) -> None:
        self.ids = flat.ids
        self._flat = flat
        self._device = torch.device(device)
        # A copy first: torch wants memory that may be written to, and a mapped file may not.
        self._matrix = torch.from_numpy(np.array(flat.halves())).to(self._device)

    @classmethod
    def open(cls, file: Path, ids: Ids, *, device: str = "cuda") -> TorchMatrix:
        """Put the vectors of a flat index' file on a device."""
        return cls(FaissIndex.open("flat", file, ids), device=device)

    @staticmethod
    def has_device() -> bool:
        return torch.cuda.is_available()

    def write(self, file: Path) -> None:
        self._flat.write(file)

    def __len__(self) -> int:
        return len(self.ids)

    def with_effort(self, effort: float) -> TorchMatrix:
        return self

    def search(self, query: Vector, k: int, *, allowed: Mask | None = None) -> Candidates:
        with torch.inference_mode():
            on_device = torch.from_numpy(query.copy()).to(self._device)
            # Multiplied as float32: a product in float16 would be rounded more than the vectors.
            scores = torch.cat(
                [part.float() @ on_device for part in self._matrix.split(ROWS_AT_ONCE)]
            )
            if allowed is not None:
                mask = torch.from_numpy(allowed.copy()).to(self._device)
                scores = scores.masked_fill(~mask, -torch.inf)
            top = torch.topk(scores, min(k, len(self)))
            values, places = top.values.cpu().numpy(), top.indices.cpu().numpy()
        found = np.isfinite(values)
        return best(Candidates(self.ids[places[found]], values[found]), k)

    scan = search
