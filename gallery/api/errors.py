"""Whatever goes wrong, the answer is `{"detail": "a sentence"}`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    JsonResponse,
    UnreadablePostError,
)
from django.http.multipartparser import MultiPartParserError
from django.urls import URLPattern, URLResolver, re_path
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.operation import Operation

from gallery.errors import (
    AutoTagInvalid,
    DuplicatesChanged,
    ImageRefused,
    NameTaken,
    QueryInvalid,
    SearchExpired,
    SearchUnavailable,
    StorageUnavailable,
)
from gallery.imports.errors import ImportInvalid, ImportRefused, TooMuchSent
from gallery.models import AutoTag, Image
from gallery.patience import TOO_LONG, took_too_long
from gallery.request_limits import RequestLimit, files_bytes, limited, source_bytes
from gallery.uploads import errors as uploads
from gallery.videos.intake import VideosBusy

log = logging.getLogger(__name__)

View = Callable[..., HttpResponse]

NOT_HERE = "There is nothing of this id here, or you may not see it."
# The whole video is sent again before the answer comes: that is not to be done all the time.
VIDEO_RETRY_SECONDS = "60"

STATUS_BY_ERROR: dict[type[Exception], int] = {
    QueryInvalid: 400,
    AutoTagInvalid: 400,
    ImageRefused: 422,
    NameTaken: 409,
    DuplicatesChanged: 409,
    ImportInvalid: 400,
    ImportRefused: 409,
    TooMuchSent: 429,
    SearchExpired: 410,
    SearchUnavailable: 503,
    uploads.UploadInvalid: 400,
    uploads.UploadMissing: 404,
    uploads.UploadConflict: 409,
    uploads.UploadGone: 410,
    uploads.UploadTooLarge: 413,
    uploads.TooMuchUnfinished: 429,
    StorageUnavailable: 503,
}
SENTENCE_BY_ERROR: dict[type[Exception], tuple[int, str]] = {
    Http404: (404, NOT_HERE),
    # Deleted while the request ran.
    Image.DoesNotExist: (404, NOT_HERE),
    AutoTag.DoesNotExist: (404, NOT_HERE),
    MultiPartParserError: (400, "The form of the request cannot be read."),
    UnreadablePostError: (400, "The request ended before all of it was here."),
    SuspiciousOperation: (400, "The request has too many files or fields."),
    RequestDataTooBig: (413, "The request is too large."),
    OperationalError: (503, "The database does not answer."),
    InterfaceError: (503, "The database does not answer."),
    Exception: (500, "Something failed on the server; its log tells what."),
}


class JsonAPI(NinjaAPI):
    """A NinjaAPI whose every error, unknown addresses and methods too, is a JSON sentence."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for error in STATUS_BY_ERROR:
            self.exception_handler(error)(_own_sentence)
        for error in SENTENCE_BY_ERROR:
            self.exception_handler(error)(_sentence_for)
        self.exception_handler(HttpError)(_http_error)
        self.exception_handler(AuthenticationError)(_not_authenticated)
        self.exception_handler(ValidationError)(_invalid)

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__  # names for generated clients; ninja's name modules

    @property
    def urls(self) -> tuple[list[URLResolver | URLPattern], str, str]:
        patterns, app_name, namespace = super().urls
        for pattern in patterns:
            if isinstance(pattern, URLPattern):
                pattern.callback = _with_sentence_for_methods(pattern.callback)
        return [*patterns, re_path("", _unknown_address)], app_name, namespace


def answer(status: int, sentence: str) -> JsonResponse:
    return JsonResponse({"detail": sentence}, status=status)


def _refuse_size(request: HttpRequest, status: int, sentence: str) -> HttpResponse:
    return answer(status, sentence)


def _most_bytes() -> int:
    return max(files_bytes(), source_bytes())


# Of all operations together: with a session, the CSRF token is looked for beside a form's files.
_limited = limited(RequestLimit(users=_most_bytes, visitors=_most_bytes, refuse=_refuse_size))


def _own_sentence(request: HttpRequest, error: Exception) -> HttpResponse:
    known = next(kind for kind in type(error).__mro__ if kind in STATUS_BY_ERROR)
    response = answer(STATUS_BY_ERROR[known], str(error))
    if isinstance(error, VideosBusy):
        response["Retry-After"] = VIDEO_RETRY_SECONDS
    return response


def _sentence_for(request: HttpRequest, error: Exception) -> HttpResponse:
    if took_too_long(error):
        return answer(400, TOO_LONG)
    known = next(kind for kind in type(error).__mro__ if kind in SENTENCE_BY_ERROR)
    status, sentence = SENTENCE_BY_ERROR[known]
    if status >= 500:
        log.exception("%s %s failed", request.method, request.path, exc_info=error)
    if status == 500:
        got_request_exception.send(sender=JsonAPI, request=request)
    return answer(status, sentence)


def _http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    return answer(error.status_code, f"{error.message.rstrip('.')}.")  # ninja's have no full stop


def _not_authenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    sentence = error.message
    if sentence == "Unauthorized":  # ninja's word when nobody in the list knew who it is
        sentence = "Log in, or send an API token as Authorization: Bearer TOKEN."
    response = answer(401, sentence)
    response["WWW-Authenticate"] = "Bearer"
    return response


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    return answer(400, " ".join(_problem(problem) for problem in error.errors))


def _problem(problem: dict[str, Any]) -> str:
    names = [part for part in problem["loc"] if isinstance(part, str)]
    if problem["type"] == "missing":
        return f"{names[-1]} is missing."
    message = problem["msg"]
    return f"{names[-1]} is wrong: {message[:1].lower()}{message[1:].rstrip('.')}."


@_limited
@csrf_exempt
def _unknown_address(request: HttpRequest, **parts: str) -> HttpResponse:
    return answer(404, "There is no such address in this API; see /api/v1/docs.")


def _with_sentence_for_methods(view: View) -> View:
    @_limited
    @csrf_exempt
    @functools.wraps(view)
    def wrapped(request: HttpRequest, **parts: Any) -> HttpResponse:
        response = view(request, **parts)
        if not isinstance(response, HttpResponseNotAllowed):
            return response
        refusal = answer(405, f"This address does not take {request.method}.")
        refusal["Allow"] = response["Allow"]
        return refusal

    return wrapped
