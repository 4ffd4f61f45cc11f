"""Search never stops and never mixes, whatever becomes of the spaces meanwhile."""

from __future__ import annotations

import random
import shutil
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from embeddings import retirement
from embeddings.models import Space
from gallery import serving, spaces, verification
from gallery.models import Image
from gallery.query import Band, Query, TextTerm
from gallery.search import search, turn
from gallery.switching import steps
from gallery.switching.progress import lack_of
from tests.gallery.switching.conftest import fill_all, forget_encoders
from tests.rows import make_user
from tests.workers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = ("a boat", "a red house", "two trees", "the sea at night")


def ask(text):
    query = Query(terms=(TextTerm(text),), least_band=Band.UNLIKELY, k=3)
    page = search(query, make_user())
    ids = [hit.image.pk for hit in page.hits]
    if page.has_more:
        page = turn(page.search_id, make_user(), number=2)
        ids += [hit.image.pk for hit in page.hits]
    return page.encoder, ids


def truth(*in_turn):
    """Return what each encoder finds for each text, asked while nothing moves."""
    found = {}
    for space in in_turn:
        if spaces.active() != space:
            steps.switch(space, seen=spaces.active())
        found[space.title] = {text: ask(text)[1] for text in TEXTS}
    return found


class Asking(threading.Thread):
    """Asks the same again and again, and notes each answer that is of no encoder, or of two."""

    def __init__(self, expected, seed):
        super().__init__()
        self.expected, self.random = expected, random.Random(seed)
        self.ended = threading.Event()
        self.wrong, self.encoders = [], []

    def run(self):
        try:
            while not self.ended.is_set():
                text = self.random.choice(TEXTS)
                encoder, ids = ask(text)
                self.encoders.append(encoder)
                if self.expected[encoder][text] != ids:
                    self.wrong.append((encoder, text, ids))
        except Exception as error:  # noqa: BLE001  (told by the test's own thread)
            self.wrong.append(error)
        finally:
            connection.close()


@contextmanager
def asking(expected, n=4):
    threads = [Asking(expected, seed) for seed in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.slow
def test_while_spaces_switch_back_and_forth_every_answer_is_of_one_encoder(new, old, settings):
    settings.INDEX_POLL_SECONDS = 0.02
    expected = truth(old, new)
    assert expected[old.title] != expected[new.title]
    with asking(expected) as threads:
        for number in range(2000):  # two minutes: a slow machine has its rounds, too
            to = (old, new)[number % 2]
            steps.switch(to, seen=spaces.active())
            time.sleep(0.05)
            if number >= 30 and all(len(one.encoders) > 20 or one.wrong for one in threads):
                break
    assert [thread.wrong for thread in threads] == [[]] * len(threads)
    assert {encoder for thread in threads for encoder in thread.encoders} == set(expected)
    assert all(len(thread.encoders) > 20 for thread in threads)
    assert list(verification.of_states()) == []


@pytest.mark.slow
def test_while_a_space_is_filled_retired_removed_and_filled_again_nothing_is_noticed(
    new, old, folder, settings
):
    settings.INDEX_POLL_SECONDS = 0.02
    expected = truth(new, old)
    with asking({old.title: expected[old.title]}) as threads:
        for _ in range(3):
            steps.retire(steps.find(str(folder)))
            long_ago = timezone.now() - timedelta(seconds=retirement.GRACE_SECONDS + 1)
            Space.objects.filter(state=Space.State.RETIRED).update(retired_at=long_ago)
            for space in retirement.due():
                assert retirement.remove(space)
            steps.fill(str(folder))
            fill_all()
    assert [thread.wrong for thread in threads] == [[]] * len(threads)
    assert not lack_of(spaces.beside())


class Died(BaseException):
    """A process was killed: none of its lines runs, and Postgres sees the connection gone."""


@contextmanager
def killed_at(n):
    """Kill whoever asks the n-th statement, before Postgres has it."""
    asked = 0

    def count(execute, *statement):
        nonlocal asked
        asked += 1
        if asked == n:
            connection.connection.close()
            raise Died
        return execute(*statement)

    with connection.execute_wrapper(count):
        yield


def each_death(do):
    """Do something, killed at its first statement, its second and so on, until it comes through."""
    for n in range(1, 200):
        try:
            with killed_at(n):
                do()
        except Died:
            connection.close()
            spaces.forget()
            yield n
        else:
            return
    raise AssertionError("It never comes to its end.")


def test_a_switch_that_is_killed_at_any_statement_leaves_the_state_before(new, old):
    deaths = 0
    for _ in each_death(lambda: steps.switch(new, seen=old)):
        deaths += 1
        if spaces.active() == new:  # the commit was through, and only what follows it was not
            break
        assert spaces.active() == old
        assert ask("a boat")[0] == "bundled"
    assert deaths > 5
    spaces.forget()
    assert ask("a boat")[0] == "other"
    assert list(verification.of_states()) == []
    old.refresh_from_db()
    assert old.state == Space.State.FILLING


def test_a_partial_switch_that_is_killed_at_any_statement_leaves_all_states_right(images, folder):
    old, space = spaces.active(), steps.fill(str(folder))
    for _ in each_death(lambda: steps.switch(space, seen=old, partly=True)):
        assert list(verification.of_states()) == []
        if spaces.active() == space:
            break
    assert list(verification.of_states()) == []
    fill_all()
    assert Image.objects.filter(state="ready").count() == 5


def test_removing_that_is_killed_at_any_statement_goes_on(new, old, folder, monkeypatch):
    monkeypatch.setattr(retirement, "AT_ONCE", 2)
    steps.retire(new)
    for _ in each_death(lambda: retirement.remove(new)):
        assert ask("a boat")[0] == "bundled"
    assert not Space.objects.filter(pk=new.pk).exists()
    steps.fill(str(folder))
    fill_all()
    assert not lack_of(spaces.beside())


def test_filling_that_is_killed_at_any_statement_begins_once(images, folder):
    for _ in each_death(lambda: steps.fill(str(folder))):
        assert Space.objects.filter(state=Space.State.FILLING).count() <= 1
    fill_all()
    assert Space.objects.count() == 2
    assert not lack_of(spaces.beside())


def test_a_process_stays_in_the_space_before_until_the_new_encoder_is_loaded(new, old):
    is_loaded = False
    spaces.go_over_when(lambda space: is_loaded)
    try:
        assert ask("a boat")[0] == "bundled"
        steps.switch(new, seen=old)
        spaces._seen = spaces._Seen(old, new, 0.0)  # another process has heard of it late
        assert ask("a boat")[0] == "bundled"
        is_loaded = True
        spaces._seen = spaces._seen._replace(at=0.0)
        assert ask("a boat")[0] == "other"
    finally:
        spaces.go_over_when(lambda space: True)


def test_a_process_leaves_a_space_that_was_retired_before_it_has_loaded_the_new_one(new, old):
    spaces.go_over_when(lambda space: False)
    try:
        steps.switch(new, seen=old)
        old.refresh_from_db()
        steps.retire(old)
        spaces._seen = spaces._Seen(old, new, 0.0)
        assert ask("a boat")[0] == "other"
    finally:
        spaces.go_over_when(lambda space: True)


@pytest.fixture
def loading(monkeypatch):
    monkeypatch.setattr(serving, "INDEX_SECONDS", 0.2)  # nobody keeps indexes current here
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.2)
    loading = serving.Loading()
    spaces.go_over_when(loading.is_ready)
    yield loading
    spaces.go_over_when(lambda space: True)
    wait_until(lambda: not any(thread.name == "loading" for thread in threading.enumerate()))


def test_loading_begins_when_it_is_asked_for_and_ends_with_the_encoder(new, old, loading):
    steps.switch(new, seen=old)
    assert not loading.is_ready(new)
    wait_until(lambda: loading.is_ready(new))


def test_where_the_new_encoder_cannot_be_loaded_searches_stay_in_the_space_before(
    images, old, folder, tmp_path, loading
):
    there = shutil.copytree(folder, tmp_path / "other")
    space = steps.fill(str(there))
    fill_all()
    steps.switch(space, seen=old)
    away = there.rename(tmp_path / "away")
    forget_encoders()
    spaces._seen = spaces._Seen(old, space, 0.0)  # a process of another machine
    for _ in range(3):
        assert ask("a boat")[0] == "bundled"
        time.sleep(0.1)
        spaces._seen = spaces._seen._replace(at=0.0)
    away.rename(there)
    forget_encoders()
    wait_until(lambda: loading.is_ready(space))
    spaces._seen = spaces._seen._replace(at=0.0)
    assert ask("a boat")[0] == "other"


def test_loading_ends_when_somebody_goes_back_and_begins_anew_with_the_next_switch(
    new, old, loading
):
    assert not loading.is_ready(new)  # it was active for a moment
    wait_until(lambda: not loading._loaded)
    steps.switch(new, seen=old)
    wait_until(lambda: loading.is_ready(new))
