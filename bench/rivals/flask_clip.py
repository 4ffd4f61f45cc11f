"""A bare-bones CLIP search server: Flask, transformers, IndexFlatIP, a list of records.

What tutorials and demos build, with the care a good author takes: the model is loaded once, the
text is not padded, gradients are off, the index is built at the start.

    LIBRARY=FOLDER ENCODER=FOLDER gunicorn bench.rivals.flask_clip:app --worker-class gthread

LIBRARY holds vectors.npy, (n, dimensions) float32 of unit length, and records.json, a list of n.
`CACHE=1` keeps the vectors of texts, which tutorials do not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from flask import Flask, jsonify, request
from flask.typing import ResponseReturnValue
from transformers import AutoTokenizer, CLIPModel

app = Flask(__name__)

folder = Path(os.environ["LIBRARY"])
records: list[dict[str, Any]] = json.loads((folder / "records.json").read_text())
vectors = np.load(folder / "vectors.npy")
index: Any = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
del vectors

tokenizer = AutoTokenizer.from_pretrained(os.environ["ENCODER"])
model = CLIPModel.from_pretrained(os.environ["ENCODER"]).eval()


def encode(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    inputs = tokenizer([text], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        features = model.get_text_features(**inputs).pooler_output
    return torch.nn.functional.normalize(features).numpy()


vector_of: Callable[[str], Any] = lru_cache(4096)(encode) if os.environ.get("CACHE") else encode


@app.get("/search")
def search() -> ResponseReturnValue:
    scores, places = index.search(vector_of(request.args["q"]), int(request.args.get("k", 10)))
    hits = [
        {"score": float(score), **records[place]}
        for score, place in zip(scores[0], places[0], strict=True)
    ]
    return jsonify(hits=hits)


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "5000")), threaded=True)
