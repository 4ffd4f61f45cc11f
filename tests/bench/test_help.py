from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent.parent / "bench"


@pytest.mark.parametrize("script", sorted(BENCH.glob("[a-z]*.py")), ids=lambda script: script.stem)
def test_every_benchmark_loads_and_says_what_it_measures(script: Path):
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    for part in ("--quick", "--json", "rival"):
        assert part in done.stdout.lower()
