from __future__ import annotations

import threading

import pytest
from django.db import connection

from gallery import spaces
from gallery.auto_tags import answers, changes, review
from gallery.auto_tags.answers import Answer
from gallery.auto_tags.review import ReviewOrder
from gallery.errors import AutoTagInvalid
from gallery.models import (
    AutoTag,
    AutoTagCalibration,
    Image,
    SuggestionState,
    Tag,
    TagMode,
    TagSuggestion,
)
from tests.gallery.auto_tags.crowds import (
    auto_tag,
    begin_anew,
    compare,
    crowd,
    images_at,
    state_by_id,
    tagged,
    uuids,
)
from tests.rows import make_images, make_user

pytestmark = pytest.mark.django_db(transaction=True)

BOATS = (0.6, 0.59, 0.58, 0.57)
OPEN, APPLIED = SuggestionState.OPEN, SuggestionState.APPLIED
ACCEPTED, REJECTED = SuggestionState.ACCEPTED, SuggestionState.REJECTED


@pytest.fixture
def boats():
    begin_anew()
    space = spaces.ensure()
    crowd(space, visibility="private")
    return images_at(space, BOATS)


@pytest.fixture(params=[TagMode.SUGGEST, TagMode.APPLY])
def tag(request, boats):
    tag = auto_tag(mode=request.param)
    compare()
    return tag


@pytest.fixture
def ann(client):
    client.force_login(make_user())
    return client


def give(tag, answer, ids):
    return answers.give(tag, answer, uuids(ids), by=make_user().pk)


def test_what_is_accepted_has_the_tag_and_what_is_rejected_has_not(tag, boats):
    assert give(tag, Answer.ACCEPT, boats[:2]) == 2
    assert give(tag, Answer.REJECT, boats[2:]) == 2
    assert tagged(tag) == set(boats[:2].tolist())
    assert [state_by_id(tag)[id_] for id_ in boats.tolist()] == [ACCEPTED] * 2 + [REJECTED] * 2
    row = TagSuggestion.objects.get(image=boats[0])
    assert (row.answered_by, row.answered_at is None) == (make_user(), False)


def test_the_same_answer_twice_changes_nothing(tag, boats):
    for answer in (Answer.ACCEPT, Answer.REJECT):
        assert give(tag, answer, boats) == 4
        assert give(tag, answer, boats) == 0


@pytest.mark.parametrize("answer", [Answer.ACCEPT, Answer.REJECT])
def test_an_answer_that_is_taken_back_leaves_all_as_it_was(tag, boats, answer):
    before = list(TagSuggestion.objects.order_by("image_id").values())
    had = tagged(tag)
    give(tag, answer, boats)
    assert give(tag, Answer.UNDO, boats) == 4
    assert list(TagSuggestion.objects.order_by("image_id").values()) == before
    assert tagged(tag) == had
    assert give(tag, Answer.UNDO, boats) == 0


def test_a_person_changes_their_mind(tag, boats):
    for answer, has_it in ((Answer.ACCEPT, 4), (Answer.REJECT, 0), (Answer.ACCEPT, 4)):
        give(tag, answer, boats)
        assert len(tagged(tag)) == has_it


def test_images_that_were_never_suggested_can_be_answered_and_taken_back(tag, boats):
    (other,) = make_images(1).tolist()
    for answer, state in ((Answer.ACCEPT, ACCEPTED), (Answer.REJECT, REJECTED)):
        give(tag, answer, [other])
        assert state_by_id(tag)[other] == state
    give(tag, Answer.UNDO, [other])
    assert other not in state_by_id(tag)
    assert other not in tagged(tag)


def test_a_persons_own_tag_goes_by_their_no_and_comes_back_with_it(tag, boats):
    (own,) = make_images(1).tolist()
    Image.objects.get(pk=own).tags.add(tag.tag)
    for answer, has_it in (
        (Answer.ACCEPT, True),
        (Answer.UNDO, True),
        (Answer.REJECT, False),
        (Answer.UNDO, True),
        (Answer.REJECT, False),
        (Answer.ACCEPT, True),
        (Answer.UNDO, True),  # it is theirs again, not the auto tag's
    ):
        give(tag, answer, [own])
        assert (own in tagged(tag)) is has_it
        AutoTagCalibration.objects.update(version=None)
        compare()
        assert (own in tagged(tag)) is has_it


def test_an_image_with_as_many_tags_as_may_be_is_named_and_nothing_changes(tag, boats, ann):
    image = Image.objects.get(pk=boats[1])
    image.tags.set(Tag.objects.bulk_create(Tag(name=f"tag {n}") for n in range(50)))
    Image.objects.filter(pk=image.pk).update(caption="The harbour")
    compare()
    before = tagged(tag)
    with pytest.raises(AutoTagInvalid, match="“The harbour” has 50 tags"):
        give(tag, Answer.ACCEPT, boats)
    said = {"answer": "accept", "image": [str(uuid) for uuid in uuids(boats)]}
    assert "has 50 tags" in ann.post(f"/auto-tags/{tag.pk}/answer", said, follow=True).text
    assert tagged(tag) == before
    assert give(tag, Answer.REJECT, boats[1:2]) == 1


def test_a_no_is_not_taken_back_where_the_tag_has_no_room_any_more(tag, boats):
    image = Image.objects.get(pk=boats[0])
    image.tags.add(tag.tag)
    give(tag, Answer.REJECT, boats[:1])
    image.tags.set(Tag.objects.bulk_create(Tag(name=f"tag {n}") for n in range(50)))
    with pytest.raises(AutoTagInvalid, match="has 50 tags"):
        give(tag, Answer.UNDO, boats[:1])
    assert (state_by_id(tag)[boats[0]], image.tags.count()) == (REJECTED, 50)
    image.tags.remove(image.tags.first())
    assert give(tag, Answer.UNDO, boats[:1]) == 1
    assert (boats[0] in tagged(tag), image.tags.count()) == (True, 50)


def test_nobody_answers_for_images_of_others(tag, boats):
    (of_bob,) = make_images(1, owner=make_user("bob"), visibility="public").tolist()
    assert give(tag, Answer.ACCEPT, [of_bob]) == 0
    assert of_bob not in tagged(tag)


def test_an_auto_tag_that_is_gone_cannot_be_answered(tag, boats):
    changes.delete(tag)
    with pytest.raises(AutoTag.DoesNotExist):
        give(tag, Answer.ACCEPT, boats)


def test_two_people_who_press_at_once_leave_one_answer_and_its_tag(tag, boats):
    errors = []

    def press(answer):
        try:
            for _ in range(10):
                give(tag, answer, boats)
        except Exception as error:  # noqa: BLE001  (of a thread: told below)
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=press, args=(answer,)) for answer in (Answer.ACCEPT, Answer.REJECT)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    states = state_by_id(tag)
    accepted = {id_ for id_ in boats.tolist() if states[id_] == ACCEPTED}
    assert tagged(tag) == accepted
    assert len(accepted) in (0, 4)


def test_what_is_most_worth_answering_lies_at_the_border(boats):
    tag = auto_tag()
    compare()
    AutoTagCalibration.objects.update(border=0.583)
    orders = {
        order: list(review.suggestions(tag, OPEN, order).values_list("image", flat=True))
        for order in ReviewOrder
    }
    by_score = boats.tolist()
    assert orders[ReviewOrder.WORTH] == [by_score[place] for place in (2, 1, 3, 0)]
    assert orders[ReviewOrder.BEST] == by_score
    assert orders[ReviewOrder.LATEST] == by_score[::-1]


def test_precision_counts_answers_above_the_limit(boats):
    tag = auto_tag()
    compare()
    give(tag, Answer.ACCEPT, boats[:3])
    give(tag, Answer.REJECT, boats[3:])
    give(tag, Answer.REJECT, make_images(5))  # never compared
    (told,) = review.tell([tag])
    assert (told.precision.value, told.precision.answers) == (0.75, 4)
    assert (told.open, told.accepted, told.rejected) == (0, 3, 6)


def test_versions_and_what_somebody_was_faster_with_are_not_asked_about(boats):
    tag = auto_tag()
    compare()
    Image.objects.filter(pk=boats[0]).update(version_of=boats[1])
    Image.objects.get(pk=boats[2]).tags.add(tag.tag)
    Image.objects.filter(pk=boats[3]).update(owner=make_user("bob"))
    assert list(review.suggestions(tag, OPEN).values_list("image", flat=True)) == [boats[1]]
    assert review.tell([tag])[0].open == 1


def test_the_figures_of_many_take_three_statements(boats, django_assert_num_queries):
    tags = [auto_tag(name=f"tag {n}") for n in range(5)]
    compare()
    with django_assert_num_queries(3):
        told = review.tell(tags)
    assert [one.open for one in told] == [4] * 5


def test_what_is_suggested_is_no_tag_to_filters_and_facets(boats, client):
    client.force_login(make_user())
    tag = auto_tag()
    compare()
    assert "No image" in client.get("/", {"tag": "boat"}).text
    give(tag, Answer.ACCEPT, boats[:1])
    assert str(Image.objects.get(pk=boats[0]).uuid) in client.get("/", {"tag": "boat"}).text
