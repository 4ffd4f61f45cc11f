"""What auto tags have rows of: images with a state and a score, in numpy.

Some auto tags have hundreds of thousands, so Postgres packs them and numpy reads what comes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from embeddings.vectors import Ids, Scores
from gallery.auto_tags.calibration import Answers
from gallery.models import SuggestionState

NEW, OPEN, APPLIED, ACCEPTED, REJECTED = range(5)  # states in arrays; new: there is no row
States = NDArray[np.int16]

_STATES = [
    *(SuggestionState.OPEN, SuggestionState.APPLIED),
    *(SuggestionState.ACCEPTED, SuggestionState.REJECTED),
]
_ROW = np.dtype([("image", ">i8"), ("score", ">f8"), ("state", ">i2")])
_ROWS = """
SELECT auto_tag_id, string_agg(int8send(image_id) || float8send(coalesce(score, 'NaN'))
    || int2send(array_position(%(states)s::text[], state::text)::int2), '' ORDER BY image_id)
FROM gallery_tagsuggestion
WHERE auto_tag_id = ANY(%(auto_tags)s::bigint[])
  AND (%(images)s::bigint[] IS NULL OR image_id = ANY(%(images)s::bigint[]))
GROUP BY auto_tag_id
"""


@dataclass(frozen=True)
class Known:
    """The rows of one auto tag, by ascending id of the image."""

    ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    states: States = field(default_factory=lambda: np.empty(0, np.int16))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # NaN: none

    @property
    def answered(self) -> Ids:
        """The images of which people said yes or no."""
        return self.ids[self.states >= ACCEPTED]

    @property
    def accepted(self) -> int:
        return int(np.count_nonzero(self.states == ACCEPTED))

    @property
    def rejected(self) -> int:
        return int(np.count_nonzero(self.states == REJECTED))

    def of(self, ids: Ids) -> tuple[States, NDArray[np.float64]]:
        """Return state and score of each of some images; NEW and NaN where there is no row."""
        places = np.searchsorted(self.ids, ids)
        states = np.full(len(ids), NEW, np.int16)
        scores = np.full(len(ids), np.nan)
        is_known = places < len(self.ids)
        is_known[is_known] = self.ids[places[is_known]] == ids[is_known]
        states[is_known] = self.states[places[is_known]]
        scores[is_known] = self.scores[places[is_known]]
        return states, scores

    def answers(self, ids: Ids, scores: Scores) -> Answers:
        """Return what people said of those of some images, with the scores given here."""
        states, _ = self.of(ids)
        is_answered = states >= ACCEPTED
        return Answers(scores[is_answered], states[is_answered] == ACCEPTED)


def known_to(auto_tags: Iterable[int], images: Ids | None = None) -> dict[int, Known]:
    """Return the rows of auto tags, or those of some images; who has none is left out."""
    parameters = {
        "states": [state.value for state in _STATES],
        "auto_tags": list(auto_tags),
        "images": None if images is None else images.tolist(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_ROWS, parameters)
        packed = cursor.fetchall()
    return {auto_tag: _unpacked(rows) for auto_tag, rows in packed}


def _unpacked(packed: bytes | memoryview) -> Known:
    rows = np.frombuffer(packed, _ROW)
    return Known(
        rows["image"].astype(np.int64),
        rows["state"].astype(np.int16),
        rows["score"].astype(np.float64),
    )
