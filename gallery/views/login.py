"""The login page."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponseBase
from django_htmx.http import HttpResponseClientRefresh

from gallery.logins import LoginForm


class Login(LoginView):
    template_name = "login.html"
    authentication_form = LoginForm
    redirect_authenticated_user = True

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.headers.get("HX-Request"):
            # A part of a page was asked for after the session ended: load that page anew, which
            # leads here as a whole, and back again.
            return HttpResponseClientRefresh()
        return super().dispatch(request, *args, **kwargs)
