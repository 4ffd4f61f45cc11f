"""Images that are really stored, with vectors that are as near as a test wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embeddings.vectors import normalise
from gallery.duplicates import finding, verdicts, waiting
from gallery.duplicates.likeness import like_image
from gallery.models import (
    DuplicateCheck,
    DuplicateKind,
    DuplicateMember,
    DuplicatePair,
    Image,
    Place,
    Reference,
    Verdict,
)
from tests.gallery.duplicates import pictures
from tests.gallery.duplicates.pictures import encoded, scene, stored
from tests.rows import DIMENSIONS, make_images, make_space, make_user, store

pytestmark = pytest.mark.django_db


def vector(seed: int, *, off: float = 0.0):
    """Return a unit vector; its cosine with that of its seed is 1 / sqrt(1 + off * off)."""
    base = normalise(np.random.default_rng(seed).normal(size=(1, DIMENSIONS)))
    other = np.random.default_rng(seed + 1000).normal(size=(1, DIMENSIONS))
    aside = normalise(other - (other @ base.T) * base)
    return normalise(base + off * aside)


@pytest.fixture
def space():
    return make_space()


def put(space, content: bytes, seed: int, *, off: float = 0.0, owner: str = "ann") -> Image:
    image = stored(content, owner)
    store(np.array([image.pk]), vector(seed, off=off), space)
    return image


def groups() -> list[set[int]]:
    found: dict[int, set[int]] = {}
    for group, image in DuplicateMember.objects.values_list("group", "image"):
        found.setdefault(group, set()).add(image)
    return list(found.values())


def test_every_copy_of_a_scene_is_in_one_group_and_other_scenes_in_none(space):
    image = scene(1)
    copies = [
        put(space, encoded(image, quality=95), 1),
        put(space, encoded(image, quality=40), 1, off=0.1),
        put(space, encoded(pictures.half(image)), 1, off=0.1),
        put(space, encoded(pictures.cropped(image)), 1, off=0.2),
        put(space, encoded(pictures.marked(image)), 1, off=0.2),
    ]
    for seed in range(2, 8):
        put(space, encoded(scene(seed)), seed)
    assert waiting.compare_waiting() == 11
    assert groups() == [{copy.pk for copy in copies}]
    assert not DuplicateCheck.objects.exists()


def test_a_mirrored_image_is_no_duplicate_though_its_vector_is_the_same(space):
    put(space, encoded(scene(1)), 1)
    put(space, encoded(pictures.mirrored(scene(1))), 1)
    waiting.compare_waiting()
    assert groups() == []


def test_the_same_hash_is_no_duplicate_without_a_near_vector(space):
    put(space, encoded(scene(1), quality=95), 1)
    put(space, encoded(scene(1), quality=60), 2)
    waiting.compare_waiting()
    assert groups() == []


def test_the_same_pixels_are_duplicates_without_any_vector():
    one, other = stored(encoded(scene(1), "PNG")), stored(encoded(scene(1), "BMP"))
    waiting.compare_waiting()
    assert groups() == [{one.pk, other.pk}]
    assert DuplicatePair.objects.get().kind == DuplicateKind.PIXELS


def test_large_images_are_the_same_only_if_every_pixel_is(space):
    large = scene(1).resize((2100, 2080))
    changed = large.copy()
    red, green, blue = changed.getpixel((7, 7))
    changed.putpixel((7, 7), (red ^ 1, green, blue))
    ids = [
        put(space, encoded(image, kind), 1).pk
        for image, kind in ((large, "PNG"), (large, "TIFF"), (changed, "PNG"))
    ]
    # Decoded smaller, as they are when they come in, all three are equal.
    assert Image.objects.values("pixel_sha256").distinct().count() == 1
    waiting.compare_waiting()
    kinds = {(pair.first_id, pair.second_id): pair.kind for pair in DuplicatePair.objects.all()}
    assert kinds == {
        (ids[0], ids[1]): DuplicateKind.PIXELS,
        (ids[0], ids[2]): DuplicateKind.NEAR,
        (ids[1], ids[2]): DuplicateKind.NEAR,
    }


@pytest.fixture
def decoded(monkeypatch):
    """The ids of the images that were decoded wholly, in turn."""
    ids, whole = [], finding._all_pixels_sha256
    monkeypatch.setattr(finding, "_all_pixels_sha256", lambda id_: ids.append(id_) or whole(id_))
    return ids


def put_large(space) -> list[int]:
    large = scene(1).resize((1100, 1080))
    return [put(space, encoded(large, kind), 1).pk for kind in ("PNG", "TIFF", "BMP")]


def test_each_large_image_is_decoded_once(space, decoded):
    ids = put_large(space)
    waiting.compare_waiting()
    assert sorted(decoded) == ids
    kinds = DuplicatePair.objects.values_list("kind", flat=True)
    assert list(kinds) == [DuplicateKind.PIXELS] * 3


def test_large_images_are_not_decoded_past_the_time_and_not_forgotten(space, decoded):
    ids = put_large(space)
    answers = iter([True, True, True])  # begin, take the batch up, decode one
    assert waiting.compare_waiting(goes_on=lambda: next(answers, False)) == 0
    assert len(decoded) == 1
    assert waiting.is_due()
    assert waiting.compare_waiting() == 3
    assert set(decoded) == set(ids)
    assert {pair.kind for pair in DuplicatePair.objects.all()} == {DuplicateKind.PIXELS}


def let_originals_lie_in(folder: Path) -> None:
    """Move the originals of all images into a folder of others."""
    folder.mkdir()
    place = Place.objects.create(address=str(folder))
    for image in Image.objects.all():
        path = folder / f"{image.pk}.png"
        with image.file.open("rb") as file:
            path.write_bytes(file.read())
        status = path.stat()
        version = f"{status.st_size}:{status.st_mtime_ns}"
        Reference.objects.create(image=image, place=place, key=path.name, version=version)
    Image.objects.update(file="")


def test_large_images_wait_while_their_storage_is_away(space, settings, tmp_path):
    ids = put_large(space)
    folder = tmp_path / "share"
    settings.REFERENCED_FOLDERS = (str(folder),)
    let_originals_lie_in(folder)
    folder.rename(tmp_path / "not mounted")
    for _ in range(waiting.MAX_ATTEMPTS + 1):
        assert waiting.compare_waiting() == 0
        DuplicateCheck.objects.update(lease_until=None)  # the time of the lease is over
    (tmp_path / "not mounted").rename(folder)
    assert set(DuplicateCheck.objects.values_list("image", flat=True)) == set(ids)
    assert waiting.compare_waiting() == 3
    assert {pair.kind for pair in DuplicatePair.objects.all()} == {DuplicateKind.PIXELS}


def test_a_lease_is_made_longer_before_each_large_image_is_decoded(space, monkeypatch):
    put_large(space)
    leases = []

    def decode(image_id: int) -> str:
        leases.append(DuplicateCheck.objects.values_list("lease_until", flat=True)[0])
        return "a"

    monkeypatch.setattr(finding, "_all_pixels_sha256", decode)
    waiting.compare_waiting()
    assert leases[0] < leases[1] < leases[2]


def test_a_lease_that_was_taken_away_is_not_taken_back(space, monkeypatch):
    ids = put_large(space)
    free = []

    def decode(image_id: int) -> str:
        DuplicateCheck.objects.filter(image=ids[0]).update(lease_until=None)
        free.append(image_id)
        return "a"

    monkeypatch.setattr(finding, "_all_pixels_sha256", decode)
    answers = iter([True, True, True, True, True])  # begin, take the batch up, decode all three
    assert waiting.compare_waiting(goes_on=lambda: next(answers, False)) == 2
    assert len(free) == 3
    assert DuplicateCheck.objects.get().image_id == ids[0]


def test_a_waiting_image_is_compared_when_it_has_its_vector(space):
    put(space, encoded(scene(1), quality=95), 1)
    other = stored(encoded(scene(1), quality=60))
    Image.objects.filter(pk=other.pk).update(state="waiting")
    assert waiting.compare_waiting() == 1
    assert groups() == []
    store(np.array([other.pk]), vector(1), space)
    Image.objects.filter(pk=other.pk).update(state="ready")
    assert waiting.compare_waiting() == 1
    assert len(groups()) == 1


def test_nobody_is_grouped_with_another_owners_images(space):
    put(space, encoded(scene(1), quality=95), 1, owner="ann")
    bobs = put(space, encoded(scene(1), quality=60), 1, owner="bob")
    waiting.compare_waiting()
    assert groups() == []
    assert like_image(bobs) == []


def test_a_verdict_survives_deletion_and_coming_in_again(space):
    first = encoded(scene(1), quality=95)
    second = encoded(scene(1), quality=60)
    one, other = put(space, first, 1), put(space, second, 1)
    pair = [(one.sha256, other.sha256)]
    verdicts.remember(make_user().pk, pair, Verdict.DIFFERENT, by=None)
    other.delete()
    put(space, second, 1)
    waiting.compare_waiting()
    finding.compare_all(make_user().pk)
    assert groups() == []


def test_comparing_all_again_forgets_what_another_encoder_does_not_take_for_a_duplicate(space):
    put(space, encoded(scene(1), quality=95), 1)
    other = put(space, encoded(scene(1), quality=60), 1)
    waiting.compare_waiting()
    assert len(groups()) == 1
    store(np.array([other.pk]), vector(9), space)
    finding.compare_all(make_user().pk)
    assert groups() == []
    assert not DuplicatePair.objects.exists()


def test_comparing_all_finds_what_comparing_one_by_one_finds(space):
    for seed in range(6):
        put(space, encoded(scene(seed), quality=95), seed)
        put(space, encoded(scene(seed), quality=50), seed, off=0.1)
    waiting.compare_waiting()
    one_by_one = sorted(map(sorted, groups()))
    DuplicatePair.objects.all().delete()
    finding.compare_all(make_user().pk, advance=lambda n: None)
    assert sorted(map(sorted, groups())) == one_by_one
    assert len(one_by_one) == 6


@pytest.mark.parametrize("until", ["2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"])
def test_a_comparison_that_died_is_taken_up_when_its_time_is_over(space, until):
    put(space, encoded(scene(1), quality=95), 1)
    put(space, encoded(scene(1), quality=60), 1)
    assert len(waiting._claim()) == 1  # and its process dies
    assert waiting.compare_waiting() == 0
    DuplicateCheck.objects.update(lease_until=until)  # the later one: the clock was set back
    assert waiting.compare_waiting() == 2
    assert len(groups()) == 1


def test_what_kills_every_process_is_given_up(space, caplog):
    image = put(space, encoded(scene(1)), 1)
    DuplicateCheck.objects.update(attempts=waiting.MAX_ATTEMPTS)
    assert waiting.compare_waiting() == 0
    assert not DuplicateCheck.objects.exists()
    assert Image.objects.filter(pk=image.pk).exists()
    assert "find_duplicates tries again" in caplog.text


def test_images_that_are_deleted_while_they_are_compared_leave_no_pair(space):
    one = put(space, encoded(scene(1), quality=95), 1)
    two = put(space, encoded(scene(1), quality=60), 1)
    Image.objects.filter(pk=two.pk).delete()
    assert finding.compare(one.owner_id, [one.pk, two.pk]) == 0


def test_a_crowd_of_the_same_image_is_shown_in_groups_that_can_be_looked_over(db):
    ids = make_images(130, pixel_sha256="a" * 64, perceptual_hash=5)
    finding.compare_all(make_user().pk)
    assert {len(group) for group in groups()} == {50}
    assert len(ids) > 50
