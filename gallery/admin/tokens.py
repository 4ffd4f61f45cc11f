"""API tokens: issue, list, revoke."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html

from gallery.models import ApiToken


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin[ApiToken]):
    list_display = ("name", "user", "created_at", "last_used_at")
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    autocomplete_fields = ("user",)
    show_full_result_count = False

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiToken]:
        tokens = super().get_queryset(request)
        return tokens if request.user.is_superuser else tokens.filter(user=request.user.pk)

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        # Whoever could issue a token for another user could act as that user.
        return ("user", "name") if request.user.is_superuser else ("name",)

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        return False  # a token is issued and revoked (deleted), nothing else

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:  # noqa: FBT001
        if not request.user.is_superuser:
            obj.user = User.objects.get(username=request.user.get_username())
        token = ApiToken.issue(obj.user, obj.name)
        issued = ApiToken.objects.get(sha256=ApiToken.sha256_of(token))
        obj.pk = issued.pk  # for the log of the admin
        sentence = "The token of {}, which cannot be shown again: <code>{}</code>"
        self.message_user(request, format_html(sentence, obj.user, token), messages.WARNING)

    def response_add(
        self, request: HttpRequest, obj: ApiToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        return redirect("admin:gallery_apitoken_changelist")
