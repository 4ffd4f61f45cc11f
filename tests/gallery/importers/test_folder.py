from __future__ import annotations

import os
import resource
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from gallery.importers import Item, ItemUnreadable, Skipped, SourceUnreadable, registry
from gallery.importers.folder import Folder
from gallery.trees import beneath


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    root.mkdir()
    return root


def put(root: Path, *paths: str, content: bytes = b"pixels") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def listed(root: Path, **options) -> tuple[dict[str, Item], dict[str, str]]:
    """Return the items of a folder by their keys, and the reasons of what is left out."""
    source = registry.load("folder", {"path": str(root), **options})
    entries = list(source.items())
    items = {entry.key: entry for entry in entries if isinstance(entry, Item)}
    return items, {entry.key: entry.reason for entry in entries if isinstance(entry, Skipped)}


def as_root() -> bool:
    return os.geteuid() == 0


def test_images_are_listed_by_suffix_and_opened_by_key(root):
    put(root, "a.JPG", "b/c.png", "b/deep/d.webp", "notes.txt", "program.py")
    items, skipped = listed(root)
    assert list(items) == ["a.JPG", "b/c.png", "b/deep/d.webp"]
    assert skipped == {}
    assert items["b/c.png"].name == "c.png"
    with Folder(path=str(root)).open("b/deep/d.webp") as file:
        assert file.read() == b"pixels"
        assert file.seek(0) == 0


def test_a_file_that_changes_has_another_version(root):
    put(root, "a.jpg")
    before = listed(root)[0]["a.jpg"].version
    assert listed(root)[0]["a.jpg"].version == before
    put(root, "a.jpg", content=b"others")
    os.utime(root / "a.jpg", ns=(1, 1))
    assert listed(root)[0]["a.jpg"].version != before


def test_what_a_person_may_miss_is_left_out_with_a_reason(root, settings):
    put(root, "film.mp4", "raw.CR2", "drawing.svg", "paper.pdf", "more.zip", "README", "x.json")
    items, skipped = listed(root)
    assert set(items) == {"film.mp4"}
    assert set(skipped) == {"raw.CR2", "drawing.svg", "paper.pdf", "more.zip"}
    settings.VIDEO_FRAMES = "off"
    assert listed(root)[1]["film.mp4"].startswith("A video")
    assert "as archive" in skipped["more.zip"]


def test_hidden_files_and_clutter_are_passed_over(root):
    put(root, ".a.jpg", ".cache/b.jpg", "__MACOSX/c.jpg", "@eaDir/d.jpg", "Thumbs.db", "e.jpg")
    put(root, "._e.jpg", ".DS_Store", "$RECYCLE.BIN/f.jpg")
    assert listed(root) == ({"e.jpg": listed(root)[0]["e.jpg"]}, {})


def test_names_that_are_no_text_are_listed_and_opened(root):
    strange = [
        b"latin-\xe9.jpg", b"\xff\xfe.jpg", "\u202egpj.evil.jpg".encode(), b"line\nbreak.jpg",
        b"back\\slash.jpg", b"\\xff.jpg", b"bell\x07.jpg", "a\u0301 ☃ 日本.jpg".encode(),
        b"tab\t.jpg", b" .jpg", "\U000e0001tag.jpg".encode(), b"trailing.jpg\n",
    ]  # fmt: skip
    for number, name in enumerate(strange):
        (root / os.fsdecode(name)).write_bytes(b"%d" % number)
    items, skipped = listed(root)
    assert not skipped
    assert len(items) == len(strange)
    source = Folder(path=str(root))
    found = set()
    for key, item in items.items():
        for text in (key, item.name, item.version):
            text.encode()  # no lone surrogate
            assert "\0" not in text
        assert key.isprintable()
        with source.open(key) as file:
            found.add(int(file.read()))
    assert found == set(range(len(strange)))


def test_a_path_of_4000_bytes_is_imported_or_named(root):
    at = os.open(root, os.O_RDONLY)
    for level in range(24):
        name = f"{level:02}" + "x" * 180
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
        os.close(os.open("a.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)
    items, skipped = listed(root)
    assert len(items) > 15
    # What is too deep for the system is named, with the reason, and everything beside it is there.
    assert len(skipped) == 1
    assert "too long" in next(iter(skipped.values()))
    source = Folder(path=str(root))
    for key in items:
        source.open(key).close()


def test_links_lead_nowhere_outside(root, tmp_path):
    put(tmp_path, "secret/s.jpg")
    put(root, "a.jpg")
    (root / "out.jpg").symlink_to(tmp_path / "secret" / "s.jpg")
    (root / "gone.jpg").symlink_to(tmp_path / "gone.jpg")
    (root / "circle").symlink_to(root)
    (root / "elsewhere").symlink_to(tmp_path / "secret")
    (root / "inside.jpg").symlink_to(root / "a.jpg")
    (root / "itself.jpg").symlink_to(root / "itself.jpg")
    os.mkfifo(root / "pipe.jpg")
    items, skipped = listed(root)
    assert set(items) == {"a.jpg", "inside.jpg"}
    assert set(skipped) == {
        "out.jpg", "gone.jpg", "circle", "elsewhere", "itself.jpg", "pipe.jpg",
    }  # fmt: skip
    source = Folder(path=str(root))
    for key in ("out.jpg", "elsewhere/s.jpg", "../secret/s.jpg", "/etc/hostname", "pipe.jpg"):
        with pytest.raises(ItemUnreadable):
            source.open(key)


def test_a_link_that_is_swapped_in_while_a_file_is_opened_is_not_followed(root, tmp_path):
    put(root, "in/a.jpg", content=b"ours")
    put(tmp_path, "secret/a.jpg", content=b"secret")
    (root / "link").symlink_to(tmp_path / "secret")
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for _ in range(2):
                (root / "in").rename(root / "kept")
                (root / "link").rename(root / "in")
                (root / "in").rename(root / "link")
                (root / "kept").rename(root / "in")

    swapper = threading.Thread(target=swap)
    swapper.start()
    read, refused = set(), 0
    soon, late = time.monotonic() + 1.5, time.monotonic() + 60
    try:
        while time.monotonic() < (soon if read and refused else late):
            try:
                with beneath.open_beneath(str(root), "in/a.jpg") as file:
                    read.add(file.read())
            except (ItemUnreadable, OSError):
                refused += 1
    finally:
        is_over.set()
        swapper.join()
    assert read == {b"ours"}
    assert refused


@pytest.mark.parametrize("path", ["", "a\0b", "/no/such/folder", "notes.txt"])
def test_a_folder_that_is_none_is_said_in_a_sentence(root, path):
    put(root, "notes.txt")
    if path == "notes.txt":
        path = str(root / path)
    with pytest.raises(SourceUnreadable):
        list(registry.load("folder", {"path": path}).items())


def test_a_path_is_remembered_as_absolute(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    assert Folder(path="pictures").path == str(root)
    assert Folder(path="pictures").place == Folder(path=f"{root}/x/..").place


def test_a_folder_that_is_replaced_during_the_listing_is_noticed(root):
    put(root, "a/1.jpg", "b/2.jpg")
    entries = Folder(path=str(root)).items()
    assert next(entries).key == "a/1.jpg"
    root.rename(root.parent / "away")
    root.mkdir()  # as a mount point is when its disk is gone
    with pytest.raises(SourceUnreadable, match="replaced"):
        list(entries)


def test_a_folder_that_goes_away_stops_the_source_and_not_each_of_its_items(root):
    put(root, "a.jpg", "b.jpg")
    source = Folder(path=str(root))
    list(source.items())
    (root / "b.jpg").unlink()
    with pytest.raises(ItemUnreadable, match="not there any more"):
        source.open("b.jpg")
    root.rename(root.parent / "away")
    with pytest.raises(SourceUnreadable):
        source.open("a.jpg")


@pytest.mark.skipif(as_root(), reason="root reads everything")
def test_a_folder_without_the_right_to_read_is_named(root):
    put(root, "a/1.jpg", "b/2.jpg")
    (root / "a").chmod(0)
    try:
        items, skipped = listed(root)
    finally:
        (root / "a").chmod(0o700)
    assert list(items) == ["b/2.jpg"]
    assert "cannot be read" in skipped["a/"]


def test_patterns_leave_out_files_and_folders_and_say_so(root):
    put(root, "a.gif", "raw/b.jpg", "raw/deep/c.jpg", "d.jpg", "keep/e.gif", "f_small.jpg")
    items, skipped = listed(root, ignore=["*.gif", "/raw/", "!keep/*.gif", "*_small.*"])
    assert set(items) == {"d.jpg", "keep/e.gif"}
    assert set(skipped) == {"a.gif", "raw/", "f_small.jpg"}
    assert skipped["raw/"] == "Left out by the pattern /raw/"


def test_a_wrong_pattern_is_said_in_a_sentence(root):
    for pattern in ("!", "/" * 1000):
        with pytest.raises(SourceUnreadable, match="ignore"):
            registry.load("folder", {"path": str(root), "ignore": [pattern]})


def test_folders_become_tags_or_an_album(root):
    put(root, "top.jpg", "2024/Bad \u202eName/a.jpg")
    tagged, _ = listed(root, folders="tags")
    assert tagged["2024/Bad \\u202eName/a.jpg"].about.tags == ("2024", "Bad Name")
    assert tagged["top.jpg"].about.tags == ()
    albums, _ = listed(root, folders="albums")
    assert albums["2024/Bad \\u202eName/a.jpg"].about.album == "2024 / Bad Name"
    assert albums["top.jpg"].about.album == ""


def test_long_folder_names_make_tags_and_albums_that_are_taken(root):
    put(root, "/".join(["y" * 150] * 5) + "/a.jpg")
    (tagged,) = listed(root, folders="tags")[0].values()
    (shelved,) = listed(root, folders="albums")[0].values()
    assert all(len(tag) <= 100 for tag in tagged.about.tags)
    assert len(shelved.about.album) == 200


def test_sidecars_describe_the_image_beside_them(root):
    put(root, "a.jpg", "b.jpg", "c.jpg")
    put(root, "a.txt", content="A café\n".encode())
    put(root, "b.jpg.json", content=b'{"caption": "B", "tags": ["x"], "rating": 5}')
    put(root, "b.txt", content=b"not this")
    items, skipped = listed(root)
    assert items["a.jpg"].about.caption == "A café"
    assert items["b.jpg"].about.caption == "B"
    assert items["b.jpg"].about.metadata == {"rating": 5}
    assert items["c.jpg"].about.caption == ""
    assert not skipped
    assert listed(root, sidecars=False)[0]["a.jpg"].about.caption == ""


def test_a_broken_sidecar_is_left_out_and_its_image_comes(root):
    put(root, "a.jpg", "b.jpg", "c.jpg")
    put(root, "a.json", content=b"{broken")
    put(root, "a.txt", content=b"still said")
    put(root, "b.txt", content=b"x" * 500_000)
    (root / "c.txt").symlink_to("/etc/passwd")
    items, skipped = listed(root)
    assert set(items) == {"a.jpg", "b.jpg", "c.jpg"}
    assert items["a.jpg"].about.caption == "still said"
    assert items["c.jpg"].about.caption == ""
    assert set(skipped) == {"a.json", "b.txt", "c.txt"}
    assert all(reason.startswith("Left out") for reason in skipped.values())


@pytest.mark.slow
def test_a_hundred_thousand_files_are_listed_quickly_and_in_constant_memory(root):
    for folder in range(100):
        (root / f"{folder:03}").mkdir()
        for number in range(1000):
            os.close(os.open(root / f"{folder:03}" / f"{number:04}.jpg", os.O_CREAT))
    source = Folder(path=str(root))
    begin = resource.getrusage(resource.RUSAGE_SELF)
    count = sum(1 for _ in source.items())
    end = resource.getrusage(resource.RUSAGE_SELF)
    assert count == 100_000
    # Processor time: others may be using the machine.
    assert end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime < 5
    tracemalloc.start()
    try:
        for _ in source.items():
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
