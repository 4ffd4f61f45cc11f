"""A second space comes back from a backup as it was, and goes on from there."""

from __future__ import annotations

import numpy as np
import pytest
from django.core.management import call_command

from embeddings.models import Space
from gallery import pipeline, spaces
from gallery.models import ImageEmbedding
from gallery.switching import steps
from gallery.switching.progress import lack_of
from tests.encoders import make_encoder
from tests.rows import make_vectors, store

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def test_a_paused_second_space_is_restored_paused_and_can_be_switched_to(images, empty, tmp_path):
    space = steps.fill(str(make_encoder("clip", tmp_path / "other")))
    ids = np.array([images[0].pk, images[1].pk])
    store(ids, make_vectors(2, dimensions=space.dimensions), space)
    pipeline.add_missing()
    steps.pause(space)
    known = list(Space.objects.order_by("pk").values())
    call_command("backup", str(tmp_path / "gallery.tar"))
    empty()
    call_command("restore", str(tmp_path / "gallery.tar"))

    assert list(Space.objects.order_by("pk").values()) == known
    assert ImageEmbedding.objects.filter(space=space).count() == 2
    steps.resume(space)
    while pipeline.embed_waiting():
        pass
    assert not lack_of(space)
    steps.switch(space, seen=spaces.active())
    assert spaces.active() == space
