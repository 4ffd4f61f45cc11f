"""Auto tags: the list, the form with its preview, and the review of what they suggest."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from gallery.auto_tags import answers, changes, review
from gallery.auto_tags.answers import Answer
from gallery.auto_tags.preview import Preview, preview
from gallery.auto_tags.review import ReviewOrder, Told
from gallery.errors import AutoTagInvalid, NameTaken, SearchUnavailable
from gallery.forms import problems
from gallery.models import AutoTag, SuggestionState, TagSuggestion
from gallery.views.auto_tag_form import AutoTagForm
from gallery.views.requests import LoggedIn

UNASKED = "unasked"  # the images that are in no state
DONE = {
    Answer.ACCEPT: "accepted: the tag is theirs.",
    Answer.REJECT: "rejected, and not suggested again.",
    Answer.UNDO: "taken back.",
}
ORDERS = {
    ReviewOrder.WORTH: "Most worth answering",
    ReviewOrder.BEST: "Best first",
    ReviewOrder.LATEST: "Latest first",
}


@dataclass(frozen=True)
class Tab:
    """A state with its number of images, as a link that shows only these."""

    state: str
    label: str
    count: int | None
    address: str
    is_current: bool


@dataclass(frozen=True)
class Place:
    """Which images of an auto tag are shown: a state, an order, and how many are passed over."""

    state: str = SuggestionState.OPEN.value  # or UNASKED
    order: ReviewOrder = ReviewOrder.WORTH
    skip: int = 0

    @classmethod
    def read(cls, said: dict[str, str]) -> Place:
        """Return the place that was asked for; what is none is the first."""
        state, order, skip = said.get("state"), said.get("order"), said.get("skip", "")
        return cls(
            state if state in (*SuggestionState.values, UNASKED) else cls.state,
            ReviewOrder(order) if order in list(ReviewOrder) else cls.order,
            int(skip) if skip.isascii() and skip.isdecimal() and len(skip) < 7 else 0,
        )

    def address(self, pk: int) -> str:
        said = {"state": self.state, "order": self.order.value, "skip": self.skip}
        first = Place()
        kept = {name: value for name, value in said.items() if value != getattr(first, name)}
        address = reverse("auto-tag", args=[pk])
        return f"{address}?{urlencode(kept)}" if kept else address


@login_required
@require_safe
def auto_tags_page(request: LoggedIn) -> HttpResponse:
    """The viewer's auto tags, and how good each is."""
    own = request.user.auto_tags.select_related("tag")
    return render(request, "gallery/auto_tags.html", {"told": review.tell(own)})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def new(request: LoggedIn) -> HttpResponse:
    """The form of a new auto tag."""
    form = AutoTagForm(request.POST) if request.method == "POST" else AutoTagForm.empty()
    if request.method != "POST" or not form.is_valid() or "preview" in request.POST:
        return _form_page(request, form)
    try:
        auto_tag = changes.make(request.user, form.cleaned_data["name"], form.setting())
    except (NameTaken, AutoTagInvalid) as error:
        form.add_error("name", str(error))
        return _form_page(request, form)
    messages.success(request, f"“{auto_tag}” is kept. Images are compared with it now.")
    return redirect("auto-tag", pk=auto_tag.pk)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: LoggedIn, pk: int) -> HttpResponse:
    """The form of an auto tag; its name stays."""
    auto_tag = own_auto_tag(request, pk)
    if request.method != "POST":
        return _form_page(request, AutoTagForm.of(auto_tag), auto_tag)
    said = request.POST.copy()
    said["name"] = auto_tag.tag.name
    form = AutoTagForm(said)
    if not form.is_valid() or "preview" in request.POST:
        return _form_page(request, form, auto_tag)
    try:
        changes.change(auto_tag, form.setting())
    except AutoTag.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, "Saved. Images are compared with it anew.")
    return redirect("auto-tag", pk=auto_tag.pk)


@login_required
@require_POST
def preview_part(request: LoggedIn) -> HttpResponse:
    """What the form, as it is filled in now, would find: a part of its page."""
    written = request.POST.get("auto_tag", "")
    is_number = written.isdecimal() and len(written) < 19
    auto_tag = own_auto_tag(request, int(written)) if is_number else None
    said = request.POST.copy()
    if not said.get("name", "").strip() and not said.get("prompts", "").strip():
        return render(request, "gallery/_auto_tag_preview.html", {})
    said["name"] = said.get("name", "").strip() or "tag"  # it needs none to be looked at
    form = AutoTagForm(said)
    # While somebody types, what is not valid yet is no error.
    return render(request, "gallery/_auto_tag_preview.html", _preview_of(request, form, auto_tag))


@login_required
@require_POST
def delete(request: LoggedIn, pk: int) -> HttpResponse:
    auto_tag = own_auto_tag(request, pk)
    if request.POST.get("leave_tags"):
        changes.delete_leaving_tags(auto_tag)
    else:
        changes.delete(auto_tag)
    messages.success(request, f"The auto tag “{auto_tag}” is deleted.")
    return redirect("auto-tags")


@login_required
@require_safe
def review_page(request: LoggedIn, pk: int) -> HttpResponse:
    """Some images of an auto tag in one state, to answer."""
    auto_tag = own_auto_tag(request, pk)
    place = Place.read(request.GET.dict())
    (told,) = review.tell([auto_tag])
    listed = _listed(auto_tag, place)
    following = Place(place.state, place.order, place.skip + review.AT_ONCE)
    context = {
        "told": told,
        "place": place,
        "suggestions": listed[: review.AT_ONCE],
        "tabs": _tabs(told, place),
        "orders": ORDERS if place.state in (SuggestionState.OPEN, SuggestionState.APPLIED) else {},
        "is_answered": place.state in (SuggestionState.ACCEPTED, SuggestionState.REJECTED),
        "first": Place(place.state, place.order).address(pk),
        "next": following.address(pk) if len(listed) > review.AT_ONCE else "",
    }  # fmt: skip
    return render(request, "gallery/auto_tag.html", context)


@login_required
@require_POST
def answer(request: LoggedIn, pk: int) -> HttpResponse:
    """Answer for the chosen images, and go on where the reader was."""
    auto_tag = own_auto_tag(request, pk)
    place = Place.read(request.POST.dict())
    said = request.POST.get("answer", "")
    chosen = _uuids(request.POST.getlist("image"))
    if said not in list(Answer) or not chosen:
        messages.warning(request, "Choose images first, then what to say of them.")
        return redirect(place.address(pk))
    try:
        n = answers.give(auto_tag, Answer(said), chosen, by=request.user.pk)
    except AutoTag.DoesNotExist as error:
        raise Http404 from error
    except AutoTagInvalid as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{n:,} image{'' if n == 1 else 's'} {DONE[Answer(said)]}")
    if request.POST.get("from") == "image":
        return redirect("image", uuid=chosen[0])
    return redirect(place.address(pk))


def own_auto_tag(request: LoggedIn, pk: int) -> AutoTag:
    return get_object_or_404(request.user.auto_tags.select_related("tag"), pk=pk)


def _form_page(
    request: LoggedIn, form: AutoTagForm, auto_tag: AutoTag | None = None
) -> HttpResponse:
    context: dict[str, object] = {"form": form, "auto_tag": auto_tag}
    if form.is_bound or auto_tag is not None:
        bound = form if form.is_bound else AutoTagForm(form.initial)
        context |= _preview_of(request, bound, auto_tag)
    status = 400 if form.is_bound and form.errors else 200
    return render(request, "gallery/auto_tag_form.html", context, status=status)


def _preview_of(
    request: LoggedIn, form: AutoTagForm, auto_tag: AutoTag | None
) -> dict[str, Preview | str]:
    if not form.is_valid():
        return {"unavailable": problems(form)}
    try:
        return {"preview": preview(request.user, form.setting(), auto_tag)}
    except SearchUnavailable as error:
        return {"unavailable": str(error)}


def _listed(auto_tag: AutoTag, place: Place) -> list[TagSuggestion]:
    """Return the images of a page, and one more where there is one."""
    n = review.AT_ONCE + 1
    if place.state == UNASKED:
        return review.unasked(auto_tag, skip=place.skip, n=n)
    rows = review.suggestions(auto_tag, SuggestionState(place.state), place.order)
    return list(rows[place.skip : place.skip + n])


def _tabs(told: Told, place: Place) -> list[Tab]:
    pk = told.auto_tag.pk
    tabs = [
        Tab(state, str(state.label), told.counts[state], Place(state.value).address(pk),
            state == place.state)
        for state in SuggestionState
    ]  # fmt: skip
    unasked = Tab(UNASKED, "Others", None, Place(UNASKED).address(pk), place.state == UNASKED)
    return [*tabs, unasked]


def _uuids(written: list[str]) -> list[UUID]:
    """Return the ids of images; what is none names no image."""
    found = []
    for one in written[: answers.MOST_AT_ONCE]:
        try:
            found.append(UUID(one))
        except ValueError:
            continue
    return found
