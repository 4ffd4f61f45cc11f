from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw

import embeddings
from embeddings import SemanticSearcher, live
from embeddings.errors import EmbeddingsError, VectorInvalid
from embeddings.models import Space
from embeddings.searcher import SearcherMisused
from gallery.models import CaptionEmbedding, Image, ImageEmbedding, Tag
from tests.rows import make_images

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def searcher(settings) -> SemanticSearcher:
    settings.INDEX_POLL_SECONDS = 1e-6
    live.forget_all()
    return SemanticSearcher.from_settings()


def draw(shape: str, colour: str) -> Pillow.Image:
    image = Pillow.new("RGB", (64, 64), "white")
    pencil = ImageDraw.Draw(image)
    (pencil.ellipse if shape == "ball" else pencil.rectangle)((12, 12, 52, 52), fill=colour)
    return image


def named_images(*names: str) -> list[Image]:
    ids = make_images(len(names)).tolist()
    for id_, name in zip(ids, names, strict=True):
        Image.objects.filter(pk=id_).update(original_name=name, category="toys")
    return [Image.objects.get(pk=id_) for id_ in ids]


def test_it_finds_what_was_added_by_text_image_and_vector(searcher, tmp_path):
    red, blue, green = named_images("red", "blue", "green")
    searcher.add(red, image=draw("ball", "red"))
    draw("ball", "blue").save(tmp_path / "blue.png")
    searcher.add(blue.pk, image=tmp_path / "blue.png")
    searcher.add(green, vector=searcher.encoder.encode_texts(["a green circle"])[0] * 7)

    written = io.BytesIO()
    draw("ball", "red").save(written, "PNG")
    for image in (written.getvalue(), tmp_path / "blue.png", draw("ball", "blue")):
        hits = searcher.search(image=image, k=1)
        assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert searcher.search(image=written.getvalue(), k=1)[0].subject == red
    assert searcher.search(text="a green circle", k=1)[0].subject == green

    hits = searcher.search(text="a circle", k=3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert sorted((hit.score for hit in hits), reverse=True) == [hit.score for hit in hits]
    assert len(hits.plan.steps) > 0


def test_it_searches_within_a_queryset(searcher):
    red, blue = named_images("red", "blue")
    for image in (red, blue):
        searcher.add(image, image=draw("ball", image.original_name))
    within = Image.objects.filter(original_name="blue")
    hits = searcher.search(text="a red circle", within=within)
    assert [hit.subject for hit in hits] == [blue]


def test_text_and_image_are_added(searcher):
    red_box, blue_ball = named_images("red box", "blue ball")
    searcher.add(red_box, image=draw("box", "red"))
    searcher.add(blue_ball, image=draw("ball", "blue"))
    both = searcher.search(text="blue", image=draw("box", "red"), k=2)
    alone = searcher.search(image=draw("box", "red"), k=2)
    assert both[0].score != pytest.approx(alone[0].score, abs=1e-3)


def test_adding_again_replaces(searcher):
    (red,) = named_images("red")
    searcher.add(red, image=draw("ball", "red"))
    searcher.add(red, image=draw("ball", "blue"))
    assert ImageEmbedding.objects.filter(image=red).count() == 1
    assert searcher.search(image=draw("ball", "blue"), k=1)[0].score == pytest.approx(1, abs=1e-3)


def test_what_cannot_be_done_is_a_sentence(searcher):
    (red,) = named_images("red")
    vector = np.ones(searcher.space.dimensions, np.float32)
    refused = {
        "give text=, image= or both": lambda: searcher.search(),
        "The text is empty": lambda: searcher.search(text="  "),
        "The text must be a str": lambda: searcher.search(text=7),
        "The image cannot be read": lambda: searcher.search(image=b"no image"),
        "No such file": lambda: searcher.search(image="/no/such/file.png"),
        "Give one of text=": lambda: searcher.add(red),
        "one of text=, image= and vector=": lambda: searcher.add(red, text="red", vector=vector),
        "is no saved Image": lambda: searcher.add(Tag(pk=red.pk, name="red"), vector=vector),
        "<Image.* is no saved Image": lambda: searcher.add(Image(), vector=vector),
        "Name one|is no vector table": lambda: SemanticSearcher.from_settings("gallery.Image"),
    }
    for sentence, act in refused.items():
        with pytest.raises(SearcherMisused, match=sentence):
            act()
    for wrong in (vector[:-1], vector * 0, vector * np.nan, ["x"] * len(vector)):
        with pytest.raises(VectorInvalid):
            searcher.add(red, vector=wrong)
        with pytest.raises(VectorInvalid):
            searcher.nearest(wrong)
    for k in (0, 2.5, "three", 10**9):
        with pytest.raises(ValueError, match="k must be a whole number"):
            searcher.nearest(vector, k=k)
    assert not ImageEmbedding.objects.exists()


def test_the_table_is_the_one_that_is_named(settings):
    assert SemanticSearcher.from_settings().model is ImageEmbedding
    assert SemanticSearcher.from_settings(CaptionEmbedding).model is CaptionEmbedding
    named = SemanticSearcher.from_settings("gallery.CaptionEmbedding")
    assert named.model is CaptionEmbedding
    settings.VECTOR_TABLE = ""
    with pytest.raises(SearcherMisused, match=r"gallery\.CaptionEmbedding, gallery\.ImageEmb"):
        SemanticSearcher.from_settings()


def test_the_space_is_made_once_and_the_active_one_comes_first():
    first = SemanticSearcher.from_settings().space
    assert SemanticSearcher.from_settings().space == first
    other = Space.objects.create(name="x", revision="1", dimensions=3, state=Space.State.ACTIVE)
    assert SemanticSearcher.from_settings().space == other
    with pytest.raises(EmbeddingsError):
        SemanticSearcher.from_settings().search(text="a")


def test_the_package_gives_its_public_names_without_importing_models():
    assert set(embeddings.__all__) == {"Hit", "Hits", "SemanticSearcher"}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = embeddings.nothing
    code = "import embeddings, sys; assert 'django' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_example_of_the_documentation_runs(searcher, capsys):
    ball, box = named_images("ball", "box")
    (example,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "plugin.md").read_text(), re.DOTALL
    )
    names = {
        "Image": Image,
        "ball": ball,
        "box": box,
        "drawing_of_a_red_ball": draw("ball", "red"),
    }
    exec(example, names)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 ")
    assert first.endswith("ball")
    assert second in ("postgres True", "faiss True")
    assert len(names["hits"]) == 1
