"""Archives that are cut off, changed, or made to do harm: a sentence each, and nothing restored."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from gallery.backups import manifest, reading
from gallery.backups.archive import BLOCK, Writer
from gallery.backups.errors import BackupBroken
from gallery.backups.manifest import FileChoice
from tests.gallery.backups import archives
from tests.gallery.backups.state import counts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

CUT = "cut off"


def broken(file: Path, match: str) -> None:
    """Both looking at it and restoring it must end with this sentence."""
    for arguments in (["backup", str(file), "--check"], ["restore", str(file)]):
        with pytest.raises(CommandError, match=match) as raised:
            call_command(*arguments)
        assert raised.value.returncode == 2
        assert "\n" not in str(raised.value)
    assert set(counts().values()) == {0}


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """What the first test that wants a backup has made: each spoils a copy of its own."""
    return {}


@pytest.fixture
def sound(made, request, transactional_db, empty, tmp_path: Path) -> Path:
    """A backup, beside an empty gallery."""
    path: Path = tmp_path / "gallery.tar"
    if made:
        path.write_bytes(made["backup"])
    else:
        made["backup"] = request.getfixturevalue("file").read_bytes()
        empty()
    return path


def test_one_that_is_cut_off_anywhere(sound):
    content = sound.read_bytes()
    rng = np.random.default_rng(0)
    for size in [0, 1, 511, 512, *rng.integers(513, len(content) - 1, 12), len(content) - 1]:
        sound.write_bytes(content[:size])
        with pytest.raises(BackupBroken, match=r"cut off|is no backup"), reading.opened(sound):
            pass
    broken(sound, CUT)


def test_something_behind_its_end(sound):
    with sound.open("ab") as out:
        out.write(b"more")
    broken(sound, CUT)


def test_a_changed_byte_is_found_wherever_it_is(sound):
    content = sound.read_bytes()
    places = [
        offset + int(share * (size - 1))
        for name, offset, size in archives.members(sound)
        for share in (0, 0.5, 1)
        if size and name not in (manifest.START, manifest.END)
    ]
    for place in np.random.default_rng(1).choice(places, 25, replace=False):
        sound.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CommandError, match=r"damaged|wrong|has other|lists its"):
            call_command("backup", str(sound), "--check")


@pytest.mark.parametrize("part", ["database/auth_user/", "files/", "lists/", "manifest.json"])
def test_a_changed_byte_restores_nothing(sound, part):
    offset = next(place for name, place, _ in archives.members(sound) if name.startswith(part))
    with sound.open("r+b") as out:
        out.seek(offset + 30)
        byte = out.read(1)
        out.seek(offset + 30)
        out.write(bytes([byte[0] ^ 1]))
    broken(sound, "is damaged")


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png", "images/../../outside.png", "/outside.png", "images//x.png", "x.png",
        "images/./x.png", "images/..", "images/a\\b.png", "images/\u202egnp.png", "images/a\nb",
    ],
)  # fmt: skip
def test_a_file_that_leads_elsewhere(sound, tmp_path, name):
    victim = next(
        found.removeprefix("files/")
        for found, _, _ in archives.members(sound)
        if found.startswith("files/")
    )

    def change(member, content):
        if member == f"files/{victim}":
            return f"files/{name}", content
        if member.startswith("lists/"):
            lines = [json.loads(line) for line in content.splitlines()]
            for line in lines:
                if line["name"] == victim:
                    line["name"] = name
            return member, b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return member, content

    forged = archives.forge(sound, tmp_path / "forged.tar", change)
    broken(forged, "has a file of the name|no plain file")
    assert not (tmp_path / "outside.png").exists()
    assert not Path(default_storage.path("outside.png")).exists()


@pytest.mark.parametrize(
    ("choice", "kind", "name"),
    [
        (FileChoice.ALL, "file", "../outside.png"),
        (FileChoice.ALL, "thumbnail_small", "/etc/passwd"),
        (FileChoice.ALL, "thumbnail_large", "thumbnails/ab/of-nobody.webp"),
        (FileChoice.LIST, "file", "images/ab/of-somebody.png"),
        (FileChoice.ORIGINALS, "file", "images/ab/of-nobody.png"),
        (FileChoice.ORIGINALS, "thumbnail_small", "../outside.webp"),
    ],
)
def test_a_row_that_names_a_file_of_no_list(images, tmp_path, empty, choice, kind, name):
    path = tmp_path / "b.tar"
    call_command("backup", str(path), "--files", choice)
    victim = getattr(images[0], kind).name.encode()

    def change(member, content):
        if member.startswith("database/gallery_image/"):
            assert victim in content
            content = content.replace(victim, name.encode())
        return member, content

    forged = archives.forge(path, tmp_path / "forged.tar", change)
    empty(keeps_files=choice == FileChoice.LIST)
    with pytest.raises(CommandError, match="has a row that names") as raised:
        call_command("restore", str(forged))
    assert raised.value.returncode == 2
    assert set(counts().values()) == {0}


def test_a_file_with_right_hashes_that_no_list_has(sound, tmp_path):
    out = io.BytesIO()
    Writer(out).add("files/images/zz/extra.png", b"x")
    content = sound.read_bytes()
    place = next(at for name, at, _ in archives.members(sound) if name.startswith("lists/"))
    with reading.opened(sound) as backup:
        known = manifest.written(backup.manifest)
        at = backup.manifest_at
    forged = tmp_path / "forged.tar"
    with forged.open("wb") as target:
        writer = Writer(target)
        target.write(content[: place - BLOCK] + out.getvalue() + content[place - BLOCK : at])
        writer.position = at + len(out.getvalue())
        archives.finish(writer, known)
    broken(forged, "has other files than lists/000000.jsonl says")


@pytest.mark.parametrize("prefix", ["database/gallery_image/", "files/thumbnails", "lists/"])
def test_a_member_that_is_missing(sound, tmp_path, prefix):
    left = []

    def change(member, content):
        if member.startswith(prefix) and not left:
            left.append(member)
            return None
        return member, content

    broken(archives.forge(sound, tmp_path / "forged.tar", change), "where|other files|no list")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.CHRTYPE])  # fmt: skip  # noqa: E501
def test_what_is_no_plain_file(sound, kind):
    offset = next(at for name, at, _ in archives.members(sound) if name.startswith("files/"))
    content = bytearray(sound.read_bytes())
    info = tarfile.TarInfo.frombuf(bytes(content[offset - BLOCK : offset]), "utf-8", "strict")
    info.type, info.linkname = kind, "/etc/passwd"
    content[offset - BLOCK : offset] = info.tobuf(tarfile.GNU_FORMAT)[:BLOCK]
    sound.write_bytes(content)
    broken(sound, "holds something that is no plain file")


def test_a_member_that_claims_to_be_endless(sound):
    offset = next(at for name, at, _ in archives.members(sound) if name.startswith("files/"))
    content = bytearray(sound.read_bytes())
    info = tarfile.TarInfo.frombuf(bytes(content[offset - BLOCK : offset]), "utf-8", "strict")
    info.size = 2**60
    content[offset - BLOCK : offset] = info.tobuf(tarfile.GNU_FORMAT)
    sound.write_bytes(content)
    broken(sound, CUT)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2), ("tables", None), ("id", "x"), ("lists", [{"name": "x"}]), ("extra", 1),
        ("file_counts", {}), ("made_at", "yesterday"), ("proof", []),
    ],
)  # fmt: skip
def test_a_manifest_that_is_wrong(sound, tmp_path, key, value):
    def edit(known) -> None:
        known[key] = value

    broken(archives.forge(sound, tmp_path / "forged.tar", edit=edit), f"manifest .* wrong: {key}")


@pytest.mark.parametrize("name", ["x; DROP TABLE gallery_image", 'a"b', "A", "x" * 64])
def test_a_name_of_a_table_that_is_sql(sound, tmp_path, name):
    def edit(known) -> None:
        known["tables"][0]["name"] = name

    broken(archives.forge(sound, tmp_path / "forged.tar", edit=edit), "manifest .* wrong: tables")


def test_fewer_files_than_the_manifest_says(sound, tmp_path):
    def edit(known) -> None:
        known["file_counts"]["kept"] += 1

    forged = archives.forge(sound, tmp_path / "forged.tar", edit=edit)
    broken(forged, "has 18 files; its manifest says 19")


def test_a_form_of_the_future(sound, tmp_path):
    def change(member, content):
        if member == manifest.START:
            content = content.replace(b'"format": 1', b'"format": 2')
        return member, content

    broken(archives.forge(sound, tmp_path / "forged.tar", change), "is a backup of form 2")


def test_what_is_no_backup_at_all(tmp_path, transactional_db):
    missing = tmp_path / "missing.tar"
    broken(missing, "cannot be read: No such file")
    broken(tmp_path, "is no file|cannot be read")
    zeros = tmp_path / "zeros.tar"
    zeros.write_bytes(bytes(10_240))
    broken(zeros, "is no backup of a gallery, or it is damaged")
    image = tmp_path / "image.png"
    image.write_bytes(os.urandom(10_240))
    broken(image, "is no backup of a gallery, or it is damaged")
    other = tmp_path / "other.tar"
    with tarfile.open(other, "w") as tar:
        tar.add(image)
    broken(other, "is no backup of a gallery")
