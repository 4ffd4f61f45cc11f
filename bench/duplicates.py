"""Finding duplicates, beside comparing every image with every other.

    .venv/bin/python bench/duplicates.py [--quick] [--json]

Data: perceptual hashes of 100,000 images (quick: 50,000), random, with copies that differ in up to
10 bits hidden in every hundredth of them, seed 0, on an embedded Postgres of its own; and a drawn
scene as a JPEG of 12 megapixels. Rivals: numpy comparing all hashes with all others, a block of
rows at a time; and decoding the file alone, as ingest does without digests. One thread.

Recall: drawn scenes of 640x480 (200, quick: 40) with the bundled encoder, and one copy of each, of
one kind at a time; the share of copies that are found to be duplicates of their scene. Cropped by
n %: so much is taken off each of the four sides. Pairs of different scenes end it: none is allowed.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ |= {"OMP_NUM_THREADS": "1"}

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench import _report as report
from bench._library import empty, servers
from bench._report import Row

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from PIL.Image import Image as Pixels

BITS = 10
ROWS_AT_ONCE = 16  # of the rival: a block that stays in the processor's cache


def main() -> None:
    given = report.options(__doc__ or "")
    with servers():
        report.show(rows(is_quick=given.is_quick), given)


def rows(*, is_quick: bool) -> Iterator[Row]:
    n = 50_000 if is_quick else 100_000
    yield from digests_of_one(runs=5 if is_quick else 20)
    yield all_pairs(n)
    yield grouped(n)
    yield upload_check(n, runs=20)
    yield from recall_of_copies(40 if is_quick else 200)


def hashes_of(n: int) -> NDArray[np.uint64]:
    """Return random hashes, in which every hundredth has a copy that differs in 0 to 10 bits."""
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, size=n, dtype=np.uint64)
    for place in range(0, n // 2, 50):
        flips = random.choice(64, random.integers(0, BITS + 1), replace=False)
        hashes[n - 1 - place] = hashes[place] ^ np.uint64(sum(1 << int(flip) for flip in flips))
    return hashes


def owner() -> User:
    from django.contrib.auth.models import User

    return User.objects.get_or_create(username="bench")[0]


def digests_of_one(runs: int) -> list[Row]:
    """What the digests of an image cost, beside decoding it."""
    import scenes
    from gallery import digests, inspection, thumbnails

    file = io.BytesIO()
    scenes.draw(scenes.compose(1), (1000, 750)).resize((4000, 3000)).save(file, "JPEG", quality=90)

    def decode() -> inspection.Inspected:
        file.seek(0)
        return inspection.open_image(file, edge=thumbnails.LARGE)

    inspected = decode()
    large = thumbnails.resized(inspected.pixels, thumbnails.LARGE)
    pair = report.medians(
        lambda: (digests.pixel_sha256(inspected, large), digests.perceptual_hash(large)),
        decode,
        runs=runs,
    )
    return [report.faster("digests of 4000x3000 beside decoding it", pair, floor=3)]


def all_pairs(n: int) -> Row:
    """Pairs of near hashes among all."""
    from gallery.duplicates import hamming

    hashes = hashes_of(n)

    def rival() -> int:
        found = 0
        for start in range(0, n, ROWS_AT_ONCE):
            block = hashes[start : start + ROWS_AT_ONCE, None] ^ hashes[None, start + 1 :]
            found += int(np.count_nonzero(np.bitwise_count(block) <= BITS))
        return found

    ours = report.seconds_of(lambda: hamming.pairs_within(hashes, BITS))
    pair = report.Pair(ours, report.seconds_of(rival))
    return report.faster(
        f"pairs within {BITS} of 64 bits among {n:,} hashes", pair, floor=1.5 if n < 100_000 else 2
    )


def grouped(n: int) -> Row:
    """From rows in Postgres to groups in Postgres."""
    from embeddings.models import Space
    from gallery.duplicates import finding
    from gallery.models import DuplicateGroup, Image, ImageEmbedding

    empty()
    user = owner()
    hashes = hashes_of(n).view(np.int64).tolist()
    Image.objects.bulk_create(
        [
            Image(
                owner=user, sha256=f"{i:064x}", pixel_sha256=f"{i:064x}", perceptual_hash=one,
                mime_type="image/jpeg", width=4000, height=3000, bytes=1, visibility="public",
                state="ready",
            )
            for i, one in enumerate(hashes)
        ],
        batch_size=5000,
    )  # fmt: skip
    space = Space.objects.create(
        name="numbers", revision="duplicates", dimensions=2, state=Space.State.ACTIVE
    )
    # Every vector is the same: here the hashes decide.
    ids = Image.objects.values_list("pk", flat=True)
    ImageEmbedding.objects.bulk_create(
        [ImageEmbedding(image_id=pk, space=space, vector=[1.0, 0.0]) for pk in ids], batch_size=5000
    )
    seconds = report.seconds_of(lambda: finding.compare_all(user.pk))
    hidden = len(range(0, n // 2, 50))
    if DuplicateGroup.objects.count() < hidden:
        raise AssertionError("Copies that were hidden were not found.")
    return report.at_most(
        f"find_duplicates --hashes-only, {n:,} images", seconds, 30, "s", limit=f"{hidden} copies"
    )


def upload_check(n: int, runs: int) -> Row:
    """What a new file is like among n images of its owner: asked before it is stored."""
    from gallery.digests import Digests
    from gallery.duplicates import like

    user = owner()
    numbers = iter(np.random.default_rng(1).integers(-(2**63), 2**63, size=runs + 1).tolist())

    def ask() -> object:
        return like(Digests("0" * 64, "0" * 64, next(numbers)), user)

    ask()
    seconds = sorted(report.seconds_of(ask) for _ in range(runs))[runs // 2]
    return report.at_most(f"what a file is like among {n:,}", seconds * 1000, 250, "ms")


def cropped(pixels: Pixels, share: float) -> Pixels:
    """Return it without a share of its width and height on each side."""
    x, y = round(pixels.width * share), round(pixels.height * share)
    return pixels.crop((x, y, pixels.width - x, pixels.height - y))


def half(pixels: Pixels) -> Pixels:
    return pixels.resize((pixels.width // 2, pixels.height // 2))


def signed(pixels: Pixels) -> Pixels:
    """Return it with a line of text in its lower left corner."""
    from PIL import ImageDraw

    copy = pixels.copy()
    ImageDraw.Draw(copy).text((20, copy.height - 30), "(c) Ann", fill="white", font_size=18)
    return copy


def framed(pixels: Pixels) -> Pixels:
    """Return it with a white frame of a twentieth of its width."""
    from PIL import ImageOps

    return ImageOps.expand(pixels, pixels.width // 20, "white")


COPIES: dict[str, tuple[Callable[[Pixels], Pixels], float]] = {
    "half the size": (half, 1.0),
    "cropped by 1 %": (partial(cropped, share=0.01), 0.95),
    "cropped by 2 %": (partial(cropped, share=0.02), 0.9),
    "cropped by 5 %": (partial(cropped, share=0.05), 0.0),
    "cropped by 10 %": (partial(cropped, share=0.10), 0.0),
    "signed in a corner": (signed, 0.95),
    "framed in white": (framed, 0.0),
}


def recall_of_copies(n: int) -> Iterator[Row]:
    """Which share of copies of each kind is found."""
    report.tell("recall of copies")
    for kind, (copy, least) in COPIES.items():
        share = recall_of(n, copy)
        what, beside = f"{kind}: found of {n}", f">= {least:g}"
        # Without a bound it is only told.
        yield Row(what, f"{share:.3f}", beside, share / (least or 1), 1.0 if least else 0.0)


def recall_of(n: int, copy: Callable[[Pixels], Pixels]) -> float:
    import scenes
    from gallery import pipeline, spaces
    from gallery.duplicates import finding
    from gallery.models import DuplicatePair

    empty()
    spaces.ensure()
    drawn = [scenes.draw(scenes.compose(seed), (640, 480)) for seed in range(n)]
    scene_ids = [added(pixels, quality=90) for pixels in drawn]
    copy_ids = [added(copy(pixels), quality=80) for pixels in drawn]
    pipeline.embed_waiting()
    finding.compare_all(owner().pk, advance=lambda _: None)
    found = set(DuplicatePair.objects.values_list("first", "second"))
    wanted = set(zip(scene_ids, copy_ids, strict=True))
    if wrong := found - wanted:
        raise AssertionError(f"{len(wrong)} pairs of different scenes were taken for duplicates.")
    return len(found & wanted) / n


def added(pixels: Pixels, *, quality: int) -> int:
    from gallery.ingest import NewImage, add_image

    file = io.BytesIO()
    pixels.save(file, "JPEG", quality=quality)
    return add_image(NewImage(file=file, owner=owner(), visibility="public")).image.pk


if __name__ == "__main__":
    main()
