"""The proof that a restored gallery is the same: the same questions get the same answers.

Vectors are asked in Postgres alone, and again through the index; whole searches with their filters,
rights and words as users saved them. Both see one state of the database and are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from django.contrib.auth.models import User

from embeddings import feed, live
from embeddings.encoders import registry
from embeddings.encoders.contract import Encoder
from embeddings.errors import EmbeddingsError, EncoderUnavailable
from embeddings.models import AbstractEmbedding, QuerySample, Space
from embeddings.nearest import nearest, nearest_exactly
from embeddings.streams import read_ids, read_vectors
from embeddings.vectors import Neighbours, Vector
from gallery import spaces
from gallery.backups.errors import BackupBroken
from gallery.backups.manifest import Answer, Proof, SearchQuestion, VectorQuestion, packed
from gallery.errors import GalleryError
from gallery.models import Caption, ImageEmbedding, SavedSearch
from gallery.query import Band, Mode, Query, TextTerm, forms
from gallery.saved_searches import query_of
from gallery.search import rankings, searches
from gallery.search.preparation import prepare

K = 10
ASKED, STORED, CAPTIONS, SAVED = 20, 20, 10, 20  # questions of each kind
TEXTS = (
    "a red boat on calm water", "two people on a beach", "a dog", "mountains under snow",
    "a street at night", "flowers in a garden", "a house with a tree", "the sun sets",
)  # fmt: skip
# Processors differ in the last digits of a sum, and so in the order of what is as near.
SCORE_TOLERANCE = 1e-5
FUSED_TOLERANCE = 5e-4  # two neighbours that change places change their sums of ranks so far
ENCODER_TOLERANCE = 1e-3
INDEX_TOLERANCE = 0.05  # below INDEX_RECALL: it was measured on other queries


class Compared(NamedTuple):
    """What asking again has found."""

    asked: int
    differences: list[str]  # sentences
    index_share: float | None  # of the exact answers, that the index gives; None: not asked


def ask() -> Proof:
    """Ask in the state that this transaction sees, and return questions with their answers."""
    space = spaces.active()
    if space is None:
        return Proof(vectors=[], searches=[], left_out=["No space is active yet."])
    left_out: list[str] = []
    encoder = _encoder(space, left_out)
    vectors = [
        question
        for model in feed.vector_tables()
        for question in _vector_questions(model, space, encoder)
    ]
    asked = list(_search_questions(space, left_out)) if encoder else []
    return Proof(vectors=vectors, searches=asked, left_out=left_out)


def ask_again(proof: Proof, advance: Callable[[], None]) -> Compared:
    """Ask the same, in one state of the database and exactly; return what is not the same."""
    differences = list[str]()
    space = spaces.active()
    if space is None:
        missing = ["No space is active."] if proof.vectors or proof.searches else []
        return Compared(0, missing, None)
    encoder = None
    if proof.searches or any(question.text for question in proof.vectors):
        encoder = _encoder(space, differences)
    for question in proof.vectors:
        differences += _vector_differences(question, encoder)
        advance()
    for one in proof.searches:
        if encoder:
            differences += _search_differences(one, space)
        advance()
    return Compared(len(proof.vectors) + len(proof.searches), differences, None)


def share_of_index(proof: Proof, advance: Callable[[], None]) -> float | None:
    """Return the share of the exact answers that the index gives; None when there are none."""
    shares = []
    for model in feed.vector_tables():
        for space in Space.in_use():
            live.index_of(model, space).refresh()
    for question in proof.vectors:
        if question.answer.ids:
            model, space = _asked_of(question)
            found = nearest(model, space, _vector_of(question, space), k=K)
            shares.append(_share(question.answer, found))
        advance()
    return float(np.mean(shares)) if shares else None


def _vector_questions(
    model: type[AbstractEmbedding], space: Space, encoder: Encoder | None
) -> Iterator[VectorQuestion]:
    ids = read_ids(model._default_manager.filter(space=space), model.subject_field().column)
    if not len(ids):
        return
    places = np.unique(np.linspace(0, len(ids) - 1, STORED).astype(int))
    _, stored = read_vectors(model, space, only=ids[places])
    for vector in stored:
        yield _asked(model, space, vector, "stored")
    if model is not ImageEmbedding:
        return
    samples = QuerySample.objects.filter(space=space).order_by("-asked_at", "-pk")
    for sample in samples.values_list("vector", flat=True)[:ASKED]:
        yield _asked(model, space, np.array(sample, np.float32), "asked")
    if encoder is not None:
        for text in _texts():
            yield _asked(model, space, encoder.encode_texts([text])[0], "text", text)


def _texts() -> list[str]:
    captions = Caption.objects.order_by("pk").values_list("text", flat=True)[:CAPTIONS]
    return [*TEXTS, *(text[:200] for text in captions)]


def _asked(
    model: type[AbstractEmbedding],
    space: Space,
    vector: Vector,
    origin: Literal["asked", "stored", "text"],
    text: str = "",
) -> VectorQuestion:
    return VectorQuestion(
        table=model._meta.db_table,
        space=space.pk,
        origin=origin,
        text=text,
        vector=packed(vector),
        answer=_answer(nearest_exactly(model, space, vector, k=K)),
    )


def _search_questions(space: Space, left_out: list[str]) -> Iterator[SearchQuestion]:
    for name, user, query in _searches(left_out):
        try:
            answer = _search(query, user, space)
        except (GalleryError, EmbeddingsError) as error:
            left_out.append(f"The search “{name}” cannot be asked: {error}")
            continue
        yield SearchQuestion(name=name, user=user.pk, query=forms.to_json(query), answer=answer)


def _searches(left_out: list[str]) -> Iterator[tuple[str, User, Query]]:
    for saved in SavedSearch.objects.select_related("owner").order_by("pk")[:SAVED]:
        try:
            yield saved.name, saved.owner, query_of(saved)
        except GalleryError as error:
            left_out.append(str(error))
    user = User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()
    for text in TEXTS if user else ():
        assert user is not None
        yield text, user, Query(terms=(TextTerm(text),), mode=Mode.HYBRID)


def _search(query: Query, user: User, space: Space) -> Answer:
    """Return the first hits, also the unlikely: where they end depends on a random sample."""
    prepared = prepare(replace(query, k=K, least_band=Band.UNLIKELY), user, space)
    ranking, _ = rankings.make_first(prepared, searches.sources_of(prepared, user, space))
    return Answer(ids=ranking.ids[:K].tolist(), scores=ranking.scores[:K].tolist())


def _vector_differences(question: VectorQuestion, encoder: Encoder | None) -> Iterator[str]:
    model, space = _asked_of(question)
    vector = _vector_of(question, space)
    name = f"“{question.text}”" if question.text else f"A vector of {question.table}"
    if question.text and encoder is not None:
        now = encoder.encode_texts([question.text])[0]
        if float(now @ vector) < 1 - ENCODER_TOLERANCE:
            yield f"{name}: the encoder makes another vector of it (cosine {now @ vector:.4f})."
    found = _answer(nearest_exactly(model, space, vector, k=K))
    if not is_same(question.answer, found, SCORE_TOLERANCE):
        yield f"{name}: {_told(question.answer)} were nearest, now {_told(found)} are."


def _search_differences(question: SearchQuestion, space: Space) -> Iterator[str]:
    user = User.objects.filter(pk=question.user).first()
    if user is None:
        yield f"The search “{question.name}”: its user is not there."
        return
    try:
        found = _search(forms.from_json(question.query), user, space)
    except (GalleryError, EmbeddingsError) as error:
        yield f"The search “{question.name}” cannot be asked: {error}"
        return
    if not is_same(question.answer, found, FUSED_TOLERANCE):
        yield (
            f"The search “{question.name}”: {_told(question.answer)} were found, "
            f"now {_told(found)} are."
        )


def is_same(was: Answer, now: Answer, tolerance: float) -> bool:
    """Whether two answers are the same but for the order of what scores alike."""
    if len(was.ids) != len(now.ids) or len(was.scores) != len(now.scores):
        return False
    if not was.ids:
        return True
    if any(abs(one - other) > tolerance for one, other in zip(was.scores, now.scores, strict=True)):
        return False
    # What scores as the last one does may stand for others that do.
    last = was.scores[-1] + tolerance
    sure = {id_ for id_, score in zip(was.ids, was.scores, strict=True) if score > last}
    return sure <= set(now.ids)


def _share(was: Answer, now: Neighbours) -> float:
    last = was.scores[-1] - SCORE_TOLERANCE
    known = set(was.ids)
    right = [
        id_ in known or score >= last
        for id_, score in zip(now.ids.tolist(), now.scores.tolist(), strict=True)
    ]
    return float(min(1.0, sum(right) / len(was.ids)))


def _asked_of(question: VectorQuestion) -> tuple[type[AbstractEmbedding], Space]:
    tables = {model._meta.db_table: model for model in feed.vector_tables()}
    space = Space.objects.filter(pk=question.space).first()
    if question.table not in tables or space is None:
        raise BackupBroken("The questions of the backup are of tables or spaces that it lacks.")
    return tables[question.table], space


def _vector_of(question: VectorQuestion, space: Space) -> Vector:
    try:
        vector = question.as_vector()
    except ValueError as error:
        raise BackupBroken("A vector of the backup's questions cannot be read.") from error
    if vector.shape != (space.dimensions,) or not np.isfinite(vector).all() or not vector.any():
        raise BackupBroken("A vector of the backup's questions is none of its space.")
    return vector


def _answer(found: Neighbours) -> Answer:
    return Answer(ids=found.ids.tolist(), scores=found.scores.tolist())


def _told(answer: Answer) -> str:
    return ", ".join(str(id_) for id_ in answer.ids[:5]) or "none"


def _encoder(space: Space, told: list[str]) -> Encoder | None:
    try:
        return registry.load(space)
    except EncoderUnavailable as error:
        told.append(f"Texts cannot be asked: {error}")
        return None
