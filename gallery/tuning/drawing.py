"""What precisions are compared on: images, captions and words of the gallery, drawn at random.

Everyone's may be among them. What leaves is numbers: how near two ways of computing are, and
between which values they compute.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

import numpy as np

from embeddings.encoders import registry
from embeddings.encoders.framing import Frames, Framing
from embeddings.encoders.precisions import IMAGE, TowerName
from embeddings.models import Space
from embeddings.streams import read_ids, read_vectors
from embeddings.tuning import CALIBRATING, Sample
from embeddings.vectors import Ids
from gallery import originals, saved_searches
from gallery.errors import QueryInvalid
from gallery.models import Caption, Image, ImageEmbedding, SavedSearch, Tag
from gallery.query import MAX_TEXT, TextTerm
from gallery.subjects import Unreadable, read_frames

COMPARED = 256  # images, beside those that calibrate
TEXTS = 256
VECTORS = 20_000  # that texts are searched among
CAPTIONED = 2000  # images whose captions are looked at, when those that were drawn have too few
AT_ONCE = 32

Pairs = list[tuple[int, int]]


def draw(space: Space, *, towers: Collection[TowerName], seed: int | None = None) -> Sample:
    """Return a sample of what has a vector in a space, as some towers need it.

    Images are opened for the image tower alone. Raise EncoderUnavailable, and NotTuned where the
    encoder of the space computes in one precision.
    """
    random = np.random.default_rng(seed)
    framing = registry.reference(space).framing
    embedded = read_ids(ImageEmbedding.objects.filter(space=space), "image")
    ids, vectors = read_vectors(ImageEmbedding, space, only=random.permutation(embedded)[:VECTORS])
    drawn = random.permutation(ids)
    most = COMPARED + CALIBRATING
    read = dict(_first(_frames(drawn, framing), most)) if IMAGE in towers else {}
    shown = np.array(list(read), np.int64) if read else drawn[:most]
    texts, captions = _texts(shown, drawn, random)
    in_order = np.concatenate([shown, np.setdiff1d(ids, shown)])
    return Sample(
        frames=list(read.values()),
        texts=texts,
        captions=captions,
        vectors=vectors[np.searchsorted(ids, in_order)],
        size=len(embedded),
    )


def _frames(ids: Ids, framing: Framing) -> Iterator[tuple[int, Frames]]:
    """Yield images that can be read, in the order of their ids."""
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE].tolist()
        known = originals.with_places(Image.objects.filter(pk__in=some))
        for image, frames in read_frames(list(known.only(*originals.FIELDS)), framing):
            if not isinstance(frames, Unreadable):
                yield image.pk, frames


def _first(pairs: Iterator[tuple[int, Frames]], most: int) -> Iterator[tuple[int, Frames]]:
    yield from (pair for _, pair in zip(range(most), pairs, strict=False))


def _texts(shown: Ids, drawn: Ids, random: np.random.Generator) -> tuple[list[str], Pairs]:
    """Return texts such as people search by, and which of them are captions of which image."""
    place_by_id = {id_: place for place, id_ in enumerate(shown.tolist())}
    texts: dict[str, int] = {}
    captions: Pairs = []
    # Backwards: those that are compared on come behind those that calibrate.
    for id_, text in _captions_of(shown[::-1], random):
        if len(texts) < TEXTS or text in texts:
            captions.append((texts.setdefault(text, len(texts)), place_by_id[id_]))
    if len(texts) < TEXTS:
        others = [text for _, text in _captions_of(drawn[:CAPTIONED], random)]
        words = random.permutation(np.array([*others, *_words()], object)).tolist()
        for text in words[: TEXTS - len(texts)]:
            texts.setdefault(text, len(texts))
    return list(texts), captions


def _captions_of(ids: Ids, random: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield one caption of each image that has any, in the order of the ids."""
    rows = Caption.objects.filter(image__in=ids.tolist()).exclude(text="")
    texts_by_id: dict[int, list[str]] = {}
    for id_, text in rows.values_list("image", "text").order_by("pk"):
        texts_by_id.setdefault(id_, []).append(text[:MAX_TEXT])
    for id_ in ids.tolist():
        if texts := texts_by_id.get(id_):
            yield id_, texts[random.integers(len(texts))]


def _words() -> list[str]:
    """Return tags, and what saved searches ask for."""
    words = list(Tag.objects.order_by("pk").values_list("name", flat=True)[:TEXTS])
    for search in SavedSearch.objects.order_by("-pk")[:TEXTS]:
        with suppress(QueryInvalid):  # of an older version
            terms = saved_searches.query_of(search).terms
            words += [term.text for term in terms if isinstance(term, TextTerm)]
    return words
