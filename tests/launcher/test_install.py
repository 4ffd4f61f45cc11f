from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.errors import LauncherError
from launcher.install import BASE, Venv, pinned
from launcher.servers import ROOT

SCRIPTS = [*(ROOT / "bin").iterdir(), ROOT / ".ci" / "run"]


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Venv:
    """Of a checkout without requirements, on a machine without network."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / BASE).touch()
    (tmp_path / "requirements-dev.txt").write_text(f"-r {BASE}\n")
    return Venv(tmp_path)


@pytest.fixture
def ready_venv(venv: Venv) -> Venv:
    """One that need not be made: Python and pip are those that run the tests."""
    venv.python.parent.mkdir(parents=True)
    venv.python.symlink_to(sys.executable)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", venv.folder)
    (venv.folder / "lib").symlink_to(Path(sys.prefix) / "lib")
    return venv


@pytest.mark.slow
def test_it_makes_an_environment_once(venv: Venv, capsys: pytest.CaptureFixture[str]):
    venv.install(BASE)
    assert "Making .venv" in capsys.readouterr().out
    assert venv.is_usable()
    venv.install(BASE)
    assert capsys.readouterr().out == ""


def test_other_requirements_are_installed_anew(ready_venv: Venv):
    before = ready_venv.fingerprint("requirements-dev.txt")
    (ready_venv.root / BASE).write_text("# something else\n")
    assert ready_venv.fingerprint("requirements-dev.txt") != before


def test_requirements_that_others_name_are_installed_anew(ready_venv: Venv):
    (ready_venv.root / "requirements-more.txt").write_text("one\n")
    (ready_venv.root / "requirements-dev.txt").write_text("-r requirements-more.txt\n")
    before = ready_venv.fingerprint("requirements-dev.txt")
    (ready_venv.root / "requirements-more.txt").write_text("two\n")
    assert ready_venv.fingerprint("requirements-dev.txt") != before


def test_what_cannot_be_installed_is_told_with_the_end_of_the_log(ready_venv: Venv):
    (ready_venv.root / BASE).write_text("no-such-package-anywhere==1\n")
    with pytest.raises(
        LauncherError, match=r"(?s)Could not install requirements.txt.*no-such-pack"
    ):
        ready_venv.install(BASE)
    assert not list(ready_venv.folder.glob(".installed-*"))


def test_a_python_without_venv_is_told_with_the_remedy(venv: Venv, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LauncherError, match=r"has no venv module.*apt-get install python3-venv"):
        venv.install(BASE)


def test_the_pin_of_torch_is_found_in_the_requirements():
    assert pinned("torch", (ROOT / BASE).read_text()) is not None
    assert pinned("torch", "torchfoo==1\n") is None


def test_a_python_that_is_too_old_is_one_sentence(tmp_path: Path):
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "bin" / "_setup", tmp_path / "bin")
    machine = tmp_path / "machine"
    machine.mkdir()
    for tool in ("bash", "dirname"):
        (machine / tool).symlink_to(str(shutil.which(tool)))
    old = machine / "python3"
    old.write_text('#!/bin/bash\n[[ $1 = --version ]] && echo "Python 3.9.2" || exit 1\n')
    old.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "bin" / "_setup"],
        env={"PATH": str(machine)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "Semblance needs Python 3.11 to 3.14, and here is Python 3.9.2.\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_can_be_run_and_stops_at_the_first_error(script: Path):
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()


def test_shellcheck_finds_nothing():
    if not (shellcheck := shutil.which("shellcheck", path=Path(sys.executable).parent)):
        pytest.skip("shellcheck is not installed")
    checked = subprocess.run([shellcheck, *SCRIPTS], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


def test_importing_the_launcher_brings_in_nothing_heavy():
    program = "import launcher.__main__, sys; print({name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in ("django", "celery", "numpy", "torch", "searchsite"):
        assert f"'{name}'" not in loaded
