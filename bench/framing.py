"""What is found of images far from square, by how they are looked at.

    .venv/bin/python bench/framing.py [--quick] [--json] [--encoder NAME] [--photos COCO]

Panoramas are drawn: one scene four times as wide as high, and three scenes side by side, each asked
for by its caption. The encoder is the bundled one, unless --encoder names another; --photos is a
folder in COCO's layout, whose photos are put side by side in threes and asked for likewise.
The rival is the way the encoder was trained: cut in the middle, or squashed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image as Pixels

import scenes
from bench import _report as report
from bench._report import Row
from embeddings.encoders.framing import Manner

if TYPE_CHECKING:
    from embeddings.encoders.contract import Encoder

KS = (1, 10)
HEIGHT = 300  # pixels
FULL, QUICK = 240, 40  # images of each kind
FIRST_SEED = 5_000_000  # none that the bundled encoder was trained on
WIDE, IN_THREES = "a scene drawn 4:1", "three scenes side by side"
# The least times as much as the trained way finds. Crops are there for what that does not see.
FLOORS = {(IN_THREES, Manner.CROPS): 1.1}


@dataclass(frozen=True)
class Asked:
    """Images, and texts with the image that each is a caption of."""

    what: str
    images: list[Pixels.Image]
    texts: list[str]
    wanted: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer images")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    parser.add_argument("--encoder", default="bundled", help="its name")
    parser.add_argument("--photos", type=Path, help="a folder in COCO's layout")
    given = parser.parse_args()
    n = QUICK if given.quick else FULL
    rows = measured(given.encoder, n, given.photos)
    report.show(rows, report.Options(given.quick, given.json))


def measured(name: str, n: int, photos: Path | None) -> Iterator[Row]:
    from django.conf import settings

    with tempfile.TemporaryDirectory() as cache:
        settings.configure(
            ENCODER_CACHE_DIR=cache,
            ENCODER_DEVICE="cpu",
            ENCODER_PRECISION="float32",
            ENCODER_THREADS=0,
        )
        from embeddings.encoders import opening, sources

        report.tell(f"opening {name}")
        encoder = opening.open_source(sources.find(name))
        asked = [of_photos(photos)] if photos else [wide_scenes(n), scenes_in_threes(n)]
        for one in asked:
            yield from rows_of(encoder, one)


def rows_of(encoder: Encoder, asked: Asked) -> Iterator[Row]:
    trained = recalls(encoder, asked, Manner.TRAINED)
    for manner in (Manner.LETTERBOX, Manner.CROPS):
        found = recalls(encoder, asked, manner)
        frames = [len(encoder.framing.in_manner(manner).frames(one)) for one in asked.images]
        for k, ours, rival in zip(KS, found, trained, strict=True):
            yield Row(
                f"{asked.what}, {manner}, R@{k}", f"{ours:.3f}", f"{rival:.3f}",
                ours / max(rival, 1e-9), FLOORS.get((asked.what, manner), 0.0),
                f"{np.mean(frames):.1f} frames an image",
            )  # fmt: skip


def recalls(encoder: Encoder, asked: Asked, manner: Manner) -> list[float]:
    """Return the share of texts whose image is among the k with the highest scores, for each k."""
    report.tell(f"{asked.what}, {manner}")
    framing = encoder.framing.in_manner(manner)
    images = np.concatenate(
        [encoder.encode_frames([framing.frames(image)]) for image in asked.images]
    )
    scores = encoder.encode_texts(asked.texts) @ images.T
    best = np.argsort(-scores, axis=1)
    hits = best == np.array(asked.wanted)[:, None]
    return [float(hits[:, :k].any(axis=1).mean()) for k in KS]


def wide_scenes(n: int) -> Asked:
    drawn = [scenes.compose(FIRST_SEED + seed) for seed in range(n)]
    images = [scenes.draw(scene, (4 * HEIGHT, HEIGHT)) for scene in drawn]
    texts = [scenes.describe(scene, seed) for seed, scene in enumerate(drawn)]
    return Asked(WIDE, images, texts, list(range(n)))


def scenes_in_threes(n: int) -> Asked:
    drawn = [scenes.compose(FIRST_SEED + seed) for seed in range(n, 4 * n)]
    tiles = [scenes.draw(scene, (HEIGHT * 4 // 3, HEIGHT)) for scene in drawn]
    texts = [scenes.describe(scene, seed) for seed, scene in enumerate(drawn)]
    return Asked(IN_THREES, in_threes(tiles), texts, [k // 3 for k in range(3 * n)])


def of_photos(folder: Path) -> Asked:
    (captions,) = (folder / "annotations").glob("captions_*.json")
    said = json.loads(captions.read_text())
    names = {one["id"]: one["file_name"] for one in said["images"]}
    ids = sorted(names)[: len(names) // 3 * 3]
    np.random.default_rng(0).shuffle(ids)
    place = {image_id: number // 3 for number, image_id in enumerate(ids)}
    files = {file.name: file for file in folder.glob("*/*.jpg")}
    tiles = [Pixels.open(files[names[image_id]]).convert("RGB") for image_id in ids]
    told = [one for one in said["annotations"] if one["image_id"] in place]
    return Asked(
        "three photos side by side",
        in_threes([scaled(tile) for tile in tiles]),
        [one["caption"] for one in told],
        [place[one["image_id"]] for one in told],
    )


def scaled(image: Pixels.Image) -> Pixels.Image:
    return image.resize((max(round(image.width * HEIGHT / image.height), 1), HEIGHT))


def in_threes(tiles: Sequence[Pixels.Image]) -> list[Pixels.Image]:
    """Return panoramas of three each, in their order."""
    made = []
    for three in zip(tiles[::3], tiles[1::3], tiles[2::3], strict=True):
        wide = Pixels.new("RGB", (sum(tile.width for tile in three), HEIGHT))
        left = 0
        for tile in three:
            wide.paste(tile, (left, 0))
            left += tile.width
        made.append(wide)
    return made


if __name__ == "__main__":
    main()
