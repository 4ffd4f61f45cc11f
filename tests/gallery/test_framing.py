from __future__ import annotations

import io

import pytest

from embeddings.encoders import opening, registry, sources
from embeddings.models import Space
from gallery import spaces
from gallery.ingest import NewImage, add_image
from gallery.models import ImageEmbedding
from gallery.pipeline import embed_waiting
from scenes import compose, draw
from tests.rows import make_user


@pytest.mark.django_db(transaction=True)
@pytest.mark.slow
def test_a_panorama_is_looked_at_as_the_name_of_its_space_says(settings):
    Space.objects.all().delete()
    settings.ENCODER = "bundled#crops"
    space = spaces.ensure()
    assert space.name == "bundled#crops"
    assert spaces.notice() == spaces.NOTICE
    panorama = draw(compose(3), size=(900, 300))
    file = io.BytesIO()
    panorama.save(file, "PNG")
    add_image(NewImage(file=file, owner=make_user(), original_name="wide.png"))
    assert embed_waiting() == 1
    stored = ImageEmbedding.objects.get(space=space).vector
    in_crops = registry.load(space).encode_images([panorama])[0]
    squashed = opening.open_source(sources.find("bundled")).encode_images([panorama])[0]
    assert stored @ in_crops > 0.9999
    assert stored @ squashed < 0.99
