from __future__ import annotations

import io
import json

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from PIL import Image as PillowImage

from embeddings import live, snapshots
from embeddings.encoders import registry
from embeddings.live import View
from embeddings.models import Snapshot
from embeddings.vectors import normalise
from gallery import evaluation, spaces
from gallery.models import Caption, Image, ImageEmbedding
from scenes import compose, describe
from tests.rows import make_images, make_user, make_vectors, store, truth

SEEDS = range(60)
NOISE = 1.5  # length of the step from a caption's vector to its image's


@pytest.fixture(autouse=True)
def fresh_index(transactional_db, monkeypatch):
    monkeypatch.setattr(evaluation, "TIMED", 10)
    live.forget_all()
    yield
    live.forget_all()


@pytest.fixture
def gallery():
    """Images with the captions of drawn scenes; their vectors are those of the captions, moved."""
    space = spaces.ensure()
    make_user("root", is_superuser=True)
    ids = make_images(len(SEEDS))
    captions = [describe(compose(seed)) for seed in SEEDS]
    for id_, caption in zip(ids.tolist(), captions, strict=True):
        Image.objects.filter(pk=id_).update(caption=caption, original_name=f"{id_}.jpg")
    vectors = registry.load(space).encode_texts(captions)
    noise = make_vectors(len(ids), dimensions=space.dimensions)
    store(ids, normalise(vectors + NOISE * noise), space)
    return list(Image.objects.order_by("pk"))


def run(*arguments):
    out, err = io.StringIO(), io.StringIO()
    call_command("evaluate", *map(str, arguments), stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def figures(*arguments):
    return json.loads(run(*arguments, "--json")[0])


def write(path, *lines):
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return path


def refusal(*arguments):
    with pytest.raises(CommandError) as refused:
        run(*arguments)
    return str(refused.value), refused.value.returncode


def truth_of(space):
    """Return (captions, true ranks of own images), by plain sorting of what Postgres holds."""
    images = list(Image.objects.order_by("pk"))
    texts = registry.load(space).encode_texts([image.caption for image in images])
    stored = truth(space)
    vectors = np.array([stored[image.pk] for image in images])
    scores = texts @ vectors.T
    own = scores.diagonal()
    return 1 + (scores > own[:, None]).sum(axis=1), 1 + (scores > own[None, :]).sum(axis=0)


def test_captions_are_measured_both_ways_as_plain_sorting_says(gallery):
    by_text, by_image = truth_of(spaces.active())
    measured = figures()
    for name, ranks in (("text_to_image", by_text), ("image_to_text", by_image)):
        direction = measured[name]
        assert direction["queries"] == direction["candidates"] == len(SEEDS)
        for k in (1, 5, 10):
            assert direction[f"recall_at_{k}"] == pytest.approx((ranks <= k).mean())
        assert direction["top_1"] == pytest.approx((ranks == 1).mean())
        assert direction["top_5"] == pytest.approx((ranks <= 5).mean())
        assert direction["mrr"] == pytest.approx((1 / ranks).mean())
        gains = np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0)
        assert direction["ndcg_at_10"] == pytest.approx(gains.mean())
        assert direction["median_rank"] == np.sort(ranks)[(len(ranks) - 1) // 2]
        low, high = direction["recall_at_10_interval"]
        assert low <= direction["recall_at_10"] <= high
        shares = {bar["ranks"]: bar["share"] for bar in measured["rank_histogram"][name]}
        assert shares["1"] == pytest.approx((ranks == 1).mean())
        assert sum(shares.values()) == pytest.approx(1)
    # The vectors were moved far enough that this is no walkover, and not so far as to be chance.
    assert 0.1 < measured["text_to_image"]["recall_at_1"] < 1


def test_the_keys_stay(gallery):
    measured = figures("--limit", 5)
    assert list(measured) == [
        "encoder", "viewer", "mode", "seed", "notices", "judgements", "text_to_image",
        "image_to_text", "performance", "rank_histogram",
    ]  # fmt: skip
    assert list(measured["text_to_image"]) == [
        "queries", "candidates", "recall_at_1", "recall_at_5", "recall_at_10",
        "recall_at_10_interval", "top_1", "top_5", "mrr", "ndcg_at_10", "median_rank",
    ]  # fmt: skip
    assert list(measured["performance"]) == [
        "index", "kind", "snapshot", "vectors", "k", "queries", "recall_at_k", "encode_p50_ms",
        "encode_p95_ms", "routes", "sweep",
    ]  # fmt: skip


def test_index_and_latency_are_measured_by_filter_and_route(gallery, settings):
    settings.INDEX_NARROW_FILTER = 20
    measured = figures("--k", 5, "--limit", 10)["performance"]
    assert (measured["k"], measured["queries"], measured["vectors"]) == (5, 10, len(SEEDS))
    assert measured["recall_at_k"] == 1.0
    routes = {route["filter"]: route for route in measured["routes"]}
    assert set(routes) == {"none", "visible", "1 in 2", "1 in 10", "1 in 100"}
    assert routes["none"]["route"] == "faiss"
    assert routes["1 in 2"]["route"] == "faiss, over-fetched"
    assert routes["1 in 10"]["route"] == "postgres"
    for route in measured["routes"]:
        assert 0 < route["p50_ms"] <= route["p95_ms"]
        assert route["p50_ms_uncached"] > route["p50_ms"]
        assert route["recall_at_k"] == 1.0
    live_points = [point for point in measured["sweep"] if point["source"] == "live"]
    assert [point["k"] for point in live_points] == [1, 10]


def test_a_bad_index_is_seen(gallery, monkeypatch):
    def far(self, query, k):
        return View.search(self, -query, k)

    class Wrong(View):
        search = far

    index = live.index_of(ImageEmbedding, spaces.active())
    view = index.refresh()
    wrong = Wrong(**{name: getattr(view, name) for name in view.__dataclass_fields__})
    monkeypatch.setattr(index, "_view", wrong)
    assert figures("--limit", 20)["performance"]["recall_at_k"] < 0.5


def test_the_curve_of_the_snapshot_is_shown(gallery):
    space = spaces.active()
    snapshots.build(ImageEmbedding, space)
    Snapshot.objects.update(curve=[[16, 0.91, 0.2], [64, 0.99, 0.7]])
    measured = figures("--limit", 5)["performance"]
    built = [point for point in measured["sweep"] if point["source"] == "snapshot"]
    assert [(point["effort"], point["recall"], point["ms"]) for point in built] == [
        (16, 0.91, 0.2),
        (64, 0.99, 0.7),
    ]
    assert measured["snapshot"] == Snapshot.objects.get().pk


def test_the_same_seed_draws_the_same_queries(gallery):
    # Half of the captions say what another image shows, so that figures tell who was drawn.
    captions = [image.caption for image in gallery]
    half = len(gallery) // 2
    for image, caption in zip(gallery[:half], captions[1 : half + 1], strict=True):
        Image.objects.filter(pk=image.pk).update(caption=f"{caption} Perhaps.")

    def drawn(seed):
        measured = figures("--limit", 15, "--seed", seed)
        assert measured["judgements"]["queries"] == 15
        assert measured["judgements"]["queries_in_all"] == len(SEEDS)
        return measured["text_to_image"]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_several_captions_of_an_image_are_queries_of_their_own(gallery):
    for image in gallery[:10]:
        Caption.objects.create(image=image, text=f"Another view of number {image.pk}", source="x")
    measured = figures()
    assert measured["text_to_image"]["queries"] == len(SEEDS) + 10
    assert measured["image_to_text"]["queries"] == len(SEEDS)
    assert measured["image_to_text"]["candidates"] == len(SEEDS) + 10


def test_a_caption_of_several_images_is_one_query_to_which_all_are_relevant(gallery):
    Image.objects.update(caption="The same  words.")
    measured = figures()
    assert measured["judgements"]["queries"] == 1
    assert measured["judgements"]["relevant"] == len(SEEDS)
    # Whatever is ranked first is relevant; ten of sixty are found among the first ten.
    assert measured["text_to_image"]["top_1"] == 1
    assert measured["text_to_image"]["recall_at_10"] == pytest.approx(10 / len(SEEDS))
    assert any("Only 1 queries" in notice for notice in measured["notices"])


def test_a_viewer_is_measured_on_what_he_may_see(gallery):
    hidden = [image.pk for image in gallery[:20]]
    Image.objects.filter(pk__in=hidden).update(visibility="private")
    make_user("bob")
    measured = figures("--as", "bob")
    assert measured["text_to_image"]["candidates"] == len(SEEDS) - 20
    assert measured["judgements"]["queries"] == len(SEEDS) - 20


def test_judgements_come_from_a_file_by_id_and_by_file_name(gallery, tmp_path):
    first, second, third = gallery[:3]
    file = write(
        tmp_path / "judged.jsonl",
        {"query": first.caption, "relevant": [str(first.uuid)]},
        "",
        {"query": second.caption, "relevant": [second.original_name]},
        {"query": third.caption, "grades": {str(third.uuid): 3, first.original_name: 0}},
    )
    printed, told = run(file, "--json")
    measured = json.loads(printed)
    assert told == ""
    assert measured["judgements"]["source"] == "judged.jsonl"
    assert (measured["judgements"]["queries"], measured["judgements"]["relevant"]) == (3, 3)


def test_grades_change_ndcg_and_nothing_else(gallery, tmp_path):
    query = gallery[0].caption
    ids = [str(image.uuid) for image in gallery[:8]]
    low = figures(write(tmp_path / "a", {"query": query, "relevant": ids}))["text_to_image"]
    graded = {"query": query, "relevant": ids, "grades": {ids[0]: 9}}
    high = figures(write(tmp_path / "b", graded))["text_to_image"]
    assert low.pop("ndcg_at_10") != high.pop("ndcg_at_10")
    assert low == high


def test_bad_lines_are_told_by_number_and_reason_and_unknown_names_are_listed(gallery, tmp_path):
    name, other = gallery[0].original_name, gallery[1].uuid
    Image.objects.filter(pk__in=[gallery[2].pk, gallery[3].pk]).update(original_name="twice.jpg")
    file = write(
        tmp_path / "judged.jsonl",
        {"query": "a boat", "relevant": [name, "nowhere.jpg", "twice.jpg"]},
        "{not json",
        "[1, 2]",
        {"relevant": [name]},
        {"query": " ", "relevant": [name]},
        {"query": "x" * 2000, "relevant": [name]},
        {"query": "a cat", "relevant": []},
        {"query": "a cat", "relevant": name},
        {"query": "a cat", "relevant": [name], "grades": {name: "much"}},
        {"query": "a cat", "relevant": [name], "grades": {name: -1}},
        {"query": "a cat", "relevant": ["\x00", "../../etc/passwd"]},
        {"query": "a  boat", "relevant": [str(other)]},
        "[" * 100_000,
        '{"query": "deep", "relevant": ' + "9" * 5000 + "}",
    )
    printed, told = run(file, "--json")
    judged = json.loads(printed)["judgements"]
    assert judged["queries"] == 1
    assert {bad["line"]: bad["reason"] for bad in judged["bad_lines"]} == {
        2: "It is not JSON.",
        3: 'It is not an object such as {"query": "...", "relevant": ["..."]}.',
        4: "It has no query, or one that is not text.",
        5: "The text to look for is empty.",
        6: "The text to look for has at most 1000 characters.",
        7: "It names no relevant image.",
        8: "relevant is not a list of ids or file names.",
        9: "A grade is not a number.",
        10: "A grade is not from 0 to 1000.",
        11: "None of its images is known.",
        12: "Line 1 has this query already.",
        13: "It is not JSON.",
        14: "It is not JSON.",
    }
    assert "Line 2: It is not JSON." in told
    assert judged["unknown"] == ["\x00", "../../etc/passwd", "nowhere.jpg"]
    assert judged["ambiguous"] == ["twice.jpg"]
    assert "3 of the names: no image that may be seen" in told


def test_another_ones_image_is_as_unknown_as_none(gallery, tmp_path):
    hidden = gallery[0]
    Image.objects.filter(pk=hidden.pk).update(visibility="private")
    make_user("bob")
    for name in (str(hidden.uuid), hidden.original_name):
        lines = [
            {"query": "one", "relevant": [name]},
            {"query": "two", "relevant": [str(gallery[1].uuid)]},
        ]
        judged = figures(write(tmp_path / "f", *lines), "--as", "bob")["judgements"]
        assert judged["unknown"] == [name]
        assert judged["bad_lines"] == [{"line": 1, "reason": "None of its images is known."}]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"query": "a", "grades": {"x": NaN}}', "Line 1 of judged holds NaN"),
        (b'\n{"query": "a", "grades": {"x": 1e999}}', "Line 2 of judged has a grade that is no"),
        (b'{"query": "a", "grades": {"x": -Infinity}}', "Line 1 of judged holds -Infinity"),
        (b'{"query": "\xff\xfe"}', "Line 1 of judged is not UTF-8."),
        (b'{"query": "' + b"x" * 1_000_001 + b'"}', "Line 1 of judged is longer than 1 MB."),
        (b"", "judged has no judgement that can be used."),
        (b"{", "judged has no judgement that can be used. line 1: It is not JSON."),
        (b'{"query": "a", "relevant": ["\\ud800"]}', "line 1: A name holds a character that is no"),
        (b'{"query": "a", "grades": {"x": ' + b"9" * 400 + b"}}", "line 1: A grade is not from 0"),
    ],
)
def test_a_hostile_file_is_refused_with_a_sentence(gallery, tmp_path, content, sentence):
    file = tmp_path / "judged"
    file.write_bytes(content)
    told, status = refusal(file)
    assert sentence in told
    assert status == 1


def test_what_is_no_file_is_refused(gallery, tmp_path):
    assert "is not a file" in refusal(tmp_path)[0]
    assert "is not a file" in refusal("/dev/zero")[0]
    assert "is not a file" in refusal(tmp_path / "nowhere")[0]


def test_keyword_and_hybrid_search_are_measured_as_a_person_sees_them(gallery, tmp_path):
    keyword = figures("--mode", "keyword", "--limit", 20)
    assert keyword["image_to_text"] is None
    assert keyword["text_to_image"]["recall_at_10"] > 0.5
    assert any("flatter" in notice for notice in keyword["notices"])
    # "the" holds no word that full text keeps.
    asked = [{"query": text, "relevant": [gallery[0].original_name]} for text in ("zzzz", "the")]
    unheard = write(tmp_path / "f", *asked)
    nothing = figures(unheard, "--mode", "keyword")
    assert nothing["text_to_image"]["mrr"] == 0
    assert nothing["text_to_image"]["median_rank"] is None
    assert not any("flatter" in notice for notice in nothing["notices"])
    hybrid = figures("--mode", "hybrid", "--limit", 20)["text_to_image"]
    assert hybrid["recall_at_10"] > 0.5


def test_a_report_has_its_tables_and_its_plots(gallery, tmp_path):
    folder = tmp_path / "new" / "report"
    _, told = run("--report", folder, "--limit", 40)
    assert f"The report is {folder / 'report.md'}." in told
    text = (folder / "report.md").read_text()
    assert "| Recall@10 |" in text
    assert "| none | faiss |" in text
    for name in ("recall-latency.png", "ranks.png"):
        assert f"]({name})" in text
        with PillowImage.open(folder / name) as image:
            assert image.size == (1200, 675)
            assert len(image.convert("L").getcolors()) > 50  # something is drawn


def test_nothing_in_a_report_is_read_as_markup(gallery, tmp_path):
    file = write(
        tmp_path / "f",
        {"query": "a", "relevant": [gallery[0].original_name, "<script>alert(1)</script>|x"]},
    )
    run(file, "--report", tmp_path / "r")
    text = (tmp_path / "r" / "report.md").read_text()
    assert "<script>" not in text
    assert "\\<script\\>" in text


def test_a_report_that_cannot_be_written_is_told(gallery, tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refusal("--limit", 3, "--report", tmp_path / "file")[0]


def test_a_table_is_printed(gallery, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    printed, _ = run("--limit", 10)
    for word in ("text to image", "image to text", "nDCG@10", "p95 ms", "faiss"):
        assert word in printed


def test_an_empty_gallery_says_what_to_do(db):
    make_user("root", is_superuser=True)
    assert "There is no active space" in refusal()[0]
    space = spaces.ensure()
    assert refusal() == (
        "The gallery is empty. Run manage.py load_demo, or import images of your own.",
        1,
    )
    ids = make_images(2, visibility="private")
    make_user("bob")
    assert refusal("--as", "bob")[0] == "There is no image that bob may see."
    sentence, status = refusal()
    assert "wait until they are embedded" in sentence
    assert status == 3
    store(ids, make_vectors(2, dimensions=space.dimensions), space)
    assert "No image has a caption" in refusal()[0]


def test_an_index_that_is_still_loading_is_told(gallery, settings):
    space = spaces.active()
    settings.INDEX_MEMORY_MB = 1
    too_many = 2**20 // (2 * space.dimensions) + 1
    vectors = make_vectors(too_many, dimensions=space.dimensions)
    store(make_images(too_many), vectors, space)
    sentence, status = refusal("--limit", 3)
    assert "The index is still loading" in sentence
    assert status == 3


@pytest.mark.parametrize("arguments", [("--k", 0), ("--k", 5000), ("--as", "nobody")])
def test_wrong_arguments_are_refused(gallery, arguments):
    with pytest.raises(CommandError):
        run(*arguments)
