from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from embeddings.errors import TrainingFailed
from embeddings.training import state
from embeddings.training.loop import STATE, Training
from embeddings.training.run import Run
from tests.embeddings.trainer import PROGRAM, course

ROOT = Path(__file__).resolve().parents[2]


class Died(Exception):
    pass


def weights(training_folder: Path) -> dict[str, torch.Tensor]:
    tensors, _ = state.read(training_folder / STATE)
    return {name: tensor for name, tensor in tensors.items() if name.startswith("learner/")}


def assert_equal(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    assert some.keys() == others.keys()
    assert [name for name in some if not torch.equal(some[name], others[name])] == []


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("uninterrupted")
    list(Training(course(folder), folder).epochs())
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("last_step", [0, 1, 7, 26])
def test_a_training_that_died_at_a_step_ends_with_the_same_bits(tmp_path, uninterrupted, last_step):
    dying = course(tmp_path, save_seconds=0)
    batch_of, asked = dying.data.batch, iter(range(last_step))

    def batch_or_death(chosen, random):
        if next(asked, None) is None:
            raise Died
        return batch_of(chosen, random)

    object.__setattr__(dying.data, "batch", batch_or_death)
    with pytest.raises(Died):
        list(Training(dying, tmp_path).epochs())
    list(Training(course(tmp_path), tmp_path).epochs())
    assert_equal(weights(tmp_path), weights(uninterrupted))


@pytest.mark.slow
def test_a_process_that_is_killed_is_gone_on_with_to_the_same_bits(tmp_path, uninterrupted):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in killed.stdout:
        if line.strip() == "3":
            killed.send_signal(signal.SIGKILL)
            break
    killed.stdout.close()
    assert killed.wait() == -signal.SIGKILL
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=120)
    assert_equal(weights(tmp_path), weights(uninterrupted))


def test_the_log_of_a_training_that_was_taken_up_has_each_epoch_once(uninterrupted):
    rows = (uninterrupted / "log.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == [str(k) for k in range(len(rows))]


def test_a_file_of_tensors_is_replaced_whole(tmp_path):
    path = tmp_path / "state.safetensors"
    state.write(path, {"a": torch.ones(2)}, {"step": 1})
    (tmp_path / "state.safetensors.new").write_bytes(b"half of a file of a process that was killed")
    tensors, record = state.read(path)
    assert (tensors["a"].tolist(), record) == ([1.0, 1.0], {"step": 1})


def test_a_damaged_state_is_told_and_not_learnt_from(tmp_path):
    path = tmp_path / "state.safetensors"
    state.write(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(TrainingFailed, match="damaged"):
        state.read(path)


def test_two_processes_do_not_train_into_one_folder(tmp_path):
    run = Run(tmp_path / "encoder")
    run.folder.mkdir()
    other = os.open(run.folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(TrainingFailed, match="Another process"), run.held({}, restart=False):
        pass
    os.close(other)


def test_a_run_is_gone_on_with_by_the_same_options_only(tmp_path):
    run = Run(tmp_path / "encoder")
    with run.held({"seed": 7}, restart=False) as goes_on:
        assert not goes_on
    with run.held({"seed": 0}, restart=False) as goes_on:
        assert not goes_on  # nothing was read or learnt: nothing is lost
        (run.folder / STATE).write_text("dear")
    with run.held({"seed": 0}, restart=False) as goes_on:
        assert goes_on
    with pytest.raises(TrainingFailed, match="seed"), run.held({"seed": 1}, restart=False):
        pass
    with run.held({"seed": 1}, restart=True) as goes_on:
        assert not goes_on
        assert not (run.folder / STATE).exists()


def test_what_is_read_of_private_images_is_for_nobody_else(tmp_path):
    run = Run(tmp_path / "encoder")
    with run.held({}, restart=False):
        assert run.folder.stat().st_mode & 0o777 == 0o700
        run.publish(lambda folder: (folder / "weights").write_text("all") and None)
    (tmp_path / "any").mkdir()
    assert run.output.stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize("is_made", [True, False])
def test_a_folder_of_somebody_else_is_never_emptied(tmp_path, is_made):
    run = Run(tmp_path / "cats")
    run.folder.mkdir()
    (run.folder / "tom.jpg").write_text("dear")
    if is_made:
        run.output.mkdir()
        (run.output / "weights").write_text("all")
    with (
        pytest.raises(TrainingFailed, match=r"holds something else \(tom.jpg\)"),
        run.held({}, restart=True),
    ):
        pass
    assert (run.folder / "tom.jpg").read_text() == "dear"


def test_a_process_that_dies_clearing_up_leaves_nothing_behind_the_next_one(tmp_path, monkeypatch):
    run = Run(tmp_path / "encoder")
    real = state.sync_folder

    def die_after_renaming(folder):
        if folder == tmp_path and run.output.exists():
            raise Died
        real(folder)

    monkeypatch.setattr(state, "sync_folder", die_after_renaming)
    with run.held({}, restart=False):
        (run.folder / STATE).write_text("learnt")
        with pytest.raises(Died):
            run.publish(lambda folder: (folder / "weights").write_text("all") and None)
    monkeypatch.undo()
    with pytest.raises(TrainingFailed, match="there already"), run.held({}, restart=False):
        pass
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["weights"]


def test_a_full_disk_is_told_and_what_was_saved_before_stays(tmp_path):
    path = tmp_path / "state.safetensors"
    state.write(path, {"a": torch.ones(2)}, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(TrainingFailed, match="the same command goes on"):
            state.write(path, {"a": torch.ones(100_000)}, {"step": 2})
        with pytest.raises(TrainingFailed, match="the same command goes on"):
            state.replace(tmp_path / "log.csv", bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert state.read(path)[1] == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]


def test_what_is_published_is_there_whole_and_the_run_is_gone(tmp_path):
    run = Run(tmp_path / "encoder")
    with run.held({}, restart=False):
        with pytest.raises(Died):
            run.publish(_die_half_way)
        assert not run.output.exists()
        run.publish(lambda folder: (folder / "weights").write_text("all") and None)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["weights"]


def test_an_encoder_that_is_there_is_never_written_over(tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "weights").write_text("dear")
    with (
        pytest.raises(TrainingFailed, match="there already"),
        Run(tmp_path / "encoder").held({}, restart=True),
    ):
        pass
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == [
        "encoder",
        "encoder/weights",
    ]


def test_a_run_that_is_under_way_stays_when_something_else_takes_its_place(tmp_path):
    run = Run(tmp_path / "encoder")
    with run.held({}, restart=False):
        (run.folder / STATE).write_text("dear")
    run.output.write_text("something else")
    with pytest.raises(TrainingFailed, match="there already"), run.held({}, restart=False):
        pass
    run.output.unlink()
    with run.held({}, restart=False) as goes_on:
        assert goes_on
        assert (run.folder / STATE).read_text() == "dear"


def _die_half_way(folder: Path) -> None:
    (folder / "weights").write_text("half")
    raise Died
