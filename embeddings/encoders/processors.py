"""This machine's processor: its name, and what it computes quickly with."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

# What decides how fast a precision is. The last line is ARM's.
_FLAGS = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8",
    "asimddp", "bf16", "i8mm",
)  # fmt: skip


@lru_cache(maxsize=1)
def flags() -> frozenset[str]:
    """Return those of _FLAGS that it has; none where the system does not tell."""
    found = _said("flags") or _said("Features")
    return frozenset(_FLAGS) & frozenset(found.split())


@lru_cache(maxsize=1)
def describe() -> str:
    """Return name and flags: what was measured on one processor says nothing about another."""
    name = _said("model name") or platform.processor() or platform.machine()
    has = " ".join(flag for flag in _FLAGS if flag in flags())
    return f"{name[:120]} ({has})" if has else name[:120]


def has_bfloat16() -> bool:
    """Whether it computes with bfloat16, and does not emulate it, slower than float32."""
    return bool({"amx_bf16", "avx512_bf16", "bf16"} & flags())


def _said(name: str) -> str:
    """Return what the system says under a name of its first processor; "" where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    values = (line.partition(":")[2] for line in lines if line.partition(":")[0].strip() == name)
    return next(values, "").strip()
