from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from embeddings import searcher
from embeddings.encoders import exports, names, opening, registry, sources
from embeddings.encoders.framing import Manner
from embeddings.encoders.names import EncoderName
from embeddings.encoders.sources import BUNDLED, BUNDLED_FOLDER
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from tests import encoders


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("bundled", EncoderName("bundled")),
        ("openai/clip#crops", EncoderName("openai/clip", manner=Manner.CROPS)),
        ("a/texts+openai/clip", EncoderName("openai/clip", "a/texts")),
        ("a/texts+b/clip#letterbox", EncoderName("b/clip", "a/texts", Manner.LETTERBOX)),
    ],
)
def test_a_name_says_towers_and_how_images_are_looked_at(written, expected):
    assert EncoderName.parse(written) == expected
    assert str(expected) == written


def test_trained_is_what_no_word_means():
    assert str(EncoderName.parse("openai/clip#trained")) == "openai/clip"


@pytest.mark.parametrize("written", ["openai/clip#squash", "bundled#", "+openai/clip", "a/b+"])
def test_a_name_with_a_slip_is_refused_with_a_sentence(written):
    with pytest.raises(EncoderUnavailable, match=r"write #letterbox or #crops|half a name"):
        sources.find(written)


def test_a_folder_may_be_called_like_a_name_in_parts(tmp_path):
    for title in ("a+b", "c#d", "e#crops"):
        folder = shutil.copytree(BUNDLED_FOLDER, tmp_path / title)
        assert sources.find(str(folder)).folder == folder
        assert sources.find(f"{folder}#letterbox").manner == Manner.LETTERBOX


def test_of_folders_the_last_parts_are_shown():
    space = Space(name="/srv/encoders/texts+/srv/encoders/clip#crops")
    assert space.title == "texts+clip#crops"
    assert Space(name="openai/clip").title == "openai/clip"
    assert names.title_of("bundled#odd") == "bundled#odd"


def test_the_bundled_encoder_is_known_however_it_looks():
    assert names.is_bundled("bundled#crops")
    assert not names.is_bundled("/srv/bundled")


def test_each_manner_is_a_space_of_its_own_of_one_export(db, settings):
    spaces = []
    for name in ("bundled", "bundled#letterbox", "bundled#crops"):
        settings.ENCODER = name
        spaces.append(searcher.space_of_settings())
    assert len({space.pk for space in spaces}) == 3
    assert [space.name for space in spaces] == ["bundled", "bundled#letterbox", "bundled#crops"]
    cache = sources.cache_dir()
    found = {exports.find(sources.find(space.name), cache).folder for space in spaces}
    assert len(found) == 1


def test_a_space_is_looked_at_as_its_name_says(db, settings):
    wide = Image.new("RGB", (900, 300), "navy")
    wide.paste("gold", (600, 0, 900, 300))
    vectors = {}
    for name in ("bundled", "bundled#letterbox", "bundled#crops"):
        settings.ENCODER = name
        encoder = registry.load(searcher.space_of_settings())
        assert encoder.name == name
        vectors[name] = encoder.encode_images([wide])[0]
    settings.ENCODER = BUNDLED  # changes nothing for the spaces that are there
    assert registry.load(Space.objects.get(name="bundled#crops")).framing.manner == Manner.CROPS
    for one, other in (("bundled", "bundled#letterbox"), ("bundled", "bundled#crops")):
        assert vectors[one] @ vectors[other] < 0.99
    square = [opening.open_source(sources.find(name)) for name in vectors]
    tile = Image.linear_gradient("L").convert("RGB")
    first, *rest = (encoder.encode_images([tile]) for encoder in square)
    for other in rest:
        np.testing.assert_allclose(first, other, atol=1e-5)


def test_a_pair_is_identified_by_the_files_of_both(tmp_path):
    texts = encoders.make_sentence_tower(tmp_path / "texts")
    source = sources.find(f"{texts}+bundled")
    assert source.folders == (BUNDLED_FOLDER, texts)
    assert source.revision.endswith("+" + sources.find(BUNDLED).revision)
    assert len(source.revision) <= Space._meta.get_field("revision").max_length
    assert sources.find(source.name, revision=source.revision) == source
    layer = texts / "2_Dense" / "config.json"
    layer.write_text(layer.read_text() + " ")
    changed = sources.find(source.name)
    assert changed.revision != source.revision
    assert changed.files_id != source.files_id


def test_a_text_tower_alone_is_refused(tmp_path):
    texts = encoders.make_sentence_tower(tmp_path / "texts")
    with pytest.raises(EncoderUnavailable, match=r"TEXT\+IMAGE"):
        opening.open_source(sources.find(str(texts)))
    with pytest.raises(EncoderUnavailable, match="texts alone"):
        opening.open_source(sources.find(f"bundled+{texts}"))


def test_other_folders_below_change_no_revision(tmp_path):
    folder = shutil.copytree(BUNDLED_FOLDER, tmp_path / "encoder")
    before = sources.find(str(folder)).revision
    encoders.write_json(folder / "runs" / "config.json", {})
    assert sources.find(str(folder)).revision == before == sources.find(BUNDLED).revision


@pytest.mark.slow
def test_a_pair_of_folders_is_opened_as_one_encoder(tmp_path):
    clip = encoders.make_encoder("clip", tmp_path / "clip")
    texts = encoders.make_sentence_tower(tmp_path / "texts")
    encoder = opening.open_source(sources.find(f"{texts}+{clip}#crops"))
    vectors = encoder.encode_texts(["two red boats at night"])
    np.testing.assert_allclose(
        vectors, encoders.sentence_reference(texts, ["two red boats at night"]), atol=1e-5
    )
    assert encoder.encode_images([Image.new("RGB", (90, 30))]).shape == vectors.shape
    assert encoder.framing.manner == Manner.CROPS
