"""What can go wrong in the plugin; everything it raises on purpose is an EmbeddingsError."""

from __future__ import annotations


class EmbeddingsError(Exception):
    """Base of the plugin's errors. Its text is a sentence a person can act on."""


class EncoderUnavailable(EmbeddingsError):
    """The encoder cannot be loaded: not there, incomplete, of another kind or revision."""


class NotTuned(EmbeddingsError):
    """Precisions cannot be compared now: too little to compare on, or another process is at it."""


class EncodingFailed(EmbeddingsError):
    """The encoder broke off at what it was given: the text, the image, or one of a batch."""


class VectorInvalid(EmbeddingsError):
    """A vector has the wrong width, is zero, or holds NaN."""


class FeedLost(EmbeddingsError):
    """The change feed no longer reaches back to this position; the index must be rebuilt."""


class TransactionOpen(EmbeddingsError):
    """An index was to take in what may yet be rolled back."""


class SnapshotBroken(EmbeddingsError):
    """A snapshot's files are missing, cut short or changed since they were written."""


class TrainingFailed(EmbeddingsError):
    """An encoder cannot be trained so: from these images, from this base, or with these options."""
