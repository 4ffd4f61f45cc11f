from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from searchsite import environment
from searchsite.setting_values import celery_broker_url

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_IMAGE_MEGABYTES", "many"),
        ("MAX_IMAGE_MEGABYTES", "0"),
        ("PUBLIC_SEARCH", "perhaps"),
        ("INDEX_POLL_SECONDS", "-1"),
        ("ENCODER_PRECISION", "int3"),
        ("DEFAULT_VISIBILITY", "friends"),
        ("TIME_ZONE", "Europe/Atlantis"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("REDIS_URL", "localhost:6379"),
        ("DOWNLOAD_PORTS", "80,http"),
        ("REFERENCED_FOLDERS", "photos"),
        ("REFERENCED_ENDPOINTS", "minio.example.org"),
        ("STORAGE_URL", "ftp://host/files"),
        ("MEDIA_CDN_URL", "cdn.example.org"),
    ],
)
def test_a_wrong_setting_is_a_sentence_that_names_it(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=rf"^{name} is wrong: .*{value}"):
        environment.read()


def test_lists_are_written_with_commas(monkeypatch):
    monkeypatch.setenv("ALLOWED_HOSTS", "one.example.org, two.example.org,")
    monkeypatch.setenv("REFERENCED_FOLDERS", "/srv/photos,/mnt/more")
    monkeypatch.setenv("REFERENCED_ENDPOINTS", "http://Minio:9000/, https://s3.example.org")
    read = environment.read()
    assert read.ALLOWED_HOSTS == ("one.example.org", "two.example.org")
    assert read.REFERENCED_FOLDERS == ("/srv/photos", "/mnt/more")
    assert read.REFERENCED_ENDPOINTS == ("http://minio:9000", "https://s3.example.org")


def test_several_wrong_settings_are_told_at_once(monkeypatch):
    monkeypatch.setenv("ENCODER_BATCH", "x")
    monkeypatch.setenv("JOB_MAX_ATTEMPTS", "0")
    with pytest.raises(ImproperlyConfigured, match=r"ENCODER_BATCH.*JOB_MAX_ATTEMPTS"):
        environment.read()


def test_a_secret_is_never_told(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "mysql://ann:hunter2@localhost/x")
    with pytest.raises(ImproperlyConfigured) as raised:
        environment.read()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL", "REDIS_URL"])
def test_the_server_does_not_start_without_what_it_must_have(name):
    done = subprocess.run(
        [sys.executable, "-c", "import searchsite.settings"],
        cwd=ROOT, env=os.environ | {name: ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{name} is not set" in done.stderr


@pytest.mark.parametrize(
    ("redis_url", "broker"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix:///run/redis.sock?db=0", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock"),
    ],
)
def test_the_broker_is_the_same_redis(redis_url, broker):
    assert celery_broker_url(redis_url) == broker
