"""How exactly the towers of an encoder compute: what there is, and what a setting means by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from embeddings.encoders import processors

TowerName = Literal["text", "image"]
TEXT: TowerName = "text"
IMAGE: TowerName = "image"
TOWERS: tuple[TowerName, ...] = (TEXT, IMAGE)

FLOAT32, BFLOAT16, INT8, INT8_BLOCKS = "float32", "bfloat16", "int8", "int8-blocks"
AUTO = "auto"
# Beside float32, what each is quicker at: docs/decisions/0015.
_FASTER: Mapping[TowerName, tuple[str, ...]] = {
    TEXT: (INT8, INT8_BLOCKS),
    IMAGE: (BFLOAT16, INT8),
}


@dataclass(frozen=True)
class Calibration:
    """Between which values the tensors of an image tower lie, as images of a library showed.

    Numbers alone: no image can be told from them.
    """

    id: str
    ranges: dict[str, Any] = field(compare=False, repr=False)  # as `quantise` writes and reads them

    @classmethod
    def of(cls, ranges: dict[str, Any]) -> Calibration:
        text = json.dumps(ranges, sort_keys=True)
        return cls(hashlib.sha256(text.encode()).hexdigest()[:12], ranges)


@dataclass(frozen=True, kw_only=True)
class Precisions:
    """Those of an encoder's two towers."""

    text: str = FLOAT32
    image: str = FLOAT32
    calibration: Calibration | None = None  # of an image tower in int8

    def of(self, tower: TowerName) -> tuple[str, Calibration | None]:
        """Return what decides how a tower computes."""
        if tower == TEXT:
            return self.text, None
        return self.image, self.calibration if self.image == INT8 else None


def faster(tower: TowerName) -> tuple[str, ...]:
    """Return what a tower may be quicker in than in float32, on this processor."""
    has_bfloat16 = processors.has_bfloat16()
    return tuple(name for name in _FASTER[tower] if name != BFLOAT16 or has_bfloat16)


def named(name: str, calibration: Calibration | None = None) -> Precisions:
    """Return what a name means, `auto` without proof being float32.

    A tower that does not offer the precision stays at float32. Images in int8 need a calibration;
    without one they are at bfloat16 where the processor computes with it.
    """
    text = name if name in _FASTER[TEXT] else FLOAT32
    image = INT8 if name == INT8_BLOCKS else name if name in _FASTER[IMAGE] else FLOAT32
    if image == INT8 and calibration is None:
        image = BFLOAT16 if processors.has_bfloat16() else FLOAT32
    return Precisions(text=text, image=image, calibration=calibration if image == INT8 else None)
