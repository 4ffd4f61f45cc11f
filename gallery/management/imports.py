"""What the commands that import have in common: an owner, a progress bar, and an end by Ctrl-C."""

from __future__ import annotations

import signal
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, OutputWrapper
from redis.exceptions import RedisError
from tqdm import tqdm

from gallery import worker
from gallery.imports import engine, ledger
from gallery.imports.engine import News
from gallery.imports.errors import DatabaseAway, ImportBusy, ImportRefused, LeaseLost
from gallery.imports.ledger import Progress
from gallery.imports.records import notice, summary
from gallery.models import Image, ImportRun, ItemState, RunState, State

INTERRUPTED = 130  # what a shell expects of a command that Ctrl-C ended
LOOK_SECONDS = 1.0


class ImportCommand(BaseCommand):
    """A command that works on a run in its own process, or watches another that does."""

    def add_wait_argument(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--no-wait", action="store_true", help="end before the images are embedded"
        )

    def work_on(self, run: ImportRun) -> None:
        """Work on a run to its end and show how it goes.

        Raise CommandError with a sentence when it does not come to its end.
        """
        is_undo = run.state == RunState.UNDOING
        with _Bar(self.stderr) as bar, _stoppable() as is_stopped:
            try:
                _work(run, bar, is_stopped)
            except DatabaseAway as error:
                raise CommandError(str(error)) from error
        self.stdout.write(summary(run))
        if is_stopped.is_set():
            raise CommandError(
                "Stopped. The same command goes on from here.", returncode=INTERRUPTED
            )
        if run.state == RunState.BROKEN:
            raise CommandError(f"Stopped: {run.failure} Then the same command goes on from here.")
        if run.state == RunState.PAUSED:
            raise CommandError("It was paused from elsewhere. The same command goes on from here.")
        if run.state in (RunState.UNDOING, RunState.UNDONE) and not is_undo:
            raise CommandError("It was undone from elsewhere.")

    def finish(self, run: ImportRun, *, waits: bool) -> None:
        """Tell what is left to do after a run. Raise CommandError when items have failed."""
        if not run.is_dry_run and run.state == RunState.DONE:
            if waits:
                wait_for_worker(run.owner)
            if waiting := count_waiting(run.owner):
                self.stdout.write(f"{waiting:,} wait for the worker to embed them.")
        if failed := ledger.progress(run).by_state[ItemState.FAILED]:
            raise CommandError(
                f"{failed:,} failed, see above or `manage.py imports show {run.pk}`; "
                f"`manage.py imports retry {run.pk}` tries them again."
            )


def owner_named(name: str | None) -> User:
    """Return the user; without a name the first superuser."""
    if name:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name}.")
        return user
    superuser = User.objects.filter(is_superuser=True).order_by("pk").first()
    if superuser is None:
        raise CommandError(
            "There is no superuser to own the images: make one by manage.py createsuperuser, "
            "or name a user by --owner."
        )
    return superuser


def wait_for_worker(owner: Any) -> None:
    """Show how the owner's images become searchable, for as long as a worker is there."""
    waiting = count_waiting(owner)
    with tqdm(total=waiting, unit="embedding", disable=None) as bar:
        while waiting and _has_worker():
            time.sleep(0.5)
            before, waiting = waiting, count_waiting(owner)
            bar.update(before - waiting)


def count_waiting(owner: Any) -> int:
    return Image.objects.filter(owner=owner, state=State.WAITING).count()


def _work(run: ImportRun, bar: _Bar, is_stopped: threading.Event) -> None:
    while run.state in ledger.ACTIVE and not is_stopped.is_set():
        try:
            engine.work(run, goes_on=lambda: not is_stopped.is_set(), tell=bar.tell)
        except (ImportBusy, LeaseLost):
            # Another process has it: then this one looks on, and takes over if that one dies.
            run.refresh_from_db()
            bar.show(ledger.progress(run))
            bar.note(notice(run))
            is_stopped.wait(LOOK_SECONDS)
            continue
        if is_stopped.is_set() and run.state == RunState.RUNNING:
            _pause(run)


def _pause(run: ImportRun) -> None:
    try:
        ledger.pause(run)
    except ImportRefused:
        return  # it came to its end just then


class _Bar:
    """Shows the progress of a run on a terminal, and each failure as a line."""

    def __init__(self, stderr: OutputWrapper) -> None:
        self._stderr = stderr
        self._noted = ""
        self._bar = tqdm(
            total=1,
            disable=None,
            bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]",
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def tell(self, news: News) -> None:
        failed = [one for one in news.outcomes if one.state == ItemState.FAILED]
        if failed:
            self._bar.clear()
            for outcome in failed:
                self._stderr.write(f"{outcome.name}: {outcome.reason}")
        self.note(news.waits)
        self.show(news.progress)

    def note(self, sentence: str) -> None:
        """Say why nothing goes on, once."""
        if sentence and sentence != self._noted:
            self._bar.clear()
            self._stderr.write(sentence)
        self._noted = sentence

    def show(self, progress: Progress) -> None:
        self._bar.total, self._bar.n = max(progress.total, 1), progress.done
        rest = "" if progress.seconds_left is None else f", {_span(progress.seconds_left)} left"
        self._bar.set_postfix_str(f"{progress.per_second:,.1f} images/s{rest}")


def _span(seconds: float) -> str:
    return str(tqdm.format_interval(seconds))


@contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C or SIGTERM into an event; the second one ends the process."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, before[number] or signal.SIG_DFL)

    before: dict[int, Any] = {
        number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _has_worker() -> bool:
    try:
        return worker.is_alive()
    except RedisError:
        return False
