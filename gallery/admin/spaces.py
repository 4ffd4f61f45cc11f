"""Encoders: how far their spaces are filled, both side by side, switching, retiring."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST, require_safe

from embeddings.admin import SpaceAdmin
from embeddings.errors import EmbeddingsError
from embeddings.models import Space
from gallery import spaces
from gallery.errors import GalleryError, SpaceRefused
from gallery.switching import comparing, questions, records, steps
from gallery.switching.comparing import DEPTH, Comparison
from gallery.switching.progress import (
    Cost,
    Progress,
    cost_of,
    is_lacking,
    lack_of,
    progress,
)
from gallery.switching.questions import Origin

STOP_POLLING = 286  # as htmx has it
QUERIES_AT_ONCE = 12
MANY = 100_000  # images, of which to count the vectors is felt
LIST = "admin:embeddings_space_changelist"


@dataclass(frozen=True, kw_only=True)
class ShownSpace:
    """A space as the page shows it."""

    space: Space
    state: str
    notice: str
    progress: Progress
    is_lacking: bool
    cost: Cost

    @classmethod
    def of(cls, space: Space) -> ShownSpace:
        known = progress(space)
        return cls(
            space=space,
            state=records.state_of(space, known),
            notice=records.notice_of(space, known),
            progress=known,
            is_lacking=space.state != Space.State.RETIRED and is_lacking(space),
            cost=cost_of(space, known),
        )

    @property
    def is_moving(self) -> bool:
        """Whether its figures change by themselves, and soon."""
        return self.state in ("opening", "filling", "catching up", "being removed")

    @property
    def is_beside(self) -> bool:
        return self.space.state == Space.State.FILLING

    @property
    def may_be_retired(self) -> bool:
        return self.space.is_prepared and (self.is_beside or not self.space.retired_at)

    @property
    def poll_seconds(self) -> int:
        """Return after how long its figures are asked for again: many take long to be counted."""
        return 2 if max(count.total for count in self.progress.counts) < MANY else 10

    @property
    def lack_sentence(self) -> str:
        return lack_of(self.space).sentence(self.space)

    @property
    def phase(self) -> str:
        """Return what its buttons depend on."""
        return f"{self.state}{self.is_lacking}".replace(" ", "-")


class FillForm(forms.Form):
    encoder = forms.CharField(max_length=500)


class CompareForm(forms.Form):
    """What to compare by; what cannot be read is as if it were not there."""

    q = forms.CharField(max_length=1000, required=False)
    of = forms.MultipleChoiceField(
        choices=[(one.value, one.value) for one in Origin], required=False
    )
    k = forms.IntegerField(min_value=1, max_value=DEPTH, required=False)


admin.site.unregister(Space)


@admin.register(Space)
class GallerySpaceAdmin(SpaceAdmin):
    """In the place of the plugin's own table, which shows spaces and steers none."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.page), name="embeddings_space_changelist"),
            path("fill", view(require_POST(self.fill)), name="embeddings_space_fill"),
            path("compare", view(require_safe(self.compare)), name="embeddings_space_compare"),
            path(
                "<int:pk>/progress",
                view(require_safe(self.progress)),
                name="embeddings_space_progress",
            ),
            path("<int:pk>/<slug:doing>", view(require_POST(self.do)), name="embeddings_space_do"),
        ]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("embeddings.change_space")

    def page(self, request: HttpRequest, problem: str = "") -> HttpResponse:
        """The page of the encoders."""
        self._check(request, may=self.has_view_permission(request))
        shown = [ShownSpace.of(space) for space in records.all_spaces()]
        former = steps.former()
        context = {
            "title": "Encoders",
            "shown": shown,
            "active": next((one.space for one in shown if one.state == "active"), None),
            "former": former,
            "beside": next((one for one in shown if one.is_beside), None),
            "may_change": self.has_change_permission(request),
            "problem": problem,
            "typed": request.POST.get("encoder", ""),
        }
        return self._rendered(request, "spaces.html", context, status=409 if problem else 200)

    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """The part that is asked for again and again while something moves."""
        self._check(request, may=self.has_view_permission(request))
        space = Space.objects.filter(pk=pk).first()
        if space is None:
            return HttpResponse(headers={"HX-Refresh": "true"})
        one = ShownSpace.of(space)
        status = 200 if one.is_moving else STOP_POLLING
        response = self._rendered(request, "_space_progress.html", {"one": one}, status=status)
        if request.GET.get("phase") != one.phase:
            response.headers["HX-Refresh"] = "true"  # it has other buttons now
        return response

    def fill(self, request: HttpRequest) -> HttpResponse:
        self._check(request, may=self.has_change_permission(request))
        form = FillForm(request.POST)
        if not form.is_valid():
            return self.page(request, "Name an encoder: bundled, a folder, or a hub id.")
        return self._done(request, lambda: _fill(form.cleaned_data["encoder"]))

    def do(self, request: HttpRequest, pk: int, doing: str) -> HttpResponse:
        """Pause, resume, switch to, or retire a space."""
        self._check(request, may=self.has_change_permission(request))
        space = get_object_or_404(Space, pk=pk)
        doings: dict[str, Callable[[], str]] = {
            "pause": lambda: _pause(space),
            "resume": lambda: _resume(space),
            "switch": lambda: _switch(space, request),
            "retire": lambda: _retire(space),
        }
        if doing not in doings:
            return HttpResponseRedirect(reverse(LIST))
        return self._done(request, doings[doing])

    def compare(self, request: HttpRequest) -> HttpResponse:
        """Both encoders side by side."""
        # What others asked lately is shown, so that looking alone does not suffice.
        self._check(request, may=self.has_change_permission(request))
        form = CompareForm(request.GET)
        form.is_valid()
        asked = getattr(form, "cleaned_data", {})
        origins = [Origin(one) for one in asked.get("of") or ()]
        text = asked.get("q") or ""
        if not text and not origins:
            origins = list(Origin)
        context: dict[str, Any] = {
            "title": "Compare encoders",
            "text": text,
            "k": asked.get("k") or 6,
            "depth": DEPTH,
            "origins": [(one, one in origins) for one in Origin],
        }
        try:
            context["compared"] = _compared(request, text, origins, context["k"])
            status = 200
        except (GalleryError, EmbeddingsError) as error:
            context["problem"], status = str(error), 409
        return self._rendered(request, "compare.html", context, status=status)

    def _done(self, request: HttpRequest, do: Callable[[], str]) -> HttpResponse:
        try:
            messages.success(request, do())
        except (GalleryError, EmbeddingsError) as error:
            return self.page(request, str(error))
        return HttpResponseRedirect(reverse(LIST))

    def _rendered(
        self, request: HttpRequest, name: str, context: dict[str, Any], *, status: int
    ) -> HttpResponse:
        return TemplateResponse(
            request,
            f"admin/embeddings/space/{name}",
            {**self.admin_site.each_context(request), "opts": self.opts, **context},
            status=status,
        )

    def _check(self, request: HttpRequest, *, may: bool) -> None:
        if not may:
            raise PermissionDenied


def _compared(request: HttpRequest, text: str, origins: list[Origin], k: int) -> Comparison:
    assert request.user.is_authenticated  # the admin lets nobody else in
    other = spaces.beside()
    if other is None:
        raise SpaceRefused("There is no second space to compare the active one with: fill one.")
    asked = questions.of(
        request.user, texts=[text] if text else [], origins=origins, at_most=QUERIES_AT_ONCE
    )
    return comparing.compare(asked, request.user, other=other, k=k)


def _fill(encoder_name: str) -> str:
    space = steps.fill_later(encoder_name)
    if space.state == Space.State.ACTIVE:
        return f"The active one is {space} already."
    if not space.is_prepared:
        return f"A worker opens {space} and fills its space. Searches go on."
    return f"The space of {space} is being filled. Searches go on."


def _pause(space: Space) -> str:
    steps.pause(space)
    return "Paused. Batches in progress are finished, the rest waits, also over a restart."


def _resume(space: Space) -> str:
    steps.resume(space)
    return "It goes on."


def _switch(space: Space, request: HttpRequest) -> str:
    # What the page said when the button was pressed; of two people one is second.
    written = request.POST.get("seen", "")[:18]
    seen = Space.objects.filter(pk=int(written)).first() if written.isdecimal() else None
    done = steps.switch(space, seen=seen, partly="partly" in request.POST)
    return f"Searches use {done.now} from now on. {done.lack.sentence(done.now)}".rstrip()


def _retire(space: Space) -> str:
    steps.retire(space)
    if not space.is_prepared:
        return f"The space of {space} is given up."
    return f"The space of {space} is retired, and removed in the background in two minutes."
