from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gallery.duplicates import grouping
from gallery.models import DuplicateGroup, DuplicateMember, DuplicatePair, Image
from gallery.removal import delete_images
from tests.rows import make_images, make_user

PAIRS = st.sets(
    st.tuples(st.integers(1, 15), st.integers(1, 15)).filter(lambda pair: pair[0] < pair[1]),
    max_size=40,
)


@given(PAIRS, st.integers(2, 6))
def test_a_group_is_its_lead_and_what_is_a_pair_with_it(pairs, most):
    groups = grouping.stars(pairs, most=most)
    for lead, members in groups.items():
        assert members[0] == lead
        assert 2 <= len(members) <= most
        for other in members[1:]:
            assert (min(lead, other), max(lead, other)) in pairs


@given(PAIRS, st.integers(2, 6))
def test_no_image_is_in_two_groups_and_no_pair_is_left_out(pairs, most):
    grouped = [image for members in grouping.stars(pairs, most=most).values() for image in members]
    assert len(grouped) == len(set(grouped))
    assert all(one in grouped or other in grouped for one, other in pairs)


@given(PAIRS, st.randoms())
def test_the_order_of_pairs_changes_nothing(pairs, random):
    shuffled = [
        random.choice([pair, pair[::-1]]) for pair in random.sample(sorted(pairs), len(pairs))
    ]
    assert grouping.stars(shuffled) == grouping.stars(pairs)


def test_a_burst_does_not_become_one_long_chain():
    chain = [(n, n + 1) for n in range(1, 30)]
    assert max(len(members) for members in grouping.stars(chain).values()) == 3


def paired(ids, *pairs):
    DuplicatePair.objects.bulk_create(
        DuplicatePair(first_id=ids[a], second_id=ids[b], kind="near", bits=2, score=0.99)
        for a, b in pairs
    )
    grouping.regroup(make_user().pk, [int(id_) for id_ in ids])


def members():
    rows = DuplicateMember.objects.order_by("image").values_list("group", "image")
    groups = {}
    for group, image in rows:
        groups.setdefault(group, []).append(image)
    return groups


@pytest.fixture
def ids(db):
    return make_images(6).tolist()


def test_a_group_that_stays_as_it_was_keeps_its_row(ids):
    paired(ids, (0, 1), (3, 4))
    before = members()
    paired(ids, (2, 3))
    after = members()
    assert ids[0:2] in before.values()
    assert ids[2:5] in after.values()
    (kept,) = (group for group, images in before.items() if images == ids[0:2])
    assert after[kept] == ids[0:2]
    assert len(after) == 2


def test_a_group_whose_lead_is_deleted_is_made_anew_of_the_others(ids):
    paired(ids, (0, 1), (0, 2), (0, 3), (2, 3))
    delete_images(Image.objects.filter(pk=ids[0]))
    assert not DuplicateGroup.objects.exists()
    assert grouping.group_loose() == 1
    assert list(members().values()) == [ids[2:4]]
    assert grouping.group_loose() == 0


def test_images_of_two_owners_are_never_in_one_group(ids):
    other = make_images(1, owner=make_user("bob")).tolist()
    DuplicatePair.objects.create(first_id=ids[0], second_id=other[0], kind="near", bits=0)
    grouping.regroup(make_user().pk, [*ids, *other])
    assert not DuplicateMember.objects.filter(image__in=other).exists()
