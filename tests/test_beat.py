from __future__ import annotations

from datetime import timedelta

import pytest

from searchsite.beat import Scheduler
from searchsite.celery import app


@pytest.fixture
def scheduler(tmp_path):
    scheduler = Scheduler(app, schedule_filename=str(tmp_path / "schedule"))
    yield scheduler
    scheduler.close()


def move_last_runs(scheduler, by):
    for entry in scheduler.schedule.values():
        entry.last_run_at += by
    scheduler.populate_heap()


def sent(scheduler, monkeypatch):
    """Return the tasks that are sent until nothing is due."""
    names = []
    monkeypatch.setattr(scheduler, "apply_entry", lambda entry, producer: names.append(entry.task))
    monkeypatch.setattr(Scheduler, "producer", None)
    while scheduler.tick() <= 0:
        pass
    return names


def test_what_is_due_is_sent(scheduler, monkeypatch):
    move_last_runs(scheduler, -timedelta(seconds=31))
    assert "gallery.tasks.embed_waiting" in sent(scheduler, monkeypatch)


def test_it_goes_on_at_once_when_the_clock_is_set_back(scheduler, monkeypatch):
    move_last_runs(scheduler, timedelta(hours=1))
    assert sent(scheduler, monkeypatch) == []
    assert 0 < scheduler.tick() <= 30
    move_last_runs(scheduler, -timedelta(seconds=31))
    assert "gallery.tasks.embed_waiting" in sent(scheduler, monkeypatch)
