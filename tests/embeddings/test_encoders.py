from __future__ import annotations

import contextlib
import fcntl
import gc
import shutil
import threading
import weakref
from fnmatch import fnmatch

import numpy as np
import pytest
from django.db import connections
from httpx2 import ReadTimeout
from huggingface_hub import constants
from PIL import Image

from embeddings.encoders import comparing, exports, folders, hub, opening, registry, sources
from embeddings.encoders.huggingface import TorchEncoder
from embeddings.encoders.precisions import BFLOAT16, FLOAT32, INT8, INT8_BLOCKS, Precisions
from embeddings.encoders.sources import BUNDLED, BUNDLED_FOLDER
from embeddings.errors import EncoderUnavailable
from embeddings.models import Space
from tests.encoders import make_encoder, make_open_clip, reference


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED_FOLDER, tmp_path / "encoder")


@pytest.fixture(scope="module")
def bundled():
    return opening.open_source(sources.find(BUNDLED))


IMAGES = [Image.new("RGB", (300, 200), colour) for colour in ("red", "blue", "white")]


def test_vectors_are_of_unit_length(bundled):
    for vectors in (bundled.encode_images(IMAGES), bundled.encode_texts(["a", "a red boat"])):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == bundled.dimensions
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_batch_gives_what_one_by_one_gives(bundled):
    texts = ["a boat", "two red boats and a small yellow moon at night on the sea", "day"]
    for encode, items in ((bundled.encode_images, IMAGES), (bundled.encode_texts, texts)):
        together = encode(items)
        alone = np.concatenate([encode([item]) for item in items])
        np.testing.assert_allclose(together, alone, atol=2e-5)


def test_a_very_long_text_is_cut(bundled):
    assert bundled.encode_texts(["boat " * 10_000]).shape == (1, bundled.dimensions)


def test_it_tells_the_words_it_never_learned(bundled):
    assert bundled.unknown_words("a red Boat, and a zeppelin") == ("zeppelin",)


def test_the_revision_is_of_the_contents(folder):
    first = sources.find(str(folder))
    assert first.revision == sources.find(BUNDLED).revision
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    assert sources.find(str(folder)).revision != first.revision


def test_cut_weights_are_refused_with_a_sentence(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(EncoderUnavailable, match="holds no encoder that can be used"):
        opening.open_source(sources.find(str(folder)))


@pytest.mark.parametrize("name", ["/not/there", "./not-there", "nobody/nothing", "a/b/c"])
def test_a_name_that_means_nothing_is_refused_with_a_sentence(name):
    with pytest.raises(EncoderUnavailable, match=name.split("/")[-1]):
        sources.find(name)


def test_an_encoder_that_changed_since_its_space_was_filled_is_refused(folder):
    space = Space(name=str(folder), revision="another", dimensions=256)
    with pytest.raises(EncoderUnavailable, match="no longer those"):
        registry.load(space)


def test_an_encoder_that_is_let_go_of_is_gone_at_once():
    encoder = opening.open_source(sources.find(BUNDLED))
    encoder.encode_texts(["a"])
    encoder.change(Precisions(text=FLOAT32, image=BFLOAT16))
    encoder.encode_images(IMAGES)
    gone = threading.Event()
    weakref.finalize(encoder, gone.set)
    gc.disable()  # which would find it sooner or later
    try:
        del encoder
        assert gone.is_set()
    finally:
        gc.enable()


# One of each way to fill up texts; test_architectures exports the others.
@pytest.fixture(scope="module", params=["clip", "siglip"])
def tiny(request, tmp_path_factory):
    """A folder of each kind, by its name: what is exported of it serves several runs."""
    return make_encoder(request.param, tmp_path_factory.mktemp("encoders") / request.param)


def test_it_gives_what_transformers_gives(tiny):
    encoder = opening.open_source(sources.find(str(tiny)))
    texts = ["two red boats at night", "a"]
    image_vectors, text_vectors = reference(tiny, IMAGES, texts)
    np.testing.assert_allclose(encoder.encode_images(IMAGES), image_vectors, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(texts), text_vectors, atol=1e-5)


@pytest.mark.slow
def test_a_faster_precision_gives_nearly_the_same(tiny):
    check_precisions(opening.open_source(sources.find(str(tiny)), Precisions()))


@pytest.mark.slow
def test_so_it_does_of_the_bundled_one(bundled):
    check_precisions(bundled.with_precisions(Precisions()))


def check_precisions(exact):
    noise = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    images = [*IMAGES, *map(Image.fromarray, noise)]
    texts = ["two red boats at night", "a", "a big yellow moon over the sea and a house"]
    calibration = exact.calibrate([exact.framing.frames(image) for image in images])
    for given in (
        Precisions(text=INT8_BLOCKS, image=BFLOAT16),
        Precisions(text=INT8, image=INT8, calibration=calibration),
    ):
        faster = exact.with_precisions(given)
        faster.prepare()
        for encode, items in (("encode_images", images), ("encode_texts", texts)):
            vectors = getattr(faster, encode)(items)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
            assert comparing.cosines(vectors, getattr(exact, encode)(items)).min() > 0.99


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """The hub's cache of a model whose main revision has no safetensors, but a later one has."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--nobody--clip"
    main, converted = model / "snapshots" / ("a" * 40), model / "snapshots" / ("b" * 40)
    shutil.copytree(BUNDLED_FOLDER, main)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(main.name)
    return main, converted


def test_an_encoder_in_the_hubs_cache_is_found_without_a_network(hub_cache):
    source = sources.find("nobody/clip")
    assert source.revision == "a" * 40
    assert sources.find("nobody/clip", revision=source.revision) == source
    TorchEncoder(source, device="cpu", precision="float32")  # reads the files, and exports nothing


def test_the_snapshot_with_safetensors_is_taken(hub_cache):
    main, converted = hub_cache
    shutil.copytree(main, converted)
    (main / "model.safetensors").unlink()
    assert sources.find("nobody/clip").folder == converted
    assert sources.find("nobody/clip", revision=converted.name).folder == converted


def test_a_model_without_safetensors_is_refused_with_a_sentence(hub_cache):
    (hub_cache[0] / "model.safetensors").unlink()
    with pytest.raises(EncoderUnavailable, match="has no safetensors"):
        sources.find("nobody/clip")


def test_of_open_clip_in_the_hubs_cache_no_other_weights_are_looked_for(hub_cache):
    main, _ = hub_cache
    shutil.rmtree(main)
    make_open_clip(main)
    source = sources.find("nobody/clip")
    assert source.folder == main
    assert folders.kind_of(source.folder) == folders.Kind.OPEN_CLIP


def test_of_a_model_on_the_hub_nothing_is_fetched_that_could_be_code():
    needed = ["config.json", "merges.txt", "spiece.model", "model-00001-of-00002.safetensors",
              "1_Pooling/config.json", "2_Dense/model.safetensors"]  # fmt: skip
    others = ["pytorch_model.bin", "2_Dense/pytorch_model.bin", "modeling_clip.py", "model.onnx",
              "open_clip_model.safetensors", "clip.pt"]  # fmt: skip
    fetched = [name for name in needed + others if any(fnmatch(name, one) for one in hub.FILES)]
    assert fetched == needed


def test_many_threads_get_what_one_gets(tmp_path):
    folder = make_encoder("siglip", tmp_path / "siglip")  # as `tiny`, so exported already
    encoder = opening.open_source(sources.find(str(folder)))
    texts = ["two red boats at night", "a", "a big yellow moon over the sea"]
    expected = {text: encoder.encode_texts([text]) for text in texts}
    wrong = []

    def ask(text):
        for _ in range(40):
            vector = encoder.encode_texts([text])
            encoder.unknown_words("a zeppelin over " + text)
            if not np.array_equal(vector, expected[text]):
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"]
)
@pytest.mark.parametrize("content", ["null", "[]", "{", '{"size": 3}'])
def test_a_configuration_of_nonsense_is_refused_or_makes_no_difference(folder, name, content):
    (folder / name).write_text(content)
    with contextlib.suppress(EncoderUnavailable):
        encoder = TorchEncoder(sources.find(str(folder)), device="cpu", precision="float32")
        assert encoder.encode_texts(["a boat"]).shape == (1, encoder.dimensions)


@pytest.mark.parametrize("error", [ReadTimeout("slow"), RuntimeError("cas"), TimeoutError("slow")])
def test_a_network_that_breaks_off_is_a_sentence(monkeypatch, error):
    def break_off(*_given, **_options):
        raise error

    monkeypatch.setattr(hub, "snapshot_download", break_off)
    with pytest.raises(EncoderUnavailable, match=f"nobody/clip .*{type(error).__name__}"):
        sources.find("nobody/clip")


@pytest.mark.parametrize("name", ["what ever", "user/repo.git", "a\x00b", "x" * 300])
def test_a_name_that_cannot_be_one_is_refused_with_a_sentence(name):
    with pytest.raises(EncoderUnavailable):
        sources.find(name)


def copies(tmp_path, n):
    """Return spaces of one encoder's files in several folders: several encoders, exported once."""
    found = []
    for number in range(n):
        folder = shutil.copytree(BUNDLED_FOLDER, tmp_path / str(number) / "bundled")
        source = sources.find(str(folder))
        dimensions = opening.open_source(source).dimensions
        found.append(Space(name=source.name, revision=source.revision, dimensions=dimensions))
    return found


@pytest.mark.django_db
def test_of_few_encoders_each_is_loaded_once_and_the_one_used_least_lately_goes(tmp_path):
    spaces = copies(tmp_path, registry.MOST + 1)
    loaded = [registry.load(space) for space in spaces[:-1]]
    assert [registry.load(space) for space in spaces[:-1]] == loaded
    registry.load(spaces[0])
    registry.load(spaces[-1])
    assert registry.load(spaces[0]) is loaded[0]
    assert registry.load(spaces[1]) is not loaded[1]


@pytest.mark.django_db
def test_a_process_lets_go_of_encoders_of_which_there_is_no_space_any_more(tmp_path):
    spaces = copies(tmp_path, 2)
    loaded = [registry.load(space) for space in spaces]
    registry.keep_only(spaces[:1])
    assert registry.load(spaces[0]) is loaded[0]
    assert registry.load(spaces[1]) is not loaded[1]


@pytest.mark.django_db
def test_who_compares_precisions_takes_no_place_of_an_encoder_that_serves(tmp_path):
    *serving, compared = copies(tmp_path, registry.MOST + 1)
    loaded = [registry.load(space) for space in serving]
    encoder = registry.reference(compared)
    assert [registry.load(space) for space in serving] == loaded
    registry.keep_only(())  # of others; who compares goes on
    assert encoder.encode_texts(["a boat"]).shape == (1, compared.dimensions)
    with pytest.raises(EncoderUnavailable, match="its space has 3"):
        registry.reference(Space(name=compared.name, revision=compared.revision, dimensions=3))


@pytest.mark.django_db(transaction=True)
def test_while_one_encoder_is_loaded_others_are_used(tmp_path, settings):
    slow, other = copies(tmp_path, 2)
    loaded = registry.load(other)
    export = exports.find(sources.find(slow.name), sources.cache_dir()).folder
    cache = settings.ENCODER_CACHE_DIR = tmp_path / "cache"
    cache.mkdir()

    def load() -> None:
        registry.load(slow)
        connections.close_all()

    loading = threading.Thread(target=load)
    with (cache / f"{export.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as by a process that exports it just now
        loading.start()
        loading.join(timeout=0.5)
        assert registry.load(other) is loaded
        assert loading.is_alive()
        shutil.copytree(export, cache / export.name)
    loading.join(timeout=30)
    assert registry.load(slow).encode_texts(["a boat"]).shape == (1, slow.dimensions)
