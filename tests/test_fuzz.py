"""Spoiled files, the same ones each time. `make fuzz` makes new ones for as long as it is let."""

from __future__ import annotations

import time
from itertools import islice
from random import Random

import pytest

from tests.fuzz import runs
from tests.fuzz.mutations import bytes_at_random
from tests.fuzz.targets import TARGETS, Target

SPOILED = 40


@pytest.mark.parametrize("name", TARGETS)
def test_a_spoiled_file_gives_a_value_or_a_sentence_and_soon(name, settings):
    settings.ARCHIVE_MAX_BYTES, settings.ARCHIVE_MAX_MEMBERS = 10**8, 2000
    examples = runs.Examples(name, Random(f"{name} 0"))
    for content in islice(examples, examples.sound + SPOILED):
        begin = time.process_time()
        TARGETS[name].read(content)
        assert time.process_time() - begin < runs.CPU_SECONDS


def test_a_fault_is_written_down_with_its_file(monkeypatch, tmp_path):
    def read(content: bytes) -> str:
        if content != b"sound":
            raise KeyError("ImageID")
        return "value"

    monkeypatch.setitem(TARGETS, "new", Target(lambda: [b"sound"], (bytes_at_random,), read))
    # A machine may stand still for the half second that one of them has.
    tallies = (runs.run("new", seed=1, seconds=0.5, folder=tmp_path) for _ in range(20))
    assert any(tally.read > 2 for tally in tallies)
    fault, why = sorted((tmp_path / "faults").iterdir())
    assert fault.read_bytes() != b"sound"
    assert why.read_text().endswith("KeyError: 'ImageID'\n")
