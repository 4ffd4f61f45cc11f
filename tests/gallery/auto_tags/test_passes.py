from __future__ import annotations

import signal
import threading

import numpy as np
import pytest
from django.core.management import call_command
from django.db import connection, transaction

from embeddings.models import Space
from gallery import spaces
from gallery.auto_tags import (
    answers,
    changes,
    comparing,
    encoding,
    passes,
    review,
    wording,
    writing,
)
from gallery.auto_tags.answers import Answer
from gallery.auto_tags.changes import Setting
from gallery.auto_tags.preview import preview
from gallery.models import (
    AutoTag,
    AutoTagCalibration,
    AutoTagReader,
    Image,
    SuggestionState,
    Tag,
    TagMode,
    TagSuggestion,
)
from gallery.removal import delete_images
from gallery.switching import filling
from tests.encoders import make_encoder
from tests.gallery.auto_tags.crowds import (
    PROMPT,
    auto_tag,
    begin_anew,
    compare,
    crowd,
    images_at,
    state_by_id,
    tagged,
    uuids,
    vectors_at,
)
from tests.gallery.backups.machines import run
from tests.rows import make_images, make_user, make_vectors, store
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

BOATS = (0.6, 0.59, 0.58, 0.57)
OPEN, APPLIED = SuggestionState.OPEN, SuggestionState.APPLIED
ACCEPTED, REJECTED = SuggestionState.ACCEPTED, SuggestionState.REJECTED


@pytest.fixture(autouse=True)
def space():
    begin_anew()
    return spaces.ensure()


def setting(**said):
    return Setting(**{"wording": wording.read([PROMPT], ["{}"])} | said)


def test_what_fits_is_suggested_and_is_no_tag(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag()
    assert compare() == len(boats)
    assert state_by_id(tag) == dict.fromkeys(boats.tolist(), OPEN)
    assert tagged(tag) == set()


def test_in_the_other_mode_what_is_likely_is_applied_and_the_rest_suggested(space):
    crowd(space)
    boats = images_at(space, [*BOATS, 0.46])
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    states = state_by_id(tag)
    assert [states.get(id_) for id_ in boats.tolist()] == [APPLIED] * 4 + [OPEN]
    assert tagged(tag) == set(boats[:4].tolist())


def test_nothing_changes_when_it_is_done_again(space):
    crowd(space)
    images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    before = list(TagSuggestion.objects.order_by("pk").values())
    AutoTagCalibration.objects.update(version=None)
    AutoTagReader.objects.all().delete()
    assert compare() == 0
    assert list(TagSuggestion.objects.order_by("pk").values()) == before
    assert len(tagged(tag)) == len(BOATS)


def test_a_new_image_is_compared_when_it_gets_its_vector(space):
    crowd(space)
    images_at(space, BOATS)
    tag = auto_tag()
    compare()
    (boat,) = images_at(space, [0.58], seed=7).tolist()
    images_at(space, [0.0] * 5, seed=8)
    assert passes.due_in(space) == []
    assert compare() == 1
    assert state_by_id(tag)[boat] == OPEN
    assert compare() == 0


def test_an_image_of_which_the_vector_changed_is_compared_anew(space):
    others = crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag()
    compare()
    store(boats[:1], make_vectors(1, dimensions=space.dimensions, seed=99), space)
    compare()
    assert boats[0] not in state_by_id(tag)
    assert others[0] not in state_by_id(tag)


def test_a_process_that_dies_before_it_remembers_where_it_was_loses_nothing(space, monkeypatch):
    crowd(space)
    images_at(space, BOATS)
    tag = auto_tag()
    compare()
    (boat,) = images_at(space, [0.58], seed=7).tolist()

    def die(*_given):
        raise KeyboardInterrupt

    for module, name in ((writing, "_write"), (passes, "_remember")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, die)
            with pytest.raises(KeyboardInterrupt):
                compare()
    TagSuggestion.objects.filter(image=boat).delete()
    assert compare() == 1
    assert state_by_id(tag)[boat] == OPEN


KILLED_AMONG_THE_ROWS = """
import os
from gallery.auto_tags import writing
writing.AT_ONCE = 2
real = writing._write
def write(*given):
    real(*given)
    os.kill(os.getpid(), 9)
writing._write = write
"""


@pytest.mark.slow
def test_what_a_killed_process_has_left_is_done_by_the_next_one(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    encoding.encode_waiting()
    run("auto_tags", "run", status=-signal.SIGKILL, program=KILLED_AMONG_THE_ROWS)
    assert tagged(tag) == set(boats[:2].tolist())
    assert AutoTagCalibration.objects.get().version is None
    # Postgres takes a moment to see that it is gone, and with it its lock.
    wait_until(lambda: passes.run() or not passes.due_in(space))
    assert state_by_id(tag) == dict.fromkeys(boats.tolist(), APPLIED)
    assert tagged(tag) == set(boats.tolist())


def test_a_feed_that_begins_anew_lets_all_be_compared(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag()
    compare()
    AutoTagReader.objects.update(identity="of another server")
    TagSuggestion.objects.all().delete()
    compare()
    assert set(state_by_id(tag)) == set(boats.tolist())


def test_a_no_stays_through_changes_of_prompts_mode_and_encoder(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    answers.give(tag, Answer.REJECT, uuids(boats[:1]), by=make_user().pk)
    assert boats[0] not in tagged(tag)
    changes.change(tag, setting(wording=wording.read(["a red boat", "a boat"], ["{}"])))
    compare()
    changes.change(tag, setting(mode=TagMode.APPLY))
    compare()
    assert state_by_id(tag)[boats[0]] == REJECTED
    assert boats[0] not in tagged(tag)
    AutoTagCalibration.objects.all().delete()  # as a space that was never compared
    compare()
    assert state_by_id(tag)[boats[0]] == REJECTED


def test_what_was_applied_and_fits_no_more_is_withdrawn_unless_somebody_confirmed_it(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    answers.give(tag, Answer.ACCEPT, uuids(boats[:1]), by=make_user().pk)
    changes.change(tag, setting(wording=wording.read(["a green tree at night"], ["{}"])))
    compare()
    assert tagged(tag) == {boats[0]}
    assert state_by_id(tag)[boats[0]] == ACCEPTED
    assert not set(boats[1:].tolist()) & set(state_by_id(tag))


def test_back_in_suggest_mode_what_was_applied_is_suggested(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    changes.change(tag, setting())
    compare()
    assert tagged(tag) == set()
    assert state_by_id(tag) == dict.fromkeys(boats.tolist(), OPEN)


def test_a_tag_that_a_person_has_set_is_never_touched(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    Image.objects.get(pk=boats[0]).tags.add(tag.tag)
    compare()
    assert boats[0] not in state_by_id(tag)
    changes.change(tag, setting(wording=wording.read(["a green tree at night"], ["{}"])))
    compare()
    assert tagged(tag) == {boats[0]}
    changes.delete(tag)
    assert tagged(tag) == {boats[0]}


def test_an_applied_tag_that_a_person_takes_away_does_not_come_back(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    Image.objects.get(pk=boats[0]).tags.clear()
    AutoTagCalibration.objects.update(version=None)
    compare()
    assert state_by_id(tag)[boats[0]] == REJECTED
    assert boats[0] not in tagged(tag)


def test_a_suggested_tag_that_a_person_sets_by_hand_is_accepted(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag()
    compare()
    Image.objects.get(pk=boats[0]).tags.add(tag.tag)
    AutoTagCalibration.objects.update(version=None)
    compare()
    row = TagSuggestion.objects.get(image=boats[0])
    assert (row.state, row.is_linked) == (ACCEPTED, False)
    changes.delete(tag)
    assert Image.objects.get(pk=boats[0]).tags.count() == 1


def test_what_a_person_did_to_a_tag_is_an_answer_though_the_image_fits_no_more(space):
    crowd(space)
    boats = images_at(space, [*BOATS, 0.46])
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    cleared, set_by_hand = boats[[0, -1]].tolist()
    assert (state_by_id(tag)[cleared], state_by_id(tag)[set_by_hand]) == (APPLIED, OPEN)
    Image.objects.get(pk=cleared).tags.clear()
    Image.objects.get(pk=set_by_hand).tags.add(tag.tag)
    store(boats[[0, -1]], vectors_at(space, [0.0, 0.0], seed=9), space)
    compare()
    AutoTagCalibration.objects.update(version=None)
    compare()
    assert (state_by_id(tag)[cleared], state_by_id(tag)[set_by_hand]) == (REJECTED, ACCEPTED)


def test_an_image_of_somebody_else_by_now_keeps_its_tag_and_is_no_answer(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    Image.objects.filter(pk__in=boats[:2].tolist()).update(owner=make_user("bob"))
    Image.objects.get(pk=boats[0]).tags.clear()
    AutoTagCalibration.objects.update(version=None)
    compare()
    assert REJECTED not in state_by_id(tag).values()
    changes.delete(tag)
    assert tagged(tag) == {boats[1]}


def test_only_images_of_its_owner_are_compared_with_it(space):
    crowd(space)
    others = images_at(space, BOATS, owner=make_user("bob"), visibility="public")
    tag = auto_tag("ann", mode=TagMode.APPLY)
    of_bob = auto_tag("bob")
    compare()
    assert not set(state_by_id(tag)) & set(others.tolist())
    assert tagged(tag) == set()
    assert set(state_by_id(of_bob)) == set(others.tolist())
    (new,) = images_at(space, [0.6], seed=5, owner=make_user("bob")).tolist()
    compare()
    assert new not in state_by_id(tag)
    assert new in state_by_id(of_bob)


def test_of_few_images_nothing_is_said_until_there_are_more(space):
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    assert state_by_id(tag) == {}
    assert "too few images" in AutoTagCalibration.objects.get().note
    crowd(space)
    compare()
    assert tagged(tag) == set(boats.tolist())


@pytest.mark.slow
def test_after_a_switch_all_is_computed_in_the_new_space_and_answers_stay(space, tmp_path):
    others = crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    answers.give(tag, Answer.REJECT, uuids(boats[:1]), by=None)
    new = filling.begin(str(make_encoder("clip", tmp_path / "other")))
    # There, the second and third boat and two others fit; the fourth has no vector yet.
    fitting = np.concatenate([boats[:3], others[:2]])
    store(fitting, vectors_at(new, [0.6] * 5), new)
    noise = np.random.default_rng(3).normal(0, 0.05, 298).tolist()
    store(others[2:], vectors_at(new, noise, seed=3), new)
    spaces.switch_to(new)
    compare()
    assert AutoTagCalibration.objects.filter(space=new, version=1).exists()
    assert state_by_id(tag)[boats[0]] == REJECTED
    assert tagged(tag) == {*fitting[1:].tolist(), boats[3]}
    assert TagSuggestion.objects.get(image=boats[3]).score is None
    spaces.switch_to(space)
    compare()
    assert tagged(tag) == set(boats[1:].tolist())


def test_answers_move_the_limits_when_nobody_answers_any_more(space, monkeypatch):
    crowd(space)
    images_at(space, np.linspace(0.3, 0.7, 60))
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    before = AutoTagCalibration.objects.get()
    rows = TagSuggestion.objects.order_by("-score")
    yes, no = [row.image_id for row in rows[:11]], [row.image_id for row in rows[11:22]]
    answers.give(tag, Answer.ACCEPT, uuids(yes), by=None)
    answers.give(tag, Answer.REJECT, uuids(no), by=None)
    assert compare() == 0  # somebody is at it
    monkeypatch.setattr(passes, "ANSWERS_REST", passes.ANSWERS_REST * 0)
    compare()
    after = AutoTagCalibration.objects.get()
    assert after.is_fitted
    assert after.apply_at > before.apply_at
    assert (after.accepted, after.rejected) == (11, 11)
    assert tagged(tag) == set(yes)
    assert passes.due_in(space) == []


def test_a_yes_and_a_no_that_change_places_move_the_limits_too(space, monkeypatch):
    monkeypatch.setattr(passes, "ANSWERS_REST", passes.ANSWERS_REST * 0)
    crowd(space)
    images = uuids(images_at(space, BOATS))
    tag = auto_tag()
    answers.give(tag, Answer.ACCEPT, images[:2], by=None)
    answers.give(tag, Answer.REJECT, images[2:], by=None)
    compare()
    assert passes.due_in(space) == []
    answers.give(tag, Answer.REJECT, images[:1], by=None)
    answers.give(tag, Answer.ACCEPT, images[2:3], by=None)
    assert len(passes.due_in(space)) == 1
    compare()
    assert passes.due_in(space) == []


def test_what_a_third_of_all_images_show_is_suggested_without_answers(space):
    crowd(space, 200)
    boats = images_at(space, np.random.default_rng(2).normal(0.5, 0.03, 100).tolist())
    tag = auto_tag()
    compare()
    assert set(state_by_id(tag)) == set(boats.tolist())
    assert preview(make_user(), setting()).fitting == len(boats)


def test_what_most_images_show_is_found_by_answers_to_images_that_were_not_suggested(
    space, monkeypatch
):
    monkeypatch.setattr(passes, "ANSWERS_REST", passes.ANSWERS_REST * 0)
    random = np.random.default_rng(2)
    others = crowd(space, 100)
    boats = images_at(space, random.normal(0.16, 0.06, 200).tolist())
    tag = auto_tag()
    compare()
    assert state_by_id(tag) == {}
    best = review.unasked(tag, skip=0, n=25)
    assert {one.image_id for one in best} <= set(boats.tolist())
    assert [one.score for one in best] == sorted([one.score for one in best], reverse=True)
    answers.give(tag, Answer.ACCEPT, [one.image.uuid for one in best], by=None)
    answers.give(tag, Answer.REJECT, uuids(others[:15]), by=None)
    compare()
    suggested = {id_ for id_, state in state_by_id(tag).items() if state == OPEN}
    assert len(suggested & set(boats.tolist())) > 130
    assert len(suggested - set(boats.tolist())) < 10
    assert not suggested & {one.image_id for one in review.unasked(tag, skip=0, n=300)}
    assert review.unasked(tag, skip=6000, n=25) == []


def test_two_processes_do_not_compare_at_once(space):
    crowd(space)
    images_at(space, BOATS)
    auto_tag()
    encoding.encode_waiting()
    found = []

    def another():
        found.append(passes.run())
        connection.close()

    with passes._alone() as is_ours:
        assert is_ours
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
    assert found == [0]
    assert passes.run() == len(BOATS)


def test_an_auto_tag_that_is_changed_meanwhile_is_due_once_more(space, monkeypatch):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    encoding.encode_waiting()
    write = writing.write

    def change_first(*given):
        changes.change(tag, setting(mode=TagMode.SUGGEST))
        return write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(comparing.writing, "write", change_first)
        passes.run()
    assert tagged(tag) == set()
    assert len(passes.due_in(space)) == 1
    compare()
    assert state_by_id(tag) == dict.fromkeys(boats.tolist(), OPEN)


def test_an_auto_tag_or_an_image_that_is_deleted_meanwhile_is_passed_over(space, monkeypatch):
    crowd(space)
    boats = images_at(space, BOATS)
    tag, other = auto_tag(), auto_tag(name="ship")
    encoding.encode_waiting()
    write = writing.write

    def delete_first(*given):
        changes.delete(tag)
        delete_images(Image.objects.filter(pk=boats[0]))
        return write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(comparing.writing, "write", delete_first)
        passes.run()
    assert not AutoTag.objects.filter(pk=tag.pk).exists()
    assert set(state_by_id(other)) == set(boats[1:].tolist())


@pytest.mark.parametrize("delete", [changes.delete, changes.delete_leaving_tags])
def test_an_auto_tag_is_deleted_with_what_was_being_written_of_it(space, delete):
    (boat,) = make_images(1).tolist()
    tag = auto_tag()
    problems = []

    def delete_it():
        try:
            delete(tag)
        except Exception as error:  # noqa: BLE001  (of a thread: told below)
            problems.append(error)
        finally:
            connection.close()

    def is_waiting():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return cursor.fetchone()[0]

    thread = threading.Thread(target=delete_it)
    with writing._held([tag.pk], [boat]):
        TagSuggestion.objects.create(auto_tag=tag, image_id=boat, state=OPEN)
        thread.start()
        wait_until(is_waiting)
    thread.join()
    assert problems == []
    assert not AutoTag.objects.exists()


def test_an_answer_given_meanwhile_is_not_overwritten(space, monkeypatch):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    encoding.encode_waiting()
    write = writing.write

    def answer_first(*given):
        answers.give(tag, Answer.REJECT, uuids(boats[:2]), by=None)
        return write(*given)

    with monkeypatch.context() as patch:
        patch.setattr(comparing.writing, "write", answer_first)
        passes.run()
    assert tagged(tag) == set(boats[2:].tolist())
    assert state_by_id(tag)[boats[0]] == REJECTED


def test_an_image_with_as_many_tags_as_may_be_gets_no_more_by_itself(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tags = Tag.objects.bulk_create(Tag(name=f"tag {n}") for n in range(50))
    Image.objects.get(pk=boats[0]).tags.set(tags)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    assert tagged(tag) == set(boats[1:].tolist())


def test_deleting_takes_the_tag_from_what_nobody_confirmed(space):
    crowd(space)
    boats = images_at(space, BOATS)
    tag = auto_tag(mode=TagMode.APPLY)
    compare()
    answers.give(tag, Answer.ACCEPT, uuids(boats[:1]), by=None)
    changes.delete(tag)
    assert tagged(tag) == {boats[0]}
    again = auto_tag(mode=TagMode.APPLY)
    compare()
    changes.delete_leaving_tags(again)
    assert tagged(tag) == set(boats.tolist())


def test_without_an_encoder_or_images_nothing_is_done(space):
    auto_tag()
    assert compare() == 0
    with transaction.atomic():
        Space.objects.update(state=Space.State.RETIRED)
        assert passes.run() == 0
        assert encoding.encode_waiting() == 0
        transaction.set_rollback(True)


def test_what_people_said_of_images_without_a_vector_is_counted_once(space):
    crowd(space)
    tag = auto_tag()
    (bare,) = make_images(1)
    answers.give(tag, Answer.ACCEPT, uuids([bare]), by=None)
    compare()
    assert AutoTagCalibration.objects.get().accepted == 1
    assert passes.due_in(space) == []


def test_the_command_makes_runs_and_lists_them(space, tmp_path, capsys):
    make_user("root", is_superuser=True)
    crowd(space, owner=make_user("root"))
    images_at(space, BOATS, owner=make_user("root"))
    listed = tmp_path / "tags.txt"
    listed.write_text("# ours\nboat: a red boat | a ship\n\nTree\nboat: again\n")
    call_command("auto_tags", "load", str(listed))
    call_command("auto_tags", "add", "dog", "--prompt", "a dog", "--template", "see {}")
    call_command("auto_tags", "run")
    call_command("auto_tags", "list")
    out = capsys.readouterr().out
    assert "2 auto tags are new" in out
    assert "4 open" in out
    assert AutoTag.objects.get(tag__name="boat").prompts == ["a red boat", "a ship"]
    call_command("auto_tags", "delete", "tree")
    assert AutoTag.objects.count() == 2
