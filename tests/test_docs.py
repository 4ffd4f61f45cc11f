"""What a newcomer reads is true: every setting, command, address and make target is described."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from searchsite.environment import Environment

ROOT = Path(__file__).resolve().parent.parent
DOCS = {file.name: file.read_text() for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]}
EVERYTHING = "\n".join(DOCS.values())

OWN_COMMANDS = sorted(
    file.stem for file in ROOT.glob("*/management/commands/*.py") if file.stem != "__init__"
)


@pytest.mark.parametrize("name", sorted(Environment.model_fields))
def test_a_setting_is_in_the_table_with_its_default_and_meaning(name):
    field = Environment.model_fields[name]
    (row,) = re.findall(rf"^\| `{name}` \|.*$", DOCS["settings.md"], re.MULTILINE)
    default = field.default
    if isinstance(default, tuple):
        default = ",".join(default)
    if isinstance(default, bool):
        default = str(default).lower()
    assert f"| `{default}` |" in row if str(default) else "| empty |" in row
    assert field.description in row


def test_the_table_has_no_setting_that_is_not_there():
    listed = set(re.findall(r"^\| `([A-Z_]+)` \|", DOCS["settings.md"], re.MULTILINE))
    assert listed == set(Environment.model_fields)


@pytest.mark.parametrize("command", OWN_COMMANDS)
def test_a_command_is_described(command):
    assert re.search(rf"(manage\.py|bin/manage) {command}\b", EVERYTHING)


def test_every_make_target_is_named_for_contributors():
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    missing = [t for t in targets if t != "help" and f"make {t}" not in DOCS["CONTRIBUTING.md"]]
    assert missing == []


@pytest.mark.parametrize("name", sorted(DOCS))
def test_links_between_documents_lead_somewhere(name):
    (file,) = [
        file for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")] if file.name == name
    ]
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", file.read_text())
    assert [target for target in targets if not (file.parent / target).exists()] == []


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:embeddings|gallery|scenes|launcher|searchsite|docs|bench|bin|tests)/[\w./]*)`", EVERYTHING))))  # fmt: skip  # noqa: E501
def test_a_path_that_the_documents_name_exists(path):
    assert (ROOT / path).exists()


def test_every_decision_record_is_short():
    for record in ROOT.glob("docs/decisions/*.md"):
        assert len(record.read_text().splitlines()) <= 25, record.name
