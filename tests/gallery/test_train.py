from __future__ import annotations

import errno
import io
import itertools
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage

from embeddings.encoders import opening, sources
from embeddings.encoders.cpu import CpuEncoder
from embeddings.encoders.huggingface import TorchEncoder
from embeddings.streams import read_ids
from embeddings.training.examples import ExampleUnreadable
from gallery import patience, training
from gallery.decoding import decoders
from gallery.errors import StorageAway
from gallery.importers import SourceAway
from gallery.importers.coco import Coco
from gallery.importers.folder import Folder
from gallery.ingest import NewImage, add_image
from gallery.models import Image, Visibility
from gallery.storage.addresses import parse_bucket
from scenes import compose, describe, draw
from tests.gallery.storage import servers
from tests.rows import make_space, make_user, make_vectors, store

COUNT = 40


def train(*arguments) -> str:
    out = io.StringIO()
    call_command("train", *map(str, arguments), "--threads", "1", "--device", "cpu", stdout=out)
    return out.getvalue()


def drawn(seed: int) -> bytes:
    file = io.BytesIO()
    draw(compose(seed), (160, 120)).save(file, "JPEG")
    return file.getvalue()


def _umask() -> int:
    before = os.umask(0)
    os.umask(before)
    return before


def assert_serves(folder: Path) -> None:
    encoder = TorchEncoder(sources.find(str(folder)), device="cpu", precision="float32")
    assert encoder.encode_texts(["a red boat"]).shape == (1, encoder.dimensions)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of drawn scenes with a text beside each."""
    folder: Path = tmp_path_factory.mktemp("pictures")
    for seed in range(COUNT):
        (folder / f"{seed}.jpg").write_bytes(drawn(seed))
        (folder / f"{seed}.txt").write_text(describe(compose(seed)))
    (folder / "without-text.jpg").write_bytes(drawn(COUNT))
    return folder


def test_a_folder_with_texts_beside_its_images_makes_an_encoder(tmp_path, pictures, capsys):
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    (pictures / "broken.txt").write_text("a boat")
    (pictures / "long.jpg").write_bytes(drawn(COUNT + 1))
    (pictures / "long.txt").write_text("a boat " * 100_000)
    output = tmp_path / "encoder"
    said = train("folder", pictures, "--output", output, "--base", "bundled", "--epochs", 3)
    assert f"ENCODER={output}" in said
    told = "".join(capsys.readouterr())
    assert "broken.jpg cannot be read" in told
    assert "long.txt: Left out, it has more than 400 kB." in told
    assert "Left out in all: 2." in told
    assert_serves(output)
    card = (output / "README.md").read_text()
    assert "text to image R@10" in card
    assert str(pictures) not in card
    assert str(output) not in card
    assert (output / "training.png").stat().st_size > 10_000
    assert (output / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~_umask()
    assert len((output / "log.csv").read_text().splitlines()) == 5
    assert [file.name for file in tmp_path.iterdir() if "training" in file.name] == []
    with pytest.raises(CommandError, match="there already"):
        train("folder", pictures, "--output", output, "--base", "bundled")


def test_coco_teaches_by_all_its_captions(tmp_path, pictures):
    annotations = tmp_path / "captions.json"
    said = {
        "images": [{"id": seed, "file_name": f"{seed}.jpg"} for seed in range(COUNT)],
        "annotations": [
            {"id": 10 * seed + k, "image_id": seed, "caption": describe(compose(seed), seed=k)}
            for seed in range(COUNT)
            for k in range(3)
        ],
    }
    annotations.write_text(json.dumps(said))
    arguments = ("coco", annotations, "--images", pictures, "--output", tmp_path / "encoder")
    train(*arguments, "--base", "bundled", "--epochs", 2, "--held-out", 0.3)
    assert_serves(tmp_path / "encoder")
    card = (tmp_path / "encoder" / "README.md").read_text()
    assert "captions of the source “coco”" in card
    assert "--held-out 0.3" in card


@pytest.fixture
def library(db) -> None:
    ann, root = make_user("ann"), make_user("root", is_superuser=True)
    for seed in range(COUNT):
        scene = compose(seed)
        new = NewImage(
            file=ContentFile(drawn(seed), name=f"{seed}.jpg"),
            owner=root if seed == 5 else ann,
            caption=describe(scene) if seed else "",
            captions=(("catalogue", describe(scene, seed=1)),) if seed % 2 else (),
            visibility=Visibility.PRIVATE if seed == 5 else Visibility.PUBLIC,
        )
        add_image(new)


def test_the_library_gives_images_with_captions_that_the_viewer_may_see(library):
    seen = list(training.of_library(make_user("ann")))
    assert len(seen) == COUNT - 2  # one has no caption, one is private
    assert {len(example.captions) for example in seen} == {1, 2}
    assert seen[0].open(96).mode == "RGB"


def test_images_of_the_library_come_with_the_vectors_that_the_base_has_here(library):
    ann, base = make_user("ann"), sources.find("bundled")
    seen = read_ids(Image.objects.visible_to(ann).exclude(captions=None))
    space, vectors = make_space(name=base.name, revision=base.revision), make_vectors(len(seen))
    store(seen[1:], vectors[1:], space)
    first, *others = (example.vector for example in training.of_library(ann, base))
    assert first is None  # it waits for its vector
    np.testing.assert_allclose(list(others), vectors[1:], atol=1e-3)
    other = replace(base, revision="another")
    assert {example.vector for example in training.of_library(ann, other)} == {None}


def test_the_library_makes_an_encoder_that_searches_use_at_once(library, tmp_path):
    output = tmp_path / "encoder"
    train("library", "--as", "ann", "--output", output, "--base", "bundled", "--epochs", 2)
    encoder = opening.open_source(sources.find(str(output)))
    assert isinstance(encoder, CpuEncoder)
    assert encoder.encode_texts(["a red boat"]).shape == (1, encoder.dimensions)


def test_an_image_whose_file_is_gone_is_left_out(library, tmp_path, capsys):
    image = Image.objects.order_by("pk")[1]
    image.file.storage.delete(image.file.name)
    train("library", "--as", "ann", "--output", tmp_path / "e", "--base", "bundled", "--epochs", 1)
    assert f"Image {image.pk} cannot be read" in "".join(capsys.readouterr())


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(training, "PAUSES", (0.01,))


def test_a_storage_that_is_away_stops_the_training_which_then_learns_of_all_images(
    library, tmp_path, settings, monkeypatch, impatient
):
    for name, value in servers.KEYS.items():
        monkeypatch.setenv(name, value)
    away = parse_bucket(servers.address("http://127.0.0.1:9", "away", timeout=1)).backend()
    arguments = ("library", "--as", "ann", "--output", tmp_path / "e", "--base", "bundled")
    arguments = (*arguments, "--epochs", 1)
    here = settings.STORAGES
    settings.STORAGES = here | {"default": away}
    with pytest.raises(CommandError, match="the bucket cannot be reached"):
        train(*arguments)
    assert not (tmp_path / "e").exists()
    settings.STORAGES = here
    train(*arguments)
    card = (tmp_path / "e" / "README.md").read_text()
    learnt, held_out = re.search(r"on (\d+) images .* of (\d+) images", card).groups()
    assert int(learnt) + int(held_out) == COUNT - 2


def test_a_disk_that_is_not_mounted_is_not_taken_for_images_that_are_gone(
    library, tmp_path, settings, impatient
):
    example = next(training.of_library(make_user("ann")))
    media = Path(default_storage.location)
    unmounted = media.rename(tmp_path / "unmounted")
    media.mkdir()
    with pytest.raises(StorageAway, match="cannot be read: No such file"):
        example.open(96)
    media.rmdir()
    unmounted.rename(media)
    assert example.open(96).mode == "RGB"


def test_a_source_that_does_not_answer_is_not_taken_for_images_that_are_gone(
    pictures, monkeypatch, impatient
):
    def is_stale(*_):
        raise OSError(errno.ESTALE, "Stale file handle")

    example = next(iter(training.of_source(Folder(path=str(pictures)))))
    monkeypatch.setattr("gallery.trees.disk.open_beneath", is_stale)
    with pytest.raises(SourceAway, match="Stale file handle"):
        example.open(96)


def test_images_of_a_source_wait_for_their_turn_to_be_decoded(pictures, settings, monkeypatch):
    settings.DECODE_PROCESSES = 1
    monkeypatch.setattr(patience, "DECODER_SECONDS", 0.0)
    decoders.close()
    examples = list(itertools.islice(training.of_source(Folder(path=str(pictures))), 24))
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(lambda example: example.open(96), examples))) == 24


def test_no_name_of_a_file_writes_to_the_terminal(tmp_path):
    annotations = tmp_path / "captions.json"
    said = {
        "images": [{"id": 1, "file_name": "\x1b[2J.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "a boat"}],
    }
    annotations.write_text(json.dumps(said))
    (tmp_path / "other.jpg").write_bytes(drawn(0))
    source = Coco(annotations=(str(annotations),), images=str(tmp_path))
    with pytest.raises(ExampleUnreadable) as caught:
        next(iter(training.of_source(source))).open(96)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--method", "lora"), "needs a --base"),
        (("--base", "bundled", "--method", "scratch"), "no --base"),
        (("--base", "/nowhere/at/all"), "no encoder folder"),
        (("--base", "bundled", "--batch-size", "1"), "whole number above 1"),
        (("--base", "bundled", "--learning-rate", "fast"), "must be a number"),
        (("--base", "bundled", "--device", "cuda:77"), "is not here"),
        (("--base", "bundled", "--mirror"), "--mirror would change nothing"),
    ],
)
def test_what_cannot_be_trained_is_told_in_a_sentence(tmp_path, pictures, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        call_command(
            "train", "folder", str(pictures), "--output", str(tmp_path / "encoder"), *arguments
        )
    assert not (tmp_path / "encoder").exists()


def test_without_captions_there_is_nothing_to_learn(tmp_path):
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        PillowImage.new("RGB", (30, 30)).save(tmp_path / "pictures" / f"{number}.png")
    with pytest.raises(CommandError, match="0 images with captions"):
        train(
            "folder", tmp_path / "pictures", "--output", tmp_path / "encoder", "--base", "bundled"
        )
    assert [file.name for file in tmp_path.iterdir() if "encoder" in file.name] == []


@pytest.mark.slow
def test_one_command_makes_an_encoder_of_drawn_scenes(tmp_path):
    output = tmp_path / "encoder"
    said = train(
        "scenes", "--output", output, "--scenes", 64, "--epochs", 1, "--unseen", 40
    )  # fmt: skip
    assert "precision@10" in said
    assert "--scenes 64" in (output / "README.md").read_text()
    assert_serves(output)
