"""A fresh process: from nothing to its first encoded text, as a web process comes up.

    python -m bench._first_text ours|int8|rival FOLDER CACHE

Prints the seconds since the process began, and its memory in MB, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import psutil

TEXT = "two red boats at night"


def ours(folder: Path, cache: Path, precision: str = "float32") -> None:
    from django.conf import settings

    settings.configure(ENCODER_CACHE_DIR=str(cache))
    from embeddings.encoders import sources
    from embeddings.encoders.cpu import CpuEncoder
    from embeddings.encoders.precisions import Precisions

    wanted = Precisions(text=precision)
    encoder = CpuEncoder(sources.find(str(folder)), cache, precisions=wanted, threads=1)
    encoder.encode_texts([TEXT])
    assert "torch" not in sys.modules


def int8(folder: Path, cache: Path) -> None:
    ours(folder, cache, "int8")


def rival(folder: Path, _cache: Path) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        model.get_text_features(**tokenizer([TEXT], padding="max_length", return_tensors="pt"))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    {"ours": ours, "int8": int8, "rival": rival}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    process = psutil.Process()
    seconds = time.time() - process.create_time()
    said = {"seconds": seconds, "megabytes": process.memory_info().rss / 1e6}
    sys.stdout.write(json.dumps(said) + "\n")
