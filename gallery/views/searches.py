"""Saved searches: a query under a name, seen by its owner alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from gallery import saved_searches as saving
from gallery.errors import NameTaken, QueryInvalid
from gallery.models import SavedSearch
from gallery.query import Query, TextTerm, forms, language
from gallery.views.addresses import Address
from gallery.views.requests import LoggedIn
from gallery.views.search_form import SearchForm


@dataclass(frozen=True)
class Listed:
    pk: int
    name: str
    summary: str


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def saved_searches(request: LoggedIn) -> HttpResponse:
    """The list of the viewer's saved searches; posted to, it saves one more."""
    if request.method != "POST":
        return listed(request)
    written = request.POST.get("search", "")[:20_000]
    name = request.POST.get("name", "")
    try:
        query = query_of(QueryDict(written))
    except QueryInvalid as error:
        return listed(request, str(error))
    try:
        search = saving.save(request.user, name, query)
    except (QueryInvalid, NameTaken) as error:
        return listed(request, str(error), search=written, name=name, may_retry=True)
    messages.success(request, f"“{search.name}” is saved.")
    return redirect("saved-search", pk=search.pk)


@login_required
@require_safe
def saved_search(request: LoggedIn, pk: int) -> HttpResponse:
    """Lead to the search page, where the search is made anew."""
    search = get_object_or_404(request.user.saved_searches, pk=pk)
    try:
        return redirect(str(address_of(search)))
    except QueryInvalid as error:
        return listed(request, str(error))


@login_required
@require_POST
def rename(request: LoggedIn, pk: int) -> HttpResponse:
    search = get_object_or_404(request.user.saved_searches, pk=pk)
    name = request.POST.get("name", "")
    try:
        search = saving.rename(search, name)
    except (QueryInvalid, NameTaken) as error:
        return listed(request, str(error), renamed=search, name=name, may_retry=True)
    messages.success(request, f"It is called “{search.name}” now.")
    return redirect("saved-searches")


@login_required
@require_POST
def delete(request: LoggedIn, pk: int) -> HttpResponse:
    search = get_object_or_404(request.user.saved_searches, pk=pk)
    search.delete()
    messages.success(request, f"“{search.name}” is deleted.")
    return redirect("saved-searches")


def query_of(parameters: QueryDict) -> Query:
    """Return the query of an address. Raise QueryInvalid, also where its image is not kept."""
    form = SearchForm(parameters)
    form.read()
    if form.is_by_image:
        raise QueryInvalid(saving.NO_IMAGE)
    return form.as_query()


def address_of(search: SavedSearch) -> Address:
    """Return a saved search's address. Raise QueryInvalid when it cannot be read any more."""
    return Address.of(forms.to_parameters(saving.query_of(search)))


def listed(request: LoggedIn, problem: str = "", **context: Any) -> HttpResponse:
    found = request.user.saved_searches.all()
    context |= {"saved": [Listed(one.pk, one.name, summary(one)) for one in found]}
    context["problem"] = problem
    return render(request, "gallery/searches.html", context, status=400 if problem else 200)


def summary(search: SavedSearch) -> str:
    """Return what a saved search looks for, in a line."""
    try:
        query = saving.query_of(search)
    except QueryInvalid as error:
        return str(error)
    parts = [*_terms(query)]
    if written := language.write(query.filter):
        parts.append(written)
    return ", ".join(parts)


def _terms(query: Query) -> list[str]:
    texts_ = [term for term in query.terms if isinstance(term, TextTerm)]
    parts = [f"“{term.text}”" if term.weight > 0 else f"without “{term.text}”" for term in texts_]
    if images := len(query.terms) - len(texts_):
        parts.append("like an image" if images == 1 else f"like {images} images")
    for examples, name in ((query.good, "good"), (query.bad, "bad")):
        if examples:
            parts.append(f"{len(examples)} {name} example{'' if len(examples) == 1 else 's'}")
    return parts
