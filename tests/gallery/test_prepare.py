from __future__ import annotations

import os
import time

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from embeddings.models import Space
from gallery.models import ApiToken
from tests.rows import make_space, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path):
    return tmp_path / "admin.txt"


@pytest.fixture
def static_root(settings, tmp_path):
    settings.STATIC_ROOT = tmp_path / "static"
    return settings.STATIC_ROOT


def read(file):
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


# create_admin


def test_the_first_admin_can_log_in_and_use_the_token(file):
    call_command("create_admin", file=file)
    told = read(file)
    assert list(told) == ["username", "password", "token"]
    user = authenticate(username=told["username"], password=told["password"])
    assert user is not None
    assert user.is_superuser
    client = Client(headers={"Authorization": f"Bearer {told['token']}"})
    assert client.get("/api/v1/images").status_code == 200


def test_only_its_owner_can_read_the_file(file):
    previous = os.umask(0)
    try:
        call_command("create_admin", file=file)
    finally:
        os.umask(previous)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_second_call_changes_nothing(file):
    call_command("create_admin", file=file)
    before = file.read_text()
    call_command("create_admin", file=file)
    assert file.read_text() == before
    assert User.objects.count() == ApiToken.objects.count() == 1


def test_a_superuser_that_was_made_otherwise_is_enough(file):
    make_user("root", is_superuser=True)
    call_command("create_admin", file=file)
    assert not file.exists()


def test_an_old_file_without_its_admin_is_written_anew(file):
    file.write_text("username=admin\npassword=old\ntoken=old\n")
    file.chmod(0o644)
    call_command("create_admin", file=file)
    assert authenticate(username="admin", password=read(file)["password"])
    assert file.stat().st_mode & 0o777 == 0o600


def test_no_admin_is_made_whose_password_cannot_be_told(tmp_path):
    with pytest.raises(CommandError, match=r"cannot be written: No such file or directory\."):
        call_command("create_admin", file=tmp_path / "nowhere" / "admin.txt")
    assert not User.objects.exists()


def test_a_user_who_has_the_name_already_is_left_alone(file):
    make_user("admin")
    with pytest.raises(CommandError, match="who is no superuser"):
        call_command("create_admin", file=file)
    assert not User.objects.get().is_superuser
    assert not file.exists()


# prepare


def test_it_makes_all_that_a_server_needs(file, static_root):
    call_command("prepare", admin_file=file)
    assert Space.objects.get().state == "active"
    assert User.objects.get().username == "admin"
    assert (static_root / "admin" / "css" / "base.css").is_file()


@pytest.mark.slow
def test_a_second_time_is_quick_and_changes_nothing(file, static_root):
    call_command("prepare", admin_file=file)
    before = file.read_text(), Space.objects.get().pk
    css = static_root / "admin" / "css" / "base.css"
    collected_at = css.stat().st_mtime_ns
    started = time.monotonic()
    call_command("prepare", admin_file=file)
    assert time.monotonic() - started < 15
    assert (file.read_text(), Space.objects.get().pk) == before
    assert css.stat().st_mtime_ns == collected_at


def test_a_changed_static_file_is_collected_again(settings, static_root, tmp_path):
    make_space()
    source = tmp_path / "source"
    source.mkdir()
    settings.STATICFILES_DIRS = [source]
    (source / "page.css").write_text("a {}")
    call_command("prepare")
    (source / "page.css").write_text("a { color: red }")
    call_command("prepare")
    assert (static_root / "page.css").read_text() == "a { color: red }"


def test_without_an_admin_file_no_admin_is_made(static_root):
    make_space()
    call_command("prepare")
    assert not User.objects.exists()


def test_an_encoder_that_cannot_be_had_is_told(settings, static_root):
    settings.ENCODER = "/nowhere/clip"
    with pytest.raises(CommandError, match="There is no encoder folder /nowhere/clip"):
        call_command("prepare")
