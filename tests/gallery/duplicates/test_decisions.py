from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection, transaction

from gallery import originals
from gallery.duplicates import decisions, finding, forgetting, grouping, waiting
from gallery.duplicates.decisions import Choice
from gallery.errors import DuplicatesChanged, StorageUnavailable
from gallery.ingest import NewImage, add_image
from gallery.models import (
    DuplicateCheck,
    DuplicateGroup,
    DuplicatePair,
    DuplicateVerdict,
    Image,
    TagSuggestion,
    Verdict,
)
from gallery.query import Mode, Query, TextTerm
from gallery.search import search
from gallery.storage.originals import Original
from tests.gallery.auto_tags.crowds import auto_tag
from tests.gallery.duplicates.pictures import encoded, scene, stored
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db

KINDS = ("PNG", "BMP", "TIFF")


@pytest.fixture
def three():
    """Three files of the same pixels, in one group."""
    images = [
        stored(
            encoded(scene(1), kind),
            caption=f"A {kind} boat",
            tags=(kind.lower(), "boat"),
            album="Harbour" if kind == "BMP" else "",
            metadata={kind: 1, "roll": kind},
        )
        for kind in KINDS
    ]
    waiting.compare_waiting()
    return [Image.objects.get(pk=image.pk) for image in images]


def choice(images, *, others=None, seen=None) -> Choice:
    return Choice(
        group_id=DuplicateGroup.objects.get().pk,
        seen=frozenset(image.uuid for image in (seen or images)),
        main=images[0].uuid,
        others=frozenset(image.uuid for image in (images[1:] if others is None else others)),
    )


def again():
    """Compare all three anew, as after an import or another encoder."""
    finding.compare_all(make_user().pk, advance=lambda n: None)
    return DuplicateGroup.objects.count()


def test_what_is_kept_stays_and_is_not_asked_about_again(three):
    assert decisions.keep(choice(three), make_user()) == 2
    assert Image.objects.count() == 3
    assert again() == 0
    assert set(DuplicateVerdict.objects.values_list("verdict", flat=True)) == {Verdict.KEPT}
    assert DuplicateVerdict.objects.count() == 3


def test_one_told_apart_leaves_the_others_a_group(three):
    decisions.tell_apart(choice(three, others=[three[2]]), make_user())
    members = DuplicateGroup.objects.get().members.values_list("image", flat=True)
    assert set(members) == {three[0].pk, three[1].pk}
    assert again() == 1
    assert DuplicatePair.objects.count() == 1


def test_all_told_apart_are_never_asked_about_again(three):
    decisions.tell_apart(choice(three), make_user())
    assert again() == 0


def test_of_linked_images_searches_show_the_main_one(three):
    query = Query(terms=(TextTerm("boat"),), mode=Mode.KEYWORD)
    assert len(search(query, make_user()).hits) == 3
    decisions.link(choice(three), make_user())
    assert set(three[0].versions.all()) == {three[1], three[2]}
    for viewer in (make_user(), make_user("root", is_superuser=True)):
        assert [hit.image for hit in search(query, viewer).hits] == [three[0]]
    assert set(Image.objects.visible_to(make_user())) == set(three)
    assert again() == 0


def test_a_version_of_a_version_becomes_one_of_the_main_image(three):
    decisions.link(choice(three, others=[three[2]]), make_user())
    Image.objects.filter(pk=three[2].pk).update(version_of=three[1])
    remaining = [three[0], three[1]]
    decisions.link(choice(remaining), make_user())
    assert set(three[0].versions.all()) == {three[1], three[2]}


def test_an_unlinked_version_is_an_image_of_its_own_and_not_asked_about(three):
    decisions.link(choice(three), make_user())
    decisions.unlink(Image.objects.get(pk=three[1].pk), by=make_user().pk)
    assert DuplicateVerdict.objects.get(verdict=Verdict.KEPT).decided_by == make_user()
    assert set(Image.objects.shown_to(make_user())) == {three[0], three[1]}
    decisions.unlink(Image.objects.get(pk=three[2].pk), by=None)
    assert Image.objects.filter(version_of__isnull=False).count() == 0


def test_versions_come_back_when_their_main_image_is_deleted(three):
    decisions.link(choice(three), make_user())
    three[0].delete()
    assert set(Image.objects.shown_to(make_user())) == {three[1], three[2]}


def test_replacing_keeps_what_was_said_of_every_image(three, django_capture_on_commit_callbacks):
    paths = [Path(image.file.path) for image in three]
    with django_capture_on_commit_callbacks(execute=True):
        decisions.replace(choice(three), make_user())
    (kept,) = Image.objects.all()
    assert kept.pk == three[0].pk
    assert kept.caption == "A PNG boat"
    assert {tag.name for tag in kept.tags.all()} == {"png", "bmp", "tiff", "boat"}
    assert kept.album.name == "Harbour"
    assert kept.metadata == {"PNG": 1, "BMP": 1, "TIFF": 1, "roll": "PNG"}
    assert set(kept.captions.further().values_list("source", "text")) == {
        ("duplicate", "A BMP boat"),
        ("duplicate", "A TIFF boat"),
    }
    assert paths[0].read_bytes()[:4] == b"\x89PNG"
    assert not any(path.exists() for path in paths[1:])


def test_of_auto_tags_a_no_is_kept_when_replacing_and_what_nobody_confirmed_is_not(three):
    night, harbour = auto_tag(name="night"), auto_tag(name="harbour")
    no = TagSuggestion(auto_tag=night, image=three[2], state="rejected", answered_by=make_user())
    unconfirmed = TagSuggestion(auto_tag=harbour, image=three[1], state="applied", is_linked=True)
    TagSuggestion.objects.bulk_create([no, unconfirmed])
    three[1].tags.add(harbour.tag)
    decisions.replace(choice(three), make_user())
    kept = TagSuggestion.objects.get()
    assert (kept.auto_tag, kept.image, kept.state) == (night, three[0], "rejected")
    assert kept.answered_by == make_user()
    assert not three[0].tags.filter(name="harbour").exists()


def test_a_replaced_file_that_comes_again_gives_back_what_took_its_place(three):
    contents = [Path(image.file.path).read_bytes() for image in three]
    decisions.replace(choice(three), make_user())
    for content in contents:
        added = add_image(NewImage(file=io.BytesIO(content), owner=make_user()))
        assert added == (three[0], False)
    # When that is gone too, the file is new again.
    three[0].delete()
    assert add_image(NewImage(file=io.BytesIO(contents[1]), owner=make_user())).is_new


def test_a_replacement_that_is_replaced_itself_passes_its_files_on(three):
    contents = [Path(image.file.path).read_bytes() for image in three]
    decisions.replace(choice(three, others=[three[2]]), make_user())
    decisions.replace(choice([three[1], three[0]]), make_user())
    for content in contents:
        added = add_image(NewImage(file=io.BytesIO(content), owner=make_user()))
        assert added == (three[1], False)


@pytest.mark.parametrize("decision", ["keep", "link", "replace", "tell_apart"])
def test_a_group_that_was_decided_about_cannot_be_decided_again(three, decision):
    late = choice(three)
    decisions.keep(choice(three), make_user())
    with pytest.raises(DuplicatesChanged, match="Nothing was done"):
        getattr(decisions, decision)(late, make_user())
    assert Image.objects.filter(version_of=None).count() == 3


def test_a_group_that_is_not_as_it_was_seen_is_left_alone(three):
    for wrong in (
        choice(three, seen=three[:2]),
        choice(three, others=[]),
        Choice(
            group_id=DuplicateGroup.objects.get().pk,
            seen=frozenset(image.uuid for image in three),
            main=UUID(int=1),
            others=frozenset([three[1].uuid]),
        ),
    ):
        with pytest.raises(DuplicatesChanged):
            decisions.replace(wrong, make_user())
    assert Image.objects.count() == 3


def test_an_image_without_its_file_replaces_nothing(three):
    three[0].file.storage.delete(three[0].file.name)
    with pytest.raises(DuplicatesChanged, match="not in the storage"):
        decisions.replace(choice(three), make_user())
    assert Image.objects.count() == 3
    assert not DuplicateVerdict.objects.exists()


@pytest.fixture
def away(three, tmp_path):
    """The three, the first of them in a folder of others that is not mounted."""
    Image.objects.filter(pk=three[0].pk).update(file="")
    originals.refer(three[0], Original(address=str(tmp_path / "away"), key="a.png", version="1:1"))
    return three


def test_nothing_is_replaced_while_nobody_can_tell_whether_the_main_file_is_there(away):
    with pytest.raises(StorageUnavailable, match="Nothing was done; try again later"):
        decisions.replace(choice(away), make_user())
    assert Image.objects.count() == 3
    assert not DuplicateVerdict.objects.exists()


def test_the_storage_is_asked_while_nothing_is_locked(transactional_db, monkeypatch):
    images = [stored(encoded(scene(4), kind)) for kind in KINDS]
    waiting.compare_waiting()
    storage = Image._meta.get_field("file").storage
    there, asked = storage.exists, []

    def exists(name):
        asked.append(connection.in_atomic_block)
        return there(name)

    with monkeypatch.context() as watched:
        watched.setattr(storage, "exists", exists)
        decisions.replace(choice(images), make_user())
    assert asked == [False]


@pytest.mark.parametrize("state", ["waiting", "failed"])
@pytest.mark.parametrize("decision", [decisions.link, decisions.replace])
def test_an_image_that_is_not_ready_stands_for_no_others(three, decision, state):
    Image.objects.filter(pk=three[0].pk).update(state=state)
    with pytest.raises(DuplicatesChanged, match="not ready to be found"):
        decision(choice(three), make_user())
    assert Image.objects.filter(version_of=None).count() == 3


def test_replacing_by_a_public_image_does_not_publish_what_is_said_of_a_private_one(three):
    Image.objects.filter(pk=three[0].pk).update(visibility="public")
    with pytest.raises(DuplicatesChanged, match="published"):
        decisions.replace(choice(three), make_user())
    assert Image.objects.count() == 3
    Image.objects.update(visibility="public")
    assert decisions.replace(choice(three), make_user()) == 2


def test_a_public_image_is_not_hidden_behind_a_private_one(three):
    Image.objects.filter(pk=three[1].pk).update(visibility="public")
    with pytest.raises(DuplicatesChanged, match="found by nobody else"):
        decisions.link(choice(three), make_user())
    assert Image.objects.filter(version_of=None).count() == 3
    assert decisions.link(choice([three[1], three[0], three[2]]), make_user()) == 2


def test_a_linked_image_that_was_deleted_and_comes_again_is_asked_about_again(three):
    content = Path(three[1].file.path).read_bytes()
    decisions.link(choice(three), make_user())
    Image.objects.filter(pk=three[1].pk).delete()
    back = stored(content)
    waiting.compare_waiting()
    group = DuplicateGroup.objects.get()
    assert set(group.members.values_list("image", flat=True)) == {three[0].pk, back.pk}
    decisions.link(choice([three[0], back]), make_user())
    assert set(three[0].versions.all()) == {back, three[2]}
    assert again() == 0


def test_nobody_decides_about_another_owners_images_but_a_superuser(three):
    with pytest.raises(DuplicatesChanged):
        decisions.replace(choice(three), make_user("bob"))
    assert Image.objects.count() == 3
    decisions.keep(choice(three), make_user("root", is_superuser=True))
    assert DuplicateVerdict.objects.filter(owner=make_user()).count() == 3


def test_a_forgotten_verdict_lets_the_two_be_compared_again(three):
    decisions.keep(choice(three), make_user())
    verdict = DuplicateVerdict.objects.first()
    assert not forgetting.forget(make_user("bob"), verdict.pk)
    assert forgetting.forget(make_user(), verdict.pk)
    assert waiting.compare_waiting() == 2
    assert DuplicateGroup.objects.get().members.count() == 2


def test_a_verdict_that_is_forgotten_while_its_images_are_compared_lets_them_be_compared_again(
    three, monkeypatch
):
    decisions.keep(choice(three), make_user())
    verdict = DuplicateVerdict.objects.get(
        first_sha256=min(three[0].sha256, three[1].sha256),
        second_sha256=max(three[0].sha256, three[1].sha256),
    )
    for image in three:  # as when they come in once more
        DuplicateCheck.objects.create(image=image)
    compare = finding.compare
    compared = []

    def compare_and_forget(*given, **options):
        found = compare(*given, **options)
        if not compared:
            assert forgetting.forget(make_user(), verdict.pk)
        compared.append(given[1])
        return found

    monkeypatch.setattr(finding, "compare", compare_and_forget)
    assert waiting.compare_waiting() == 3
    assert list(map(sorted, compared)) == [[one.pk for one in three], [one.pk for one in three[:2]]]
    members = DuplicateGroup.objects.get().members.values_list("image", flat=True)
    assert set(members) == {three[0].pk, three[1].pk}
    assert not DuplicateCheck.objects.exists()


def test_a_version_that_was_passed_on_is_its_own_again_when_its_link_is_forgotten(three):
    decisions.link(choice(three, others=[three[2]]), make_user())
    decisions.link(choice([three[1], three[0]]), make_user())
    assert set(three[1].versions.all()) == {three[0], three[2]}
    verdict = DuplicateVerdict.objects.get(
        first_sha256=min(three[1].sha256, three[2].sha256),
        second_sha256=max(three[1].sha256, three[2].sha256),
    )
    assert (verdict.verdict, verdict.kept_sha256) == (Verdict.LINKED, three[1].sha256)
    assert DuplicateVerdict.objects.count() == 2
    assert forgetting.forget(make_user(), verdict.pk)
    assert set(three[1].versions.all()) == {three[0]}


def waiting_for_a_lock() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
            "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def test_who_forgets_waits_for_who_decides(transactional_db):
    images = [stored(encoded(scene(3), kind)) for kind in KINDS]
    waiting.compare_waiting()
    decisions.keep(choice(images), make_user())
    owner, verdict = make_user(), DuplicateVerdict.objects.latest("pk")

    def forget() -> bool:
        try:
            return forgetting.forget(owner, verdict.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            grouping.lock(owner.pk)  # as who decides holds it, until all of it is written
            forgotten = pool.submit(forget)
            wait_until(lambda: waiting_for_a_lock() == 1)
            assert DuplicateVerdict.objects.filter(pk=verdict.pk).exists()
        assert forgotten.result(timeout=60)
    assert not DuplicateVerdict.objects.filter(pk=verdict.pk).exists()


def test_of_two_who_press_at_once_one_wins_and_the_other_is_told(transactional_db):
    images = [stored(encoded(scene(2), kind)) for kind in KINDS]
    waiting.compare_waiting()
    meant, owner = choice(images), make_user()
    outcomes = []
    start = threading.Barrier(2)

    def press(decision) -> None:
        start.wait()
        try:
            decision(meant, owner)
            outcomes.append("done")
        except DuplicatesChanged:
            outcomes.append("told")
        finally:
            connection.close()

    threads = [
        threading.Thread(target=press, args=(one,)) for one in (decisions.replace, decisions.keep)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "told"]
    verdict = DuplicateVerdict.objects.values_list("verdict", flat=True).distinct().get()
    assert Image.objects.count() == (1 if verdict == Verdict.REPLACED else 3)
