"""Which precision serves: the fastest that is proved to agree with float32, here and now."""

from __future__ import annotations

from django.conf import settings
from django.db.models import F, QuerySet

from embeddings.encoders import precisions, processors, variants
from embeddings.encoders.precisions import (
    AUTO,
    FLOAT32,
    IMAGE,
    INT8,
    TEXT,
    TOWERS,
    Calibration,
    Precisions,
)
from embeddings.models import EncoderProof

PASSED = "passed"
GAIN = 0.9  # of float32's time at most: what saves less is not worth its rounding


def choose(name: str, revision: str, known: Precisions | None = None) -> Precisions:
    """Return the precisions in which the encoder of a space serves in this process.

    ENCODER_PRECISION=auto: of each tower the fastest that is proved, else float32. A named one is
    taken as said; whether it is proved is another matter, see `unproven()`. `known` are those of
    now: if they hold the right calibration, it is not read again.
    """
    here = of_encoder(name, revision)
    calibrated = here.filter(tower=IMAGE, precision=INT8).exclude(calibration_id="")
    if settings.ENCODER_PRECISION != AUTO:
        return precisions.named(settings.ENCODER_PRECISION, _calibration(calibrated, known))
    best: dict[str, str] = dict.fromkeys(TOWERS, FLOAT32)
    # Of float32's time beside it, for what else the machine did when it was measured hit both.
    taken = F("milliseconds") / F("milliseconds_float32")
    for tower, precision in passed(here).order_by(taken.desc()).values_list("tower", "precision"):
        best[tower] = precision  # the fastest comes last
    calibration = _calibration(calibrated, known) if best[IMAGE] == INT8 else None
    return Precisions(text=best[TEXT], image=best[IMAGE], calibration=calibration)


def of_encoder(name: str, revision: str) -> QuerySet[EncoderProof]:
    """Return the proofs of an encoder that hold for this processor and these versions."""
    return EncoderProof.objects.filter(
        space__name=name,
        space__revision=revision,
        processor=processors.describe(),
        versions=variants.versions(),
    )


def holds_here(proof: EncoderProof) -> bool:
    """Whether it was made on such a processor, by these versions."""
    here = processors.describe(), variants.versions()
    return (proof.processor, proof.versions) == here


def passed(proofs: QuerySet[EncoderProof]) -> QuerySet[EncoderProof]:
    """Keep those that agree with float32 as the settings demand, and are quicker."""
    return proofs.filter(
        failure="",
        cosine_mean__gte=settings.ENCODER_LEAST_COSINE,
        overlap__gte=settings.ENCODER_LEAST_OVERLAP,
        milliseconds_float32__gt=0,
        milliseconds__lte=GAIN * F("milliseconds_float32"),
    )


def verdict(proof: EncoderProof) -> str:
    """Return what is thought of a proof, in a few words for people."""
    if proof.failure:
        return proof.failure
    if proof.made_at is None:
        return "not measured yet"
    cosine, overlap = settings.ENCODER_LEAST_COSINE, settings.ENCODER_LEAST_OVERLAP
    if proof.cosine_mean is None or proof.cosine_mean < cosine:
        return f"its cosine is below {cosine:g}"
    if proof.overlap is None or proof.overlap < overlap:
        return f"it finds less than {overlap:.1%} of what float32 finds"
    if (proof.milliseconds or 0.0) > GAIN * (proof.milliseconds_float32 or 0.0):
        return "it agrees, and is hardly quicker"
    return PASSED


def unproven(name: str, revision: str) -> list[str]:
    """Return a sentence for each tower whose named precision is not proved to agree."""
    if settings.ENCODER_PRECISION in (AUTO, FLOAT32):
        return []
    chosen = choose(name, revision)
    proved = set(passed(of_encoder(name, revision)).values_list("tower", "precision"))
    return [
        f"ENCODER_PRECISION={settings.ENCODER_PRECISION}: {chosen.of(tower)[0]} of the {tower} "
        "tower is not proved to agree with float32 here; manage.py tune_encoder measures it."
        for tower in TOWERS
        if chosen.of(tower)[0] != FLOAT32 and (tower, chosen.of(tower)[0]) not in proved
    ]


def _calibration(proofs: QuerySet[EncoderProof], known: Precisions | None) -> Calibration | None:
    """Return what int8 of images was measured with."""
    id_ = proofs.values_list("calibration_id", flat=True).first()
    if known is not None and known.calibration is not None and known.calibration.id == id_:
        return known.calibration
    # Both at once: between two looks it may have been measured anew.
    found = proofs.values_list("calibration_id", "calibration").first()
    return None if found is None else Calibration(found[0], found[1] or {})
