"""How good is this gallery's search? Measured on its own images, by its captions or a file."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embeddings import measures
from embeddings.measures import Figures, Ranked
from embeddings.models import Space
from embeddings.vectors import Vectors
from gallery import spaces
from gallery.evaluation import judgement_files, judgements, performance, quality
from gallery.evaluation.errors import NothingToEvaluate, NotYet
from gallery.evaluation.judgements import Candidates, Judgements
from gallery.evaluation.performance import Asked, Performance
from gallery.evaluation.quality import Measures
from gallery.models import Image
from gallery.query import Mode

if TYPE_CHECKING:
    from django.contrib.auth.models import User


TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text_to_image", "image_to_text"
TIMED = 100  # of the queries: their latency and the index's recall
SHOWN = 20  # unknown names and bad lines that are listed

FLATTERED = (
    "In {mode} mode the captions themselves are searched, so judgements from captions flatter it. "
    "Measure it with a file of judgements."
)
ONLY_ACTIVE = "In a space that searches do not use, only semantic mode can be measured."
FEW = "Only {n} queries: the figures say little; look at the interval of Recall@10."


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is to be evaluated."""

    viewer: User
    space: Space | None = None  # None: the active one
    file: Path | None = None  # of judgements; None: from the captions
    mode: Mode = Mode.SEMANTIC
    k: int = 10  # of the index's recall and of latency
    limit: int = 1000  # queries; 0: all
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that was measured."""

    encoder: str
    viewer: str
    mode: Mode
    seed: int
    judgements: Judgements
    text_to_image: Measures
    image_to_text: Measures | None  # None: only vectors can be asked that way round
    performance: Performance
    first_ranks: dict[str, Figures]  # by direction, (q,): where the first relevant one stands
    notices: tuple[str, ...]  # what a reader should know before trusting the figures

    def as_json(self) -> dict[str, Any]:
        """Return the figures under keys that stay, for programs."""
        given = self.judgements
        return {
            "encoder": self.encoder,
            "viewer": self.viewer,
            "mode": str(self.mode),
            "seed": self.seed,
            "notices": list(self.notices),
            "judgements": {
                "source": given.source,
                "queries": len(given.grades_by_query),
                "queries_in_all": given.in_all,
                "relevant": sum(map(len, given.grades_by_query.values())),
                "bad_lines": [asdict(bad) for bad in given.bad_lines],
                "unknown": list(given.unknown),
                "ambiguous": list(given.ambiguous),
                "not_embedded": given.not_embedded,
                "too_long": given.too_long,
            },
            "text_to_image": asdict(self.text_to_image),
            "image_to_text": asdict(self.image_to_text) if self.image_to_text else None,
            "performance": asdict(self.performance),
            "rank_histogram": {
                direction: [{"ranks": name, "share": share} for name, share in histogram(ranks)]
                for direction, ranks in self.first_ranks.items()
            },
        }


def evaluate(options: Options) -> Evaluation:
    """Measure the gallery as one viewer sees it.

    Raise NothingToEvaluate for a gallery without encoder, vectors or judgements, NotYet when a
    moment's wait may help, JudgementsRefused for a file that is none.
    """
    space = options.space or spaces.active()
    if space is None:
        raise NothingToEvaluate(
            "There is no active space: no encoder has been chosen yet. Run manage.py prepare."
        )
    if options.mode is not Mode.SEMANTIC and space != spaces.active():
        raise NothingToEvaluate(ONLY_ACTIVE)
    candidates = Candidates.of(options.viewer, space)
    _check_images(candidates, options.viewer)
    given = _judgements(options, candidates)
    texts = quality.encode(given.queries, space)
    ranked = _ranked(options, given, texts, candidates)
    count_by_direction = {TEXT_TO_IMAGE: candidates.embedded.count(), IMAGE_TO_TEXT: len(texts)}
    measured = {
        name: Measures.of(found, candidates=count_by_direction[name], seed=options.seed)
        for name, found in ranked.items()
    }
    timed = judgements.drawn(len(texts), limit=TIMED, seed=options.seed)
    asked = Asked([given.queries[row] for row in timed], texts[timed], space, options.k)
    return Evaluation(
        encoder=space.title,
        viewer=options.viewer.get_username(),
        mode=options.mode,
        seed=options.seed,
        judgements=given,
        text_to_image=measured[TEXT_TO_IMAGE],
        image_to_text=measured.get(IMAGE_TO_TEXT),
        performance=performance.measure(asked, candidates.visible),
        first_ranks={name: measures.first_ranks(found) for name, found in ranked.items()},
        notices=tuple(_notices(options, given, candidates)),
    )


def histogram(first_ranks: Figures) -> list[tuple[str, float]]:
    """Return the share of queries whose first relevant one has a rank of each range."""
    edges = (1, 2, 6, 11, 51, 101, 1001, np.inf)
    names = ("1", "2-5", "6-10", "11-50", "51-100", "101-1000", "over 1000")
    within = [
        np.count_nonzero((first_ranks >= low) & (first_ranks < high))
        for low, high in itertools.pairwise(edges)
    ]
    shares = [count / len(first_ranks) for count in (*within, np.isinf(first_ranks).sum())]
    return list(zip((*names, "not found"), map(float, shares), strict=True))


def _ranked(
    options: Options, given: Judgements, texts: Vectors, candidates: Candidates
) -> dict[str, Ranked]:
    if options.mode is not Mode.SEMANTIC:
        # There is no keyword search for words by an image.
        return {TEXT_TO_IMAGE: quality.by_search(given, options.viewer, options.mode)}
    return {
        TEXT_TO_IMAGE: quality.text_to_image(texts, given, candidates),
        IMAGE_TO_TEXT: quality.image_to_text(texts, given, candidates.space),
    }


def _check_images(candidates: Candidates, viewer: User) -> None:
    if candidates.embedded.exists():
        return
    if candidates.visible.exists():
        raise NotYet("No image has a vector yet: wait until they are embedded.")
    if Image.objects.exists():
        raise NothingToEvaluate(f"There is no image that {viewer.get_username()} may see.")
    raise NothingToEvaluate(
        "The gallery is empty. Run manage.py load_demo, or import images of your own."
    )


def _judgements(options: Options, candidates: Candidates) -> Judgements:
    drawing = {"limit": options.limit, "seed": options.seed}
    if options.file is None:
        given = judgements.of_captions(candidates, **drawing)
        if not given.grades_by_query:
            raise NothingToEvaluate(
                "No image has a caption to ask for. Write captions, or give a file of judgements."
            )
        return given
    given = judgement_files.read(options.file, candidates, **drawing)
    if not given.grades_by_query:
        reasons = "; ".join(f"line {bad.line}: {bad.reason}" for bad in given.bad_lines[:SHOWN])
        raise NothingToEvaluate(f"{given.source} has no judgement that can be used. {reasons}")
    return given


def _notices(options: Options, given: Judgements, candidates: Candidates) -> list[str]:
    waiting = candidates.visible.count() - candidates.embedded.count()
    found = [spaces.notice_of(candidates.space)]
    if options.mode is not Mode.SEMANTIC and options.file is None:
        found.append(FLATTERED.format(mode=options.mode))
    if waiting:
        found.append(f"{waiting:,} images have no vector and are not among those ranked.")
    if len(given.queries) < 30:
        found.append(FEW.format(n=len(given.queries)))
    if given.too_long:
        found.append(f"{given.too_long:,} captions are longer than a query may be: left out.")
    return [notice for notice in found if notice]
