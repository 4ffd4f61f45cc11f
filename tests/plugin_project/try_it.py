"""Fills the shop, and asks it: what `tests/test_plugin_project.py` looks at."""

from __future__ import annotations

import json
import os
import sys

import django
import numpy as np

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

# Imported when Django is set up (E402), from a folder that only this program knows (type).
from shop.models import Product, ProductEmbedding  # type: ignore[import-not-found]  # noqa: E402
from shop.search import cheap_like  # type: ignore[import-not-found]  # noqa: E402

from embeddings import SemanticSearcher, snapshots  # noqa: E402
from embeddings.models import Space  # noqa: E402
from embeddings.nearest import nearest  # noqa: E402
from embeddings.vectors import normalise  # noqa: E402

searcher = SemanticSearcher.from_settings()
names = [f"a {colour} {shape}" for colour in ("red", "green", "blue") for shape in ("ball", "box")]
for price, name in enumerate(names, start=1):
    searcher.add(Product.objects.create(name=name, price=price), text=name)

numbers = Space.objects.create(name="numbers", revision="1", dimensions=8)
vectors = normalise(np.random.default_rng(0).normal(size=(500, 8)))
products = Product.objects.bulk_create(Product(name=str(i), price=i % 100) for i in range(500))
ProductEmbedding.objects.bulk_create(
    ProductEmbedding(product=product, space=numbers, vector=vector.tolist())
    for product, vector in zip(products, vectors, strict=True)
)
snapshot = snapshots.build(ProductEmbedding, numbers)
within = Product.objects.filter(price__lt=80)
found = nearest(ProductEmbedding, numbers, vectors[5], k=10, within=within)
first = nearest(ProductEmbedding, numbers, vectors[5], k=1)

print(  # noqa: T201  (for the test that runs this)
    json.dumps(
        {
            "cheap": [str(hit.subject) for hit in cheap_like("a green box", most=4)],
            "route": str(found.plan.route),
            "prices": [int(p.price) for p in Product.objects.filter(pk__in=found.ids.tolist())],
            "best": str(Product.objects.get(pk=first.ids[0])),
            "kind": snapshot.kind if snapshot else None,
            "foreign": [
                name for name in ("gallery", "searchsite", "celery_app") if name in sys.modules
            ],
        }
    )
)
