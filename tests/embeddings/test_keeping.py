"""Folders that are there whole or not at all, with files that cost nothing to make."""

from __future__ import annotations

import errno
import os
import threading
import time

import pytest

from embeddings.encoders import keeping
from embeddings.encoders.keeping import FolderBroken, Kept

LONG_AGO = time.time() - keeping.UNUSED_SECONDS - 1


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "encoder-1"


def write(part):
    (part / "one").write_text("content")
    (part / "two").write_text("more")


def found(folder, write=write, broken=None):
    return keeping.find(folder, Kept.read, write, broken=broken)


def test_it_is_made_once_however_many_ask(folder):
    made = []

    def slowly(part):
        made.append(part)
        time.sleep(0.1)
        write(part)

    asking = [threading.Thread(target=found, args=(folder, slowly)) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert len(made) == 1
    assert found(folder).is_whole()


def test_a_disk_that_is_full_in_the_middle_leaves_nothing(folder):
    def fail(part):
        write(part)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        found(folder, fail)
    assert [file.name for file in folder.parent.iterdir()] == ["encoder-1.lock"]
    assert found(folder).file("one").read_text() == "content"


@pytest.mark.parametrize("said", ["{}", '{"one": "ab"}', '{"two": 3}'])
def test_hashes_that_are_not_those_of_its_files_are_noticed_and_all_is_made_anew(folder, said):
    found(folder)
    (folder / "sha256.json").write_text(said)
    broken = found(folder)
    for read in (broken.file, broken.content):
        with pytest.raises(FolderBroken):
            read("one")
    mended = found(folder, broken=broken)
    assert mended.file("one").read_text() == mended.content("one").decode() == "content"


@pytest.mark.parametrize("said", ["", "[]", "null", "{"])
def test_a_folder_whose_hashes_cannot_be_read_is_made_anew(folder, said):
    found(folder)
    (folder / "one").write_text("damaged")
    (folder / "sha256.json").write_text(said)
    with pytest.raises(FolderBroken):
        Kept.read(folder)
    assert found(folder).content("one") == b"content"


def test_of_two_who_find_it_damaged_the_second_takes_what_the_first_has_made(folder):
    broken = found(folder)
    (folder / "one").unlink()
    mended = found(folder, broken=broken)
    assert found(folder, pytest.fail, broken=broken) == mended


def test_what_was_left_by_a_killed_process_goes_and_what_is_made_beside_it_stays(folder):
    folder.parent.mkdir()
    left = folder.with_name(f"{folder.name}.{'0' * 32}.part")
    beside = folder.with_name(f"{folder.name}.text-int8.{'0' * 32}.part")
    for one in (left, beside):
        one.mkdir()
    found(folder)
    assert (left.exists(), beside.exists()) == (False, True)


def test_what_nobody_has_opened_for_long_goes_when_another_is_made(folder):
    names = ("unused", "used", "others")
    unused, used, others = (folder.with_name(name) for name in names)
    found(unused)
    found(used)
    others.mkdir()
    for one in (unused, used, others):
        os.utime(one, (LONG_AGO, LONG_AGO))
    found(used)
    assert unused.exists()
    found(folder)
    there = {one.name for one in folder.parent.iterdir() if one.is_dir()}
    assert there == {"used", "others", folder.name}


def write_with_weights(part):
    write(part)
    (part / "one.data").write_bytes(b"1234")


def test_weights_are_proved_while_their_file_is_opened(folder):
    kept = found(folder, write_with_weights)
    assert kept.opened("one", lambda path: path.read_text()) == "content"


@pytest.mark.parametrize("harm", [b"1235", b"123", None])
def test_what_was_opened_with_damaged_weights_is_never_given_out(folder, harm):
    kept = found(folder, write_with_weights)
    weights = folder / "one.data"
    weights.unlink() if harm is None else weights.write_bytes(harm)

    def refuse(_path):
        raise ValueError("its weights are too few")

    for open_ in (lambda path: path.read_text(), refuse):
        with pytest.raises(FolderBroken, match=r"one\.data"):
            kept.opened("one", open_)
    mended = found(folder, write_with_weights, broken=kept)
    assert mended.opened("one", lambda path: path) == folder / "one"


def test_a_damaged_file_is_not_even_opened(folder):
    kept = found(folder, write_with_weights)
    (folder / "one").write_text("damaged")
    opened = []
    with pytest.raises(FolderBroken, match="one is damaged"):
        kept.opened("one", opened.append)
    assert opened == []


def test_what_cannot_be_opened_though_it_is_whole_says_so_itself(folder):
    kept = found(folder, write_with_weights)
    with pytest.raises(ZeroDivisionError):
        kept.opened("one", lambda _path: 1 / 0)
