"""The first admin of a new gallery: made once, told in a file that only its owner can read."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from django.contrib.auth.models import User
from django.db import connection, transaction

from gallery.errors import GalleryError
from gallery.models import ApiToken

USERNAME = "admin"
LOCK = 0x53_65_6D_62  # any number, the same in every process that makes the first admin


class AdminNotMade(GalleryError):
    """There is no superuser, and none could be made."""


@transaction.atomic
def ensure(file: Path) -> bool:
    """Make the admin and write `file`, if there is no superuser yet. Return whether one was made.

    The file is there before the admin is: a crash between the two leaves a file that the next
    call overwrites, never an admin whose password nobody knows.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    if User.objects.filter(is_superuser=True).exists():
        return False
    if User.objects.filter(username=USERNAME).exists():
        raise AdminNotMade(
            f"There is a user {USERNAME} who is no superuser: make one by manage.py "
            "createsuperuser."
        )
    password = secrets.token_urlsafe(15)
    user = User.objects.create_superuser(USERNAME, password=password)
    token = ApiToken.issue(user, "first token")
    _write_privately(file, f"username={USERNAME}\npassword={password}\ntoken={token}\n")
    return True


def _write_privately(file: Path, text: str) -> None:
    """Write a file of mode 0600, whole or not at all."""
    try:
        descriptor, unfinished = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                opened.write(text)
                opened.flush()
                os.fsync(opened.fileno())
            Path(unfinished).replace(file)
        finally:
            Path(unfinished).unlink(missing_ok=True)
    except OSError as error:
        raise AdminNotMade(f"{file} cannot be written: {error.strerror}.") from error
