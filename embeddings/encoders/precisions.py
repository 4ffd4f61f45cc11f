"""How exactly a tower computes: what there is, and what a processor is quick at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# Below this size bfloat16 saves less time than its rounding is worth.
BFLOAT16_FROM_PARAMETERS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Precisions:
    """Those of an encoder's two towers."""

    text: str = FLOAT32
    image: str = FLOAT32


def choose(wanted: str, parameters: int) -> Precisions:
    """Return what ENCODER_PRECISION means for an encoder of that size on this processor."""
    if wanted == "auto":
        is_worth_it = parameters >= BFLOAT16_FROM_PARAMETERS and has_bfloat16()
        wanted = BFLOAT16 if is_worth_it else FLOAT32
    return Precisions(image=wanted)


def has_bfloat16() -> bool:
    """Whether the processor computes with it, and does not emulate it, slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    except OSError:
        return False
    return bool({"amx_bf16", "avx512_bf16"} & set(flags))
