"""Vector search for any Django model: vectors in Postgres, an index that follows every change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embeddings.searcher import Hit, Hits, SemanticSearcher

__all__ = ["Hit", "Hits", "SemanticSearcher"]


def __getattr__(name: str) -> Any:
    # Only when it is asked for: Django imports this package before any model may be.
    if name in __all__:
        from embeddings import searcher

        return getattr(searcher, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
