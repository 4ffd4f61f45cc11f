from __future__ import annotations

from embeddings import Hits, SemanticSearcher

from .models import Product, ProductEmbedding


def cheap_like(words: str, most: int) -> Hits:
    searcher = SemanticSearcher.from_settings(ProductEmbedding)
    cheap = Product.objects.filter(price__lte=most)  # type: ignore[attr-defined]  # of this project
    return searcher.search(text=words, k=3, within=cheap)
