"""docker-compose.yml cannot be run everywhere the tests are, so it is read closely instead."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher import redis
from searchsite.environment import Environment

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}

# What a container reads that is no setting of ours.
FOREIGN = {
    *("OMP_NUM_THREADS", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
}

each_service = pytest.mark.parametrize("name", SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def test_it_follows_the_compose_specification():
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", ROOT / "docker-compose.yml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_has_every_process_of_the_production_shape():
    assert set(SERVICES) == {"postgres", "redis", "migrate", "web", "worker", "upkeep", "beat"}


@each_service
def test_a_service_waits_only_for_services_that_can_satisfy_it(name: str):
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        service = SERVICES[other]
        if wanted["condition"] == "service_healthy":
            assert "test" in service["healthcheck"]
        else:
            assert wanted["condition"] == "service_completed_successfully"
            assert service["restart"] == "no"


@pytest.mark.parametrize("name", ["web", "worker", "upkeep", "beat"])
def test_what_needs_the_tables_waits_for_them(name: str):
    assert SERVICES[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


@each_service
def test_volumes_and_networks_are_declared(name: str):
    for volume in SERVICES[name].get("volumes", []):
        assert volume.split(":")[0] in COMPOSE["volumes"]
    assert set(SERVICES[name]["networks"]) <= set(COMPOSE["networks"])


def test_files_and_snapshots_are_shared_and_nothing_else_is_kept_in_a_container():
    for service in OURS.values():
        assert service["volumes"] == ["data:/data"]
        assert service["read_only"] is True


def test_only_the_web_server_is_reached_from_outside():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["web"]
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["inside"]


def test_its_redis_is_full_in_the_way_of_the_embedded_one():
    command = SERVICES["redis"]["command"]
    policy = command[command.index("--maxmemory-policy") + 1]
    assert policy == redis.SETTINGS["maxmemory-policy"]


@each_service
def test_nobody_gains_privileges(name: str):
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


@each_of_ours
def test_its_variables_are_settings(name: str):
    assert set(SERVICES[name]["environment"]) <= set(Environment.model_fields) | FOREIGN


def test_every_variable_of_the_env_file_is_explained_and_used():
    explained = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert explained == used


@pytest.mark.parametrize("name", ["SECRET_KEY", "POSTGRES_PASSWORD", "ALLOWED_HOSTS"])
def test_a_secret_has_no_default(name: str):
    uses = re.findall(rf"\$\{{{name}(.*?)\}}", TEXT)
    assert uses
    assert all(use.startswith(":?") for use in uses)


def test_pgvector_is_free_of_the_overflow_mended_in_0_8_7():
    found = re.fullmatch(
        r"pgvector/pgvector:(\d+)\.(\d+)\.(\d+)-pg\d+", SERVICES["postgres"]["image"]
    )
    assert found
    assert tuple(map(int, found.groups())) >= (0, 8, 7)


def test_commands_are_those_of_the_image():
    assert SERVICES["worker"]["command"][0] == SERVICES["beat"]["command"][0] == "celery"
    assert "--pool=solo" in SERVICES["worker"]["command"]
    assert SERVICES["migrate"]["command"][:2] == ["python", "manage.py"]


def test_the_image_does_not_run_as_root_and_takes_torch_without_cuda():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (\w+)$", dockerfile, re.MULTILINE) == ["semblance"]
    assert "ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu" in dockerfile


def test_the_image_has_every_folder_that_the_site_imports():
    ignored = set((ROOT / ".dockerignore").read_text().split())
    for folder in ("searchsite", "gallery", "embeddings", "launcher", "templates", "static"):
        assert f"{folder}/" not in ignored
