"""How filling begins: a web request names an encoder, and a worker opens it."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pytest
from django.db import connection, transaction
from huggingface_hub import constants
from PIL import Image as PillowImage

from embeddings.encoders import registry
from embeddings.encoders.sources import BUNDLED, BUNDLED_FOLDER, find
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from gallery import pipeline, spaces, tasks, verification
from gallery.errors import SpaceRefused
from gallery.models import CaptionEmbeddingJob, ImageEmbedding, ImageEmbeddingJob
from gallery.switching import comparing, filling, records, steps
from gallery.switching.progress import lack_of, progress
from gallery.switching.tasks import prepare_spaces
from tests.gallery.switching.conftest import fill_all
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def on_hub(tmp_path, monkeypatch):
    """A model that was fetched from the hub before; its files are those of the bundled encoder."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model, revision = tmp_path / "models--nobody--bundled", find(BUNDLED).revision
    shutil.copytree(BUNDLED_FOLDER, model / "snapshots" / revision)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(revision)
    return "nobody/bundled"


def state_of(space):
    space.refresh_from_db()
    return records.state_of(space, progress(space))


def filled(space):
    """Do what workers do."""
    prepare_spaces()
    while tasks.embed_waiting():
        pass
    space.refresh_from_db()
    return space.is_prepared and not lack_of(space)


def test_a_worker_opens_the_encoder_that_a_request_has_named_and_fills_its_space(images, folder):
    space = steps.fill_later(str(folder))
    assert (space.is_prepared, state_of(space)) == (False, "opening")
    assert records.notice_of(space, progress(space)) == records.NO_UPKEEP
    assert filled(space)
    assert space.dimensions == 24
    assert state_of(space) == "filled"


def test_until_it_is_opened_nothing_is_done_in_a_space_but_giving_it_up(images, old, folder, add):
    space = steps.fill_later(str(folder))
    add(9, caption="Another one")
    pipeline.add_missing()
    assert pipeline.embed_waiting() == 2  # in the active one
    # Else whoever stores a caption could refer to a space that is just being given up.
    assert not ImageEmbeddingJob.objects.exists()
    assert not CaptionEmbeddingJob.objects.exists()
    assert not list(verification.of_states())
    with pytest.raises(SpaceRefused, match="was not opened yet"):
        steps.switch(space, seen=old, partly=True)
    with pytest.raises(SpaceRefused, match="was not opened yet"):
        comparing.compare([], make_user(), other=space, k=3)
    steps.retire(space)
    assert not Space.objects.filter(pk=space.pk).exists()


def test_a_space_that_is_opened_while_it_is_given_up_is_retired_with_all_that_is_its(
    images, folder
):
    space = steps.fill_later(str(folder))
    giving_up = threading.Thread(target=give_up, args=(space,))
    with transaction.atomic():
        filling.prepare(space)
        giving_up.start()
        wait_until(is_waited_for)
    giving_up.join()
    space.refresh_from_db()
    assert (space.state, space.dimensions) == (Space.State.RETIRED, 24)
    assert space.retired_at


def give_up(space):
    steps.retire(space)
    connection.close()


def is_waited_for():
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("/not/there", "There is no encoder folder"),
        ("my encoder", "neither a folder nor the id of a model"),
        ("{empty}", "it has no config.json"),
        ("{pickle}", "its weights are a pickle .*only safetensors are read"),
    ],
)
def test_a_slip_of_the_pen_is_told_at_once(old, tmp_path, name, sentence):
    for kind in ("empty", "pickle"):
        (tmp_path / kind).mkdir()
    (tmp_path / "pickle" / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "pickle" / "pytorch_model.bin").touch()
    written = name.format(empty=tmp_path / "empty", pickle=tmp_path / "pickle")
    with pytest.raises(EncoderUnavailable, match=sentence):
        steps.fill_later(written)
    assert Space.objects.count() == 1


def test_an_encoder_that_cannot_be_opened_says_why_and_is_tried_again_when_somebody_says_so(
    images, old, tmp_path
):
    folder = shutil.copytree(BUNDLED_FOLDER, tmp_path / "bundled")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text("{}")
    space = steps.fill_later(str(folder))
    assert not filled(space)
    assert (space.is_paused, state_of(space)) == (True, "not opened")
    assert "holds no encoder that can be used" in records.notice_of(space, progress(space))
    (folder / "config.json").write_text(config)
    assert filling.prepare_new() == 0  # nobody has said so
    steps.resume(space)
    assert state_of(space) == "opening"
    assert filled(space)
    assert spaces.active() == old


def test_on_the_command_line_what_cannot_be_opened_leaves_nothing_behind(old):
    with pytest.raises(EncoderUnavailable, match="nor can it be had from the model hub"):
        steps.fill("nobody/nothing")
    assert Space.objects.count() == 1


def test_of_an_id_on_the_hub_the_worker_finds_the_revision_and_what_is_left_serves_again(
    images, on_hub
):
    space = steps.fill_later(on_hub)
    assert (space.revision, str(space)) == ("", on_hub)
    assert steps.fill_later(on_hub) == space
    assert filled(space)
    assert space.revision == find(BUNDLED).revision
    steps.retire(space)
    again = steps.fill_later(on_hub)
    assert again != space
    assert filling.prepare_new() == 1
    assert spaces.beside() == space  # with all its vectors
    assert not Space.objects.filter(pk=again.pk).exists()
    assert not lack_of(space)


def test_the_files_of_the_active_space_are_not_filled_again(images, on_hub):
    space = steps.fill(on_hub)
    fill_all()
    former = spaces.active()
    steps.switch(space, seen=former)
    steps.retire(Space.objects.get(pk=former.pk))
    assert steps.fill(on_hub) == space  # by the command line
    other = steps.fill_later(on_hub)
    assert filling.prepare_new() == 0
    assert "which has a space already" in Space.objects.get(pk=other.pk).trouble


def test_what_was_paused_before_it_was_opened_stays_paused(images, folder):
    space = steps.fill_later(str(folder))
    steps.pause(space)
    assert filling.prepare_new() == 0
    assert steps.fill(str(folder)) == space
    space.refresh_from_db()
    assert space.is_prepared
    assert state_of(space) == "paused"


def test_each_encoder_is_shown_an_image_in_its_own_frame(images, new, old, add):
    image = add(9)
    assert pipeline.embed_waiting() == 2
    framings = [registry.load(space).framing for space in (old, new)]
    assert framings[0] != framings[1]
    with image.file.open() as file:
        pixels = PillowImage.open(file).convert("RGB")
    for space in (old, new):
        (expected,) = registry.load(space).encode_images([pixels])
        stored = ImageEmbedding.objects.get(image=image, space=space).vector
        assert np.dot(np.asarray(stored, np.float32), expected) > 0.999
