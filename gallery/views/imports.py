"""Imports: a page with all runs, and one for each, where its progress lives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe
from django_htmx.http import HTMX_STOP_POLLING

from gallery.descriptions import Description
from gallery.errors import StorageUnavailable
from gallery.forms import problems
from gallery.imports import ledger, paging, records, starting
from gallery.imports.errors import ImportInvalid, ImportRefused
from gallery.models import ImportRun, ItemState, RunState
from gallery.request_limits import RequestLimit, limited, source_bytes
from gallery.views.import_form import ImportForm, PageForm
from gallery.views.requests import LoggedIn, render_page

RUNS_SHOWN = 30
# In the order in which the page shows them.
SHOWN_STATES = (
    ItemState.NEW,
    ItemState.HELD,
    ItemState.FAILED,
    ItemState.SKIPPED,
    ItemState.WAITING,
    ItemState.UNDONE,
)


@dataclass(frozen=True)
class Tab:
    """A state with its number of items, as a link that shows only these."""

    state: str
    label: str
    count: int
    address: str
    is_current: bool


@limited(RequestLimit(users=source_bytes))
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def imports_page(request: LoggedIn) -> HttpResponse:
    """The list of the viewer's imports; posted to, it starts one more."""
    form, status, problem = ImportForm(), 200, ""
    if request.method == "POST":
        form = ImportForm(request.POST, request.FILES)
        try:
            return redirect(_start(form, request))
        except ImportInvalid as error:
            problem, status = str(error), 400
        except StorageUnavailable as error:
            problem, status = str(error), 503
    before = _page(request).get("before")
    runs = ledger.visible_to(request.user)
    listed = list((runs.filter(pk__lt=before) if before else runs)[: RUNS_SHOWN + 1])
    context = {
        "form": form,
        "problem": problem,
        "runs": [(run, ledger.progress(run), records.notice(run)) for run in listed[:RUNS_SHOWN]],
        "before": before,
        "older": listed[RUNS_SHOWN - 1].pk if len(listed) > RUNS_SHOWN else None,
        "own_albums": request.user.albums.values_list("name", flat=True),
        "max_megabytes": settings.IMPORT_UPLOAD_BYTES // 10**6,
    }
    return render(request, "gallery/imports.html", context, status=status)


@login_required
@require_safe
def import_page(request: LoggedIn, uuid: UUID) -> HttpResponse:
    """One import: how far it is, what can be done, and its items by state."""
    run = own_run(request, uuid)
    return render_page(
        request,
        "gallery/import.html",
        _context(request, run) | {"items": _items(request, run)},
        part="gallery/_import_items.html",
    )


@login_required
@require_safe
def progress(request: LoggedIn, uuid: UUID) -> HttpResponse:
    """The part that is asked for again and again; 286 ends htmx's polling."""
    run = own_run(request, uuid)
    if not request.htmx:
        return redirect(run)
    context = _context(request, run) | {"is_part": True}
    is_over = run.state not in ledger.ACTIVE
    status = HTMX_STOP_POLLING if is_over else 200
    response = render(request, "gallery/_import_progress.html", context, status=status)
    if request.GET.get("phase") != context["phase"]:
        response["HX-Refresh"] = "true"  # other buttons, and items that stay as they are
    return response


@login_required
@require_POST
def change(request: LoggedIn, uuid: UUID, doing: str) -> HttpResponse:
    """Pause, resume, retry or undo an import."""
    run = own_run(request, uuid)
    if doing not in _DOINGS:
        raise Http404
    try:
        sentence = _DOINGS[doing](run)
    except ImportRefused as error:
        context = _context(request, run)
        context |= {"items": _items(request, run), "problem": str(error)}
        return render(request, "gallery/import.html", context, status=409)
    messages.success(request, sentence)
    return redirect(run)


def own_run(request: LoggedIn, uuid: UUID) -> ImportRun:
    """Return the run if it is the viewer's, who may be a superuser; else it is not there."""
    return get_object_or_404(ledger.visible_to(request.user), uuid=uuid)


def _start(form: ImportForm, request: LoggedIn) -> ImportRun:
    if not form.is_valid():
        raise ImportInvalid(problems(form))
    said = form.cleaned_data
    defaults = Description(tags=said["tags"], album=said["album"], visibility=said["visibility"])
    is_dry_run = said["is_dry_run"]
    if file := said["file"]:
        return starting.from_file(
            file, file.name or "", request.user, defaults=defaults, is_dry_run=is_dry_run
        )
    urls = said["urls"].splitlines()
    return starting.from_urls(urls, request.user, defaults=defaults, is_dry_run=is_dry_run)


def _pause(run: ImportRun) -> str:
    ledger.pause(run)
    return "Paused. What is in progress is finished, the rest waits."


def _resume(run: ImportRun) -> str:
    ledger.resume(run, is_unattended=True)
    return "It goes on."


def _retry(run: ImportRun) -> str:
    n = ledger.retry_failed(run, is_unattended=True)
    return f"{n:,} item{'' if n == 1 else 's'} will be tried again."


def _undo(run: ImportRun) -> str:
    ledger.undo(run)
    return "The images of this import are being removed."


_DOINGS: dict[str, Callable[[ImportRun], str]] = {
    "pause": _pause,
    "resume": _resume,
    "retry": _retry,
    "undo": _undo,
}


def _context(request: LoggedIn, run: ImportRun) -> dict[str, Any]:
    far = ledger.progress(run)
    state = _state(request)
    left_alone = ledger.is_left_alone(run)
    stands_still = ledger.stands_still(run)
    return {
        "run": run,
        "progress": far,
        "notice": records.notice(run),
        "phase": _phase(run, is_left_alone=left_alone),
        "is_active": run.state in ledger.ACTIVE,
        "is_working": run.state in ledger.BRINGS_IN,
        "is_left_alone": left_alone,
        "may_resume": stands_still,
        "may_retry": bool(far.by_state[ItemState.FAILED])
        and not stands_still
        and run.state not in (RunState.UNDOING, RunState.UNDONE),
        "may_undo": not run.is_dry_run and run.state not in (RunState.UNDOING, RunState.UNDONE),
        "tabs": _tabs(run, far, state),
        "state": state,
    }


def _phase(run: ImportRun, *, is_left_alone: bool) -> str:
    """Return what the buttons depend on: waiting and running are one."""
    if is_left_alone:
        return "alone"
    return RunState.RUNNING if run.state == RunState.WAITING else RunState(run.state)


def _tabs(run: ImportRun, far: ledger.Progress, current: str) -> list[Tab]:
    address = run.get_absolute_url()
    tabs = [Tab("", "All", far.total, address, not current)]
    return tabs + [
        Tab(state, _label(run, state), far.by_state[state], f"{address}?state={state}",
            current == state)
        for state in SHOWN_STATES
        if far.by_state[state] or state == current
    ]  # fmt: skip


def _label(run: ImportRun, state: ItemState) -> str:
    return "Would be new" if run.is_dry_run and state == ItemState.NEW else str(state.label)


def _items(request: LoggedIn, run: ImportRun) -> dict[str, Any]:
    """Return a page of items with the addresses of the one before and the one after."""
    asked = _page(request)
    state = _state(request)
    page = paging.page(run, state=state, after=asked.get("after"), before=asked.get("before"))

    def address(**key: int | None) -> str:
        wanted = {"state": state, **key}
        query = urlencode({name: value for name, value in wanted.items() if value})
        return f"{reverse('import', args=[run.uuid])}?{query}"

    return {
        "rows": page.items,
        "is_first": asked.get("after") is None and asked.get("before") is None,
        "first": address(),
        "previous": page.previous and address(before=page.previous),
        "next": page.next and address(after=page.next),
    }


def _page(request: LoggedIn) -> dict[str, Any]:
    form = PageForm(request.GET)
    return form.cleaned_data if form.is_valid() else {}


def _state(request: LoggedIn) -> str:
    state = request.GET.get("state", "")
    return state if state in ItemState.values else ""
