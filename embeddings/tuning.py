"""Proving faster precisions of an encoder on a project's own images and texts.

The project gives a sample; docs/plugin.md shows how. What is found is written row by row: whoever
dies in between has lost one row, and who runs it again measures it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

import numpy as np
from django.db import IntegrityError, InterfaceError, OperationalError, connection
from django.db.models import F
from django.utils import timezone

from embeddings import niceness, proofs
from embeddings.encoders import comparing, precisions, processors, registry, variants
from embeddings.encoders.comparing import Both
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.framing import Frames
from embeddings.encoders.precisions import IMAGE, INT8, TEXT, TOWERS, Precisions, TowerName
from embeddings.errors import EncoderUnavailable, EncodingFailed, NotTuned, VectorInvalid
from embeddings.models import EncoderProof, QuerySample, Space
from embeddings.vectors import Scores, Vectors, normalise

log = logging.getLogger(__name__)

LEAST_IMAGES = 32  # to compare on; as many again are calibrated with
LEAST_TEXTS = 16
CALIBRATING = 128  # images at most: with more, the ranges hardly grow
ASKED = 192  # queries of late, at most
AT_ONCE = 16  # images
MOST_ATTEMPTS = 3  # that a process may die of, measuring one precision
BROKEN_OFF = timedelta(minutes=10)  # what was begun so long ago, and is not measured by now
GROWN = 10  # times as many vectors as when it was proved: then it is proved anew
_LOCK = 0x74756E65  # "tune": class of the advisory locks, one a space


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What precisions are compared on: a project's own, drawn at random."""

    frames: Sequence[Frames] = ()  # of images, as the encoder's framing gives them
    texts: Sequence[str] = ()  # such as people search by: captions, tags, queries
    captions: Sequence[tuple[int, int]] = ()  # places in texts and frames that belong together
    # Of the space, (n, dimensions): what texts are searched among. None: the images of the sample.
    vectors: Vectors | None = None
    size: int = 0  # of the space: with many times as many vectors it is proved anew


def due(space: Space, *, vectors: int) -> list[TowerName]:
    """Return the towers of a space, with so many vectors, to be proved on this processor.

    Those without a proof, or proved on a tenth of the vectors. What was begun a moment ago is not,
    nor what has died each time.
    """
    rows = {
        (proof.tower, proof.precision): proof
        for proof in proofs.of_encoder(space.name, space.revision).defer("calibration")
    }
    return [
        tower
        for tower in TOWERS
        if any(_is_due(rows.get((tower, name)), vectors) for name in precisions.faster(tower))
    ]


def _is_due(proof: EncoderProof | None, vectors: int) -> bool:
    if proof is None:
        return True
    if proof.attempts:
        age = timezone.now() - proof.begun_at
        # What begins in the future was written before the clock was set back.
        return proof.attempts < MOST_ATTEMPTS and not timedelta() <= age < BROKEN_OFF
    return vectors >= GROWN * max(proof.vectors, 1)


def tune(
    space: Space, sample: Sample, *, towers: Sequence[TowerName] = TOWERS
) -> Iterator[EncoderProof]:
    """Compare the faster precisions of towers with float32, and yield the row of each.

    It works in a thread that gives way, on as little of the sample as each tower needs. Raise
    NotTuned when the sample is too small, another process is at it, or the space was retired, and
    EncoderUnavailable.
    """
    for tower in towers:
        _check(sample, tower)
    with _alone(space):
        tuning = _Tuning(space, sample)
        for tower in towers:
            for precision in precisions.faster(tower):
                if not Space.in_use().filter(pk=space.pk).exists():
                    raise NotTuned(f"{space} was retired meanwhile.")
                proof = _begin(space, tower, precision)
                _end(proof, niceness.run(partial(tuning.figures, tower, precision)))
                yield proof


def _check(sample: Sample, tower: TowerName) -> None:
    if tower == IMAGE and len(sample.frames) < 2 * LEAST_IMAGES:
        raise NotTuned(
            f"{len(sample.frames)} images are too few to compare precisions on: "
            f"{2 * LEAST_IMAGES} are needed."
        )
    texts = len(set(sample.texts))
    if tower == TEXT and texts < LEAST_TEXTS:
        raise NotTuned(
            f"{texts} texts are too few to compare precisions on, such as captions: "
            f"{LEAST_TEXTS} are needed."
        )
    if tower == TEXT and sample.vectors is None and len(sample.frames) < LEAST_IMAGES:
        raise NotTuned("There is nothing to search by the texts: images or vectors are needed.")


class _Tuning:
    """What the comparisons of one run share."""

    def __init__(self, space: Space, sample: Sample) -> None:
        n = min(CALIBRATING, len(sample.frames) // 2)
        self.sample = sample
        self.calibrating, self.judged = sample.frames[:n], sample.frames[n:]
        self.captions = [(text, image - n) for text, image in sample.captions if image >= n]
        self.float32 = registry.reference(space)
        self.asked = _asked_lately(space)

    def figures(self, tower: TowerName, precision: str) -> dict[str, Any]:
        """Return what a row says of a precision, or why it cannot be had."""
        found: dict[str, Any] = {"failure": "", "vectors": self.sample.size}
        try:
            if tower == TEXT:
                return found | self._of_texts(self._prepared(Precisions(text=precision)))
            calibration = None
            if precision == INT8:
                calibration = self.float32.calibrate(self.calibrating)
                found |= {"calibration": calibration.ranges, "calibration_id": calibration.id}
            wanted = Precisions(image=precision, calibration=calibration)
            return found | self._of_images(self._prepared(wanted))
        except (EncoderUnavailable, EncodingFailed, VectorInvalid) as error:
            return found | {"failure": str(error)}

    def _prepared(self, wanted: Precisions) -> CpuEncoder:
        other = self.float32.with_precisions(wanted)
        other.prepare()
        return other

    def _of_images(self, other: CpuEncoder) -> dict[str, Any]:
        both = comparing.encode_frames(self.float32, other, self.judged, at_once=AT_ONCE)
        images = both.float32, both.other
        overlaps = [comparing.overlap(images, images, itself=True)]
        if len(queries := np.concatenate([self.texts, self.asked])):
            overlaps.append(comparing.overlap((queries, queries), images))
        recalls = [comparing.recall(self.texts, one, self.captions) for one in images]
        sizes = {"images": len(self.judged), "texts": len(queries)}
        return _figures(both, both.cosines, min(overlaps)) | _recalls(*recalls) | sizes

    def _of_texts(self, other: CpuEncoder) -> dict[str, Any]:
        texts = self.sample.texts
        both = comparing.encode_texts(self.float32, other, texts)
        # Together, as captions are embedded, they share what int8 finds out about its inputs.
        together = comparing.cosines(both.float32, other.encode_texts(texts))
        cosines = np.concatenate([both.cosines, together])
        among = self.vectors
        overlap = comparing.overlap((both.float32, both.other), (among, among))
        queries = both.float32, both.other
        recalls = [comparing.recall(one, among, self.sample.captions) for one in queries]
        sizes = {"images": len(among), "texts": len(texts)}
        return _figures(both, cosines, overlap) | _recalls(*recalls) | sizes

    @cached_property
    def texts(self) -> Vectors:
        return self.float32.encode_texts(self.sample.texts)

    @cached_property
    def vectors(self) -> Vectors:
        """What texts are searched among; the images of the sample come first."""
        if self.sample.vectors is not None:
            return self.sample.vectors
        frames = self.sample.frames
        parts = [frames[start : start + AT_ONCE] for start in range(0, len(frames), AT_ONCE)]
        return np.concatenate([self.float32.encode_frames(part) for part in parts])


def _figures(both: Both, cosines: Scores, overlap: float) -> dict[str, Any]:
    return {
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        "overlap": overlap,
        "milliseconds": both.milliseconds,
        "milliseconds_float32": both.milliseconds_float32,
    }


def _recalls(float32: float | None, other: float | None) -> dict[str, Any]:
    return {"recall_float32": float32, "recall": other}


def _asked_lately(space: Space) -> Vectors:
    samples = QuerySample.objects.filter(space=space).order_by("-asked_at")
    vectors = list(samples.values_list("vector", flat=True)[:ASKED])
    if not vectors:
        return np.empty((0, space.dimensions), np.float32)
    return normalise(np.array(vectors, np.float32))


def _begin(space: Space, tower: TowerName, precision: str) -> EncoderProof:
    """Return the row of a precision; one that is there serves on until it is measured anew."""
    try:
        proof, _ = EncoderProof.objects.get_or_create(
            space=space,
            tower=tower,
            precision=precision,
            processor=processors.describe(),
            versions=variants.versions(),
            defaults={"begun_at": timezone.now()},
        )
    except IntegrityError as error:
        raise _removed(space) from error
    # Counted before: measuring may take the whole process with it.
    rows = EncoderProof.objects.filter(pk=proof.pk)
    rows.update(attempts=F("attempts") + 1, begun_at=timezone.now())
    return proof


def _end(proof: EncoderProof, found: dict[str, Any]) -> None:
    said = {**found, "attempts": 0, "made_at": timezone.now()}
    if not EncoderProof.objects.filter(pk=proof.pk).update(**said):
        raise _removed(proof.space)
    for name, value in said.items():
        setattr(proof, name, value)
    log.info("The %s tower in %s: %s.", proof.tower, proof.precision, proofs.verdict(proof))


def _removed(space: Space) -> NotTuned:
    return NotTuned(f"{space} was removed meanwhile.")


@contextmanager
def _alone(space: Space) -> Iterator[None]:
    """Hold the lock of a space's proofs, which dies with the process. Raise NotTuned."""
    key = [_LOCK, space.pk % 2**31]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
        if not cursor.fetchone()[0]:
            raise NotTuned("Another process is comparing precisions right now; try again then.")
    try:
        yield
    finally:
        # A connection that was lost has taken the lock with it.
        with suppress(InterfaceError, OperationalError), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", key)
