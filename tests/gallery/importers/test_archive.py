from __future__ import annotations

import bz2
import gc
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
import threading
import time
import tracemalloc
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzzing
from hypothesis import strategies as st

from gallery.importers import Item, ItemUnreadable, Skipped, SourceUnreadable
from gallery.importers.archive import Archive, open_archives
from gallery.models import Image
from gallery.trees.members import Limits, Member, Register
from tests.images import make_images
from tests.rows import make_user

FILES = {"a.jpg": b"A" * 1000, "b/c.png": b"C" * 5, "b/c.txt": b"said of c", "notes.md": b"-"}
KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


@pytest.fixture(autouse=True)
def nothing_is_kept():
    yield
    open_archives.forget()
    gc.collect()


def pack(path: Path, files: dict[str, bytes], kind: str) -> Path:
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    mode: Any = f"w:{kind.partition('.')[2]}"
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def listed(path: Path, **options) -> tuple[dict[str, Item], dict[str, str]]:
    entries = list(Archive(path=str(path), **options).items())
    items = {entry.key: entry for entry in entries if isinstance(entry, Item)}
    return items, {entry.key: entry.reason for entry in entries if isinstance(entry, Skipped)}


def content(path: Path, key: str) -> bytes:
    with Archive(path=str(path)).open(key) as file:
        return file.read()


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_listed_described_and_opened_wherever_they_lie(tmp_path, kind):
    path = pack(tmp_path / "of.any-name", FILES, kind)
    items, skipped = listed(path, folders="albums")
    assert list(items) == ["a.jpg", "b/c.png"]
    assert skipped == {}
    assert items["b/c.png"].about.caption == "said of c"
    assert items["b/c.png"].about.album == "b"
    assert items["a.jpg"].version
    assert content(path, "a.jpg") == b"A" * 1000
    with Archive(path=str(path)).open("b/c.png") as file:
        assert file.seek(0, os.SEEK_END) == 5
        file.seek(1)
        assert file.read(2) == b"CC"
    with pytest.raises(ItemUnreadable, match="not in the archive"):
        Archive(path=str(path)).open("no.jpg")


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_only_a_key_and_leads_nowhere(tmp_path, kind):
    names = ["../../up.jpg", "/etc/abs.jpg", "a/../b.jpg", "C:\\x\\y.jpg", "..\\z.jpg"]
    path = pack(tmp_path / "archive", {name: name.encode() for name in names}, kind)
    before = sorted(tmp_path.rglob("*"))
    items, _ = listed(path, folders="albums")
    assert len(items) == len(names)
    assert {content(path, key) for key in items} == {name.encode() for name in names}
    assert all(".." not in item.about.album for item in items.values())
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path("/etc/abs.jpg").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_two_items(tmp_path, kind):
    path = tmp_path / "archive"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.jpg", b"1")
            archive.writestr("a.jpg", b"2")
    else:
        with tarfile.open(path, "w") as tar:
            for byte in (b"1", b"2"):
                info = tarfile.TarInfo("a.jpg")
                info.size = 1
                tar.addfile(info, io.BytesIO(byte))
    items, _ = listed(path)
    assert [content(path, key) for key in items] == [b"1", b"2"]


def test_hidden_members_are_passed_over_and_inner_archives_named(tmp_path):
    inner = pack(tmp_path / "inner", FILES, "zip").read_bytes()
    files = {"__MACOSX/._a.jpg": b"", ".git/b.jpg": b"", "more.zip": inner, "scan.pdf": b""}
    items, skipped = listed(pack(tmp_path / "archive", files, "zip"))
    assert not items
    assert set(skipped) == {"more.zip", "scan.pdf"}
    assert "not opened" in skipped["more.zip"]


def test_links_and_devices_are_left_out_with_a_reason(tmp_path):
    path = tmp_path / "archive"
    with tarfile.open(path, "w") as tar:
        for name, kind in (
            ("soft.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE), ("disk.jpg", tarfile.BLKTYPE),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    items, skipped = listed(path)
    assert not items
    assert len(skipped) == 4
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("soft.jpg")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert list(listed(path)[1]) == ["soft.jpg"]


def test_names_are_read_as_they_were_meant(tmp_path):
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Grüße.jpg", b"1")
    # The same without the flag that says UTF-8, as many programs write it.
    without = path.read_bytes()
    for place in (without.find(b"PK\x03\x04") + 6, without.find(b"PK\x01\x02") + 8):
        without = without[:place] + b"\0\0" + without[place + 2 :]
    path.write_bytes(without)
    assert [item.name for item in listed(path)[0].values()] == ["Grüße.jpg"]
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(os.fsdecode(b"latin-\xe9\n.jpg")))
    assert list(listed(path)[0]) == [r"latin-\xe9\u000a.jpg"]


def encrypted(path: Path) -> Path:
    raw = bytearray(pack(path, {"a.jpg": b"secret"}, "zip").read_bytes())
    raw[6] |= 1
    raw[raw.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    return path


def test_an_encrypted_member_fails_with_a_sentence(tmp_path):
    path = encrypted(tmp_path / "archive")
    assert list(listed(path)[0]) == ["a.jpg"]
    with pytest.raises(ItemUnreadable, match="password"):
        content(path, "a.jpg")


def test_a_damaged_member_fails_and_the_others_come(tmp_path):
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.jpg", b"first-bytes")
        archive.writestr("b.jpg", b"second-bytes")
    path.write_bytes(path.read_bytes().replace(b"first-bytes", b"FIRST-bytes"))
    with pytest.raises(ItemUnreadable, match="damaged"):
        content(path, "a.jpg")
    assert content(path, "b.jpg") == b"second-bytes"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_short_is_said_to_be(tmp_path, kind):
    noise = random.Random(1).randbytes(200_000)
    path = pack(tmp_path / "archive", {f"{n}.jpg": noise for n in range(4)}, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(SourceUnreadable, match="cut short or damaged"):
        listed(path)


def test_a_tar_with_a_hole_in_its_headers_is_not_read_half(tmp_path):
    path = pack(tmp_path / "archive", {f"{n}.jpg": b"x" * 512 for n in range(4)}, "tar")
    raw = bytearray(path.read_bytes())
    raw[2048 : 2048 + 100] = b"\xff" * 100
    path.write_bytes(raw)
    with pytest.raises(SourceUnreadable, match="damaged"):
        listed(path)


@pytest.mark.parametrize(
    "raw",
    [b"", b"x", b"7z\xbc\xaf'\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd", b"hello" * 1000],
)
def test_what_is_no_archive_is_said_to_be_none(tmp_path, raw):
    path = tmp_path / "archive"
    path.write_bytes(raw)
    with pytest.raises(SourceUnreadable, match="archive"):
        listed(path)


def test_a_path_without_an_archive_is_said_to_have_none(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "no.zip", tmp_path, tmp_path / "pipe"):
        with pytest.raises(SourceUnreadable, match="no archive"):
            listed(path)


def test_a_member_that_unpacks_to_far_more_than_it_holds_fails(tmp_path, settings):
    # 49 kB that give 50 MB.
    path = pack(tmp_path / "archive", {"bomb.jpg": b"\0" * 50_000_000, "a.jpg": b"ok"}, "zip")
    assert path.stat().st_size < 60_000
    assert len(listed(path)[0]) == 2
    with pytest.raises(ItemUnreadable, match="zip bombs"):
        content(path, "bomb.jpg")
    assert content(path, "a.jpg") == b"ok"
    open_archives.forget()
    settings.MAX_IMAGE_BYTES = 1000
    with pytest.raises(ItemUnreadable, match="MAX_IMAGE_MEGABYTES"):
        content(path, "bomb.jpg")


def test_overlapping_members_are_refused(tmp_path):
    path = tmp_path / "archive"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", b"\0" * 1_000_000)
        # Ten more names for the same bytes.
        for number in range(10):
            info = archive.infolist()[0]
            twin = zipfile.ZipInfo(f"{number}.jpg")
            for field in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
                setattr(twin, field, getattr(info, field))
            archive.filelist.append(twin)
    with pytest.raises(SourceUnreadable, match="overlap"):
        listed(path)


@pytest.mark.parametrize("kind", KINDS)
def test_more_members_than_allowed_are_refused(tmp_path, settings, kind):
    path = pack(tmp_path / "archive", {f"{n}.jpg": b"" for n in range(101)}, kind)
    settings.ARCHIVE_MAX_MEMBERS = 100
    with pytest.raises(SourceUnreadable, match="ARCHIVE_MAX_MEMBERS"):
        listed(path)


@pytest.mark.parametrize("kind", KINDS)
def test_more_bytes_than_allowed_are_refused(tmp_path, settings, kind):
    noise = random.Random(1).randbytes(60_000)
    path = pack(tmp_path / "archive", {f"{n}.jpg": noise for n in range(3)}, kind)
    settings.ARCHIVE_MAX_BYTES = 100_000
    with pytest.raises(SourceUnreadable, match="ARCHIVE_MAX_GIGABYTES"):
        listed(path)


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
def test_a_packed_tar_that_unpacks_to_far_more_than_it_holds_is_refused(tmp_path, kind, settings):
    path = pack(tmp_path / "archive", {"bomb.jpg": b"\0" * 70_000_000}, kind)
    before = time.monotonic()
    with pytest.raises(SourceUnreadable, match="ARCHIVE_MAX_RATIO"):
        listed(path)
    assert time.monotonic() - before < 30
    settings.ARCHIVE_MAX_RATIO = 10**8
    assert listed(path)[0]


def test_an_xz_stream_cannot_ask_for_gigabytes(tmp_path):
    small = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]
    tar = pack(tmp_path / "tar", FILES, "tar").read_bytes()
    # The size of the dictionary is one byte of the header; the encoder would need it all itself.
    raw = bytearray(lzma.compress(tar, filters=small))
    raw[raw.index(b"\x21\x01\x10") + 2] = 0x25  # 2^30 + 2^29
    header_size = (raw[12] + 1) * 4
    raw[12 + header_size - 4 : 12 + header_size] = struct.pack(
        "<I", zlib.crc32(raw[12 : 12 + header_size - 4])
    )
    path = tmp_path / "archive"
    path.write_bytes(raw)
    with pytest.raises(SourceUnreadable, match="damaged"):
        listed(path)


def test_streams_of_several_parts_are_read_to_their_end(tmp_path):
    tar = pack(tmp_path / "tar", FILES, "tar").read_bytes()
    for packing in (gzip, bz2, lzma):
        path = tmp_path / packing.__name__
        path.write_bytes(packing.compress(tar[:700]) + packing.compress(tar[700:]))
        assert len(listed(path)[0]) == 2


def header_bomb(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "raw",
    [
        header_bomb(tarfile.XHDTYPE, 8_000_000_000),
        header_bomb(tarfile.GNUTYPE_LONGNAME, 8_000_000_000),
        header_bomb(tarfile.XHDTYPE, 200_000) + b"1" * 200_192,  # quadratic patterns
        header_bomb(tarfile.REGTYPE, -512) * 3,
        header_bomb(tarfile.XHDTYPE, -1),
        header_bomb(tarfile.XGLTYPE, 0) * 5000,  # nested
        header_bomb(tarfile.GNUTYPE_SPARSE, 100),
    ],
)
def test_hostile_headers_of_a_tar_cost_neither_memory_nor_time(tmp_path, raw):
    path = tmp_path / "archive"
    path.write_bytes(raw)
    tracemalloc.start()
    before = time.process_time()
    try:
        listed(path)
    except SourceUnreadable:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 30_000_000
    assert time.process_time() - before < 5


def test_a_zip_with_an_endless_list_of_members_is_not_read_into_memory(tmp_path, settings):
    settings.ARCHIVE_MAX_MEMBERS = 1000
    entry = struct.pack("<4s42x", b"PK\x01\x02")
    listing = entry * 100_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(listing), 4, 0)
    path = tmp_path / "archive"
    path.write_bytes(b"PK\x03\x04" + listing + end)
    tracemalloc.start()
    try:
        with pytest.raises(SourceUnreadable, match="ARCHIVE_MAX_MEMBERS"):
            listed(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_members_are_opened_by_several_threads_at_once(tmp_path, kind):
    noise = {f"{n}.jpg": random.Random(n).randbytes(50_000) for n in range(30)}
    path = pack(tmp_path / "archive", noise, kind)
    source = Archive(path=str(path))
    keys = list(listed(path)[0])
    open_archives.forget()  # the first to come opens it for all
    wrong: list[str] = []

    def read() -> None:
        for key in keys:
            with source.open(key) as file:
                if file.read() != noise[key]:
                    wrong.append(key)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_open_stays_open_when_its_archive_is_let_go(tmp_path):
    for kind in KINDS:
        path = pack(tmp_path / "archive", FILES, kind)
        file = Archive(path=str(path)).open("a.jpg")
        open_archives.forget()
        gc.collect()
        with file:
            assert file.read() == b"A" * 1000


def test_an_archive_that_is_replaced_is_read_anew(tmp_path):
    path = pack(tmp_path / "archive", {"a.jpg": b"1"}, "zip")
    assert content(path, "a.jpg") == b"1"
    path.unlink()
    pack(path, {"a.jpg": b"other"}, "zip")
    assert content(path, "a.jpg") == b"other"


@pytest.mark.slow
def test_ten_thousand_members_of_a_packed_tar_are_opened_in_linear_time(tmp_path):
    path = pack(tmp_path / "archive", {f"{n:05}.jpg": b"%d" % n for n in range(10_000)}, "tar.gz")
    source = Archive(path=str(path))
    before = time.process_time()
    tracemalloc.start()
    keys = [item.key for item in source.items()]
    tracemalloc.reset_peak()
    listed_bytes, _ = tracemalloc.get_traced_memory()
    for number, key in enumerate(keys):
        with source.open(key) as file:
            assert file.read() == b"%d" % number
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - before < 20
    assert peak - listed_bytes < 2_000_000


@pytest.mark.parametrize("kind", KINDS)
@fuzzing(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_named_errors_and_nothing_else(tmp_path, kind, data):
    path = tmp_path / "archive"
    raw = bytearray(pack(path, FILES, kind).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        change = data.draw(st.binary(max_size=8))
        raw[place : place + data.draw(st.integers(0, 8))] = change
    path.write_bytes(raw)
    open_archives.forget()
    source = Archive(path=str(path))
    try:
        keys = [entry.key for entry in source.items() if isinstance(entry, Item)]
    except SourceUnreadable as error:
        str(error).encode()
        return
    for key in keys:
        key.encode()
        try:
            with source.open(key) as file:
                file.read()
        except ItemUnreadable:
            pass


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_imported_once_and_known_again(transactional_db, tmp_path, kind):
    make_user("admin", is_superuser=True)
    files = {
        "a/1.png": make_images.sound("PNG", width=60),
        "a/1.txt": b"One boat",
        "a/2.png": make_images.sound("PNG", width=61),
        "broken.jpg": b"no image",
        "scan.pdf": b"",
    }
    path = pack(tmp_path / f"photos.{kind}", files, kind)
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 failed"):
        call_command("import_images", "archive", str(path), "--folders=tags", stdout=out)
    assert "2 new, 0 already there, 1 failed, 1 skipped" in out.getvalue()
    assert Image.objects.get(caption="One boat").tags.get().name == "a"
    out = io.StringIO()
    with pytest.raises(CommandError, match="1 failed"):
        call_command("import_images", "archive", str(path), "--folders=tags", stdout=out)
    assert "0 new, 2 already there, 1 failed, 1 skipped" in out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_other_bytes_of_the_same_size_and_time_are_another_version(tmp_path, kind):
    versions = set()
    for number, letter in enumerate((b"A", b"B")):
        path = pack(tmp_path / str(number), {"a.jpg": letter * 1000}, kind)
        versions.add(listed(path)[0]["a.jpg"].version)
    assert len(versions) == 2


def copies() -> int:
    """Return how many nameless files this process has open."""
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of the listing itself
            found += " (deleted)" in str(file.readlink())
    return found


def test_unpacked_copies_have_together_no_more_than_one_may(tmp_path, settings):
    settings.ARCHIVE_MAX_BYTES = 500_000
    paths = [
        pack(tmp_path / str(number), {"a.jpg": random.Random(number).randbytes(300_000)}, "tar.gz")
        for number in range(3)
    ]
    before = copies()
    for path in paths:
        listed(path)
    gc.collect()
    assert copies() == before + 1
    assert [len(content(path, "a.jpg")) for path in paths] == [300_000] * 3


def test_a_packed_tar_leaves_the_disk_some_room(tmp_path, settings):
    settings.UPLOAD_FREE_BYTES = 10**18
    path = pack(tmp_path / "photos.tar.gz", FILES, "tar.gz")
    with pytest.raises(SourceUnreadable, match=r"has no room. Make room in it, or unpack"):
        listed(path)


def test_who_sent_an_archive_is_not_told_where_it_lies(tmp_path, caplog):
    with pytest.raises(SourceUnreadable) as caught:
        listed(tmp_path / "no.zip")
    assert str(caught.value) == "There is no archive no.zip: No such file or directory."
    assert str(tmp_path) in caplog.text


def test_very_many_members_of_one_name_are_listed_in_no_time():
    register = Register(Limits(members=10**6, total_bytes=10**9, member_bytes=10**6, ratio=100))
    member = Member("a.jpg", "", 1, "")
    began = time.process_time()
    keys = [register.add("a.jpg", member) for _ in range(30_000)]
    assert time.process_time() - began < 5
    assert keys[:3] == ["a.jpg", "a.jpg\\#2", "a.jpg\\#3"]
    assert len(set(keys)) == 30_000
