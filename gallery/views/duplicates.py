"""The review of duplicates: groups side by side, and what somebody decides about one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from gallery.duplicates import decisions, forgetting, review
from gallery.duplicates.decisions import Choice
from gallery.duplicates.forgetting import Place
from gallery.errors import DuplicatesChanged, StorageUnavailable
from gallery.views.images import own_image
from gallery.views.requests import LoggedIn

if TYPE_CHECKING:
    from django.contrib.auth.models import User

SENTENCES: dict[str, tuple[Callable[[Choice, User], int], str]] = {
    "keep": (decisions.keep, "All of them stay as they are."),
    "link": (decisions.link, "Searches show one image now; its page lists the versions."),
    "replace": (decisions.replace, "One image stays, with the tags and captions of all."),
    "apart": (decisions.tell_apart, "They are told apart, and not asked about again."),
}


@login_required
@require_safe
def duplicates_page(request: LoggedIn) -> HttpResponse:
    """Some groups, from the one after `after` on."""
    return _page(request)


@login_required
@require_POST
def decide(request: LoggedIn, pk: int) -> HttpResponse:
    """Do what was pressed, and go on where the reader was."""
    done = SENTENCES.get(request.POST.get("decision", ""))
    if done is None:
        return _page(request, "Press one of the buttons below a group.", status=400)
    decision, sentence = done
    try:
        decision(_choice(request, pk), request.user)
    except DuplicatesChanged as error:
        return _page(request, str(error), status=409)
    except StorageUnavailable as error:
        return _page(request, str(error), status=503)
    messages.success(request, sentence)
    after = _after(request.POST.get("after", ""))
    address = reverse("duplicates")
    return redirect(f"{address}?after={after}" if after else address)


@login_required
@require_safe
def verdicts_page(request: LoggedIn) -> HttpResponse:
    """Decisions, the latest first, from those behind `after` on; each can be forgotten."""
    after = Place.read(request.GET.get("after", ""))
    page = forgetting.page(request.user, after)
    context = {"verdicts": page.told, "next": page.next, "after": after}
    return render(request, "gallery/duplicate_verdicts.html", context)


@login_required
@require_POST
def forget(request: LoggedIn, pk: int) -> HttpResponse:
    if forgetting.forget(request.user, pk):
        messages.success(request, "Forgotten: the two are compared again.")
    after = Place.read(request.POST.get("after", ""))
    address = reverse("duplicate-verdicts")
    return redirect(f"{address}?after={after}" if after else address)


@login_required
@require_POST
def unlink(request: LoggedIn, uuid: UUID) -> HttpResponse:
    image = own_image(request.user, uuid)
    decisions.unlink(image, by=request.user.pk)
    messages.success(request, "Searches show it by itself again.")
    return redirect(image)


def _page(request: LoggedIn, problem: str = "", *, status: int = 200) -> HttpResponse:
    groups = review.groups_of(request.user)
    total = groups.count()
    after = _after(request.POST.get("after", "") or request.GET.get("after", ""))
    if after:
        groups = groups.filter(pk__lt=after)
    listed = list(groups[: review.AT_ONCE + 1])
    context = {
        "groups": review.read(listed[: review.AT_ONCE]),
        "total": total,
        "after": after,
        "next": listed[review.AT_ONCE - 1].pk if len(listed) > review.AT_ONCE else None,
        "problem": problem,
    }
    return render(request, "gallery/duplicates.html", context, status=status)


def _after(written: str) -> int:
    """Return the id of a group; 0 for what is none."""
    return int(written) if written.isascii() and written.isdecimal() and len(written) < 19 else 0


def _choice(request: LoggedIn, pk: int) -> Choice:
    """Read the form; ids that are none cannot be of the group."""
    try:
        return Choice(
            group_id=pk,
            seen=frozenset(UUID(written) for written in request.POST.getlist("seen")),
            main=UUID(request.POST.get("main", "")),
            others=frozenset(UUID(written) for written in request.POST.getlist("other"))
            - {UUID(request.POST.get("main", ""))},
        )
    except ValueError:
        raise DuplicatesChanged(decisions.CHANGED) from None
