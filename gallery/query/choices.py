"""The choices a query has, each a closed list of words."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    SEMANTIC = "semantic"  # by vectors
    KEYWORD = "keyword"  # by Postgres full text
    HYBRID = "hybrid"  # both, fused


class Aggregate(StrEnum):
    """How several terms become one ranking."""

    MEAN = "mean"  # one query vector: the weighted sum
    MAX = "max"  # an image counts as near as its nearest term
    RECIPROCAL_RANK = "rrf"  # a ranking a term, fused by rank


class Encoders(StrEnum):
    """In which spaces vectors are compared."""

    ACTIVE = "active"  # the one that searches use
    BOTH = "both"  # the one beside it too, when it is filled; fused by rank


class Order(StrEnum):
    """Of the relevant hits. A minus turns it round; images without the value come last."""

    RELEVANCE = "relevance"
    TAKEN = "taken"
    NEWEST_TAKEN = "-taken"
    ADDED = "added"
    NEWEST_ADDED = "-added"
    NAME = "name"
    NAME_BACKWARDS = "-name"
    SIZE = "size"  # pixels
    LARGEST = "-size"


class Band(StrEnum):
    """How far a hit stands out of what the query scores on just any image."""

    LIKELY = "likely"
    MAYBE = "maybe"
    UNLIKELY = "unlikely"


class Leg(StrEnum):
    """One ranking among those that are fused."""

    IMAGE = "image"  # vectors of images
    CAPTION = "caption"  # vectors of captions
    KEYWORD = "keyword"  # Postgres full text
