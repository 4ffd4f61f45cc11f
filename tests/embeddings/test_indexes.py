from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.indexes import faiss_index, kinds
from embeddings.indexes.contract import ExactIndex
from embeddings.indexes.spool import Spool
from embeddings.indexes.torch_matrix import TorchMatrix
from embeddings.recall import RecallProbe, tune
from embeddings.vectors import normalise

N, D, K = 12_000, 48, 10
ALL = sorted(faiss_index.KINDS)
APPROXIMATE = [name for name in ALL if name != "flat"]
IN_FLOAT16 = {"flat", "hnsw", "pq", "gpu"}


def clustered(n: int, d: int, *, spread: float = 0.7, seed: int = 0):
    """Return n unit vectors (n, d) around n / 50 centres, in float16 precision."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(max(1, n // 50), d))
    vectors = centres[chance.integers(0, len(centres), n)] + spread * chance.normal(size=(n, d))
    return normalise(vectors).astype(np.float16).astype(np.float32)


def queries_near(vectors, n: int, *, seed: int = 1):
    chance = np.random.default_rng(seed)
    near = vectors[chance.integers(0, len(vectors), n)]
    return normalise(near + 0.5 * chance.normal(size=near.shape) / near.shape[1] ** 0.5)


def spool_of(vectors, folder, ids=None) -> Spool:
    ids = np.arange(len(vectors), dtype=np.int64) * 3 + 7 if ids is None else ids
    return Spool.fill([(ids, vectors)], vectors.shape[1], folder)


@pytest.fixture(scope="module")
def spool(tmp_path_factory) -> Spool:
    return spool_of(clustered(N, D), tmp_path_factory.mktemp("spool"))


@pytest.fixture(scope="module")
def exact(spool) -> ExactIndex:
    return ExactIndex(spool.ids, spool.halves.astype(np.float32))


@pytest.fixture(scope="module")
def queries(exact):
    return queries_near(exact.vectors, 60)


@pytest.fixture(scope="module")
def indexes(spool, queries):
    """One tuned index of each kind, and the matrix on the processor."""
    probe = RecallProbe(queries, spool)
    built = {name: tune(kinds.build(name, spool), probe, 0.97).index for name in ALL}
    return built | {"gpu": TorchMatrix(built["flat"], device="cpu")}


def share_found(found, true) -> float:
    return len(np.intersect1d(found.ids, true.ids)) / max(1, len(true.ids))


@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_it_finds_nearly_all_that_exact_search_finds(indexes, exact, queries, kind):
    index = indexes[kind]
    assert index.kind == kind
    recall = np.mean([share_found(index.search(q, K), exact.search(q, K)) for q in queries])
    assert recall >= (1.0 if index.is_exact else 0.96)


@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_scores_are_cosine_similarities_best_first(indexes, exact, queries, kind):
    true = dict(zip(exact.ids.tolist(), exact.vectors @ queries[0], strict=True))
    for found in (indexes[kind].search(queries[0], 50), indexes[kind].scan(queries[0], 50)):
        assert len(found.ids) == len(set(found.ids.tolist())) == 50
        assert (np.diff(found.scores) <= 0).all()
        tolerance = 1e-5 if kind in IN_FLOAT16 else 0.02
        np.testing.assert_allclose(
            found.scores, [true[i] for i in found.ids.tolist()], atol=tolerance
        )


@pytest.mark.parametrize("share", [0.99, 0.5, 0.01])
@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_a_mask_leaves_k_that_are_allowed(indexes, exact, queries, kind, share):
    allowed = np.random.default_rng(2).random(N) < share
    index = indexes[kind]
    shares = []
    for query in queries[:20]:
        true = exact.scan(query, K, allowed=allowed)
        for found in (
            index.search(query, K, allowed=allowed),
            index.scan(query, K, allowed=allowed),
        ):
            assert len(found.ids) == K
            assert np.isin(found.ids, exact.ids[allowed]).all()
        shares.append(share_found(index.search(query, K, allowed=allowed), true))
    assert np.mean(shares) >= (1.0 if index.is_exact else 0.94)


@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_a_scan_leaves_no_allowed_vector_out(indexes, exact, queries, kind):
    index = indexes[kind]
    assert index.scan_is_exact == (kind in IN_FLOAT16)
    allowed = np.random.default_rng(3).random(N) < 0.02
    found = index.scan(queries[0], N, allowed=allowed)
    np.testing.assert_array_equal(np.sort(found.ids), exact.ids[allowed])
    if index.scan_is_exact:
        true = exact.scan(queries[0], K, allowed=allowed)
        np.testing.assert_array_equal(found.ids[:K], true.ids)


@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_a_mask_of_one_vector_and_of_none(indexes, exact, queries, kind):
    one = np.zeros(N, np.bool_)
    one[N // 2] = True
    none = np.zeros(N, np.bool_)
    for ask in (indexes[kind].search, indexes[kind].scan):
        assert ask(queries[0], K, allowed=one).ids.tolist() == [exact.ids[N // 2]]
        assert len(ask(queries[0], K, allowed=none).ids) == 0


@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_all_vectors_can_be_asked_for_and_more(indexes, exact, queries, kind):
    for ask in (indexes[kind].search, indexes[kind].scan):
        np.testing.assert_array_equal(np.sort(ask(queries[0], N + 5).ids), exact.ids)


@pytest.mark.parametrize("k", [1, 40, 200, 1000, 1001])
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_recall_holds_for_every_k(indexes, exact, queries, kind, k):
    shares = [
        share_found(indexes[kind].search(query, k), exact.search(query, k))
        for query in queries[:20]
    ]
    assert np.mean(shares) >= 0.9


@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_it_is_the_same_after_writing_and_mapping(indexes, queries, kind, tmp_path):
    index = indexes[kind]
    index.write(tmp_path / "file")
    if kind == "gpu":
        opened = TorchMatrix.open(tmp_path / "file", index.ids, device="cpu")
    else:
        opened = kinds.open_file(kind, tmp_path / "file", index.ids, effort=index.effort)
    assert opened.effort == index.effort
    for query in queries[:10]:
        for found, before in (
            (opened.search(query, K), index.search(query, K)),
            (opened.scan(query, K), index.scan(query, K)),
        ):
            np.testing.assert_array_equal(found.ids, before.ids)
            np.testing.assert_array_equal(found.scores, before.scores)


@pytest.mark.parametrize("kind", ALL)
def test_a_mapped_file_takes_no_private_memory(kind, tmp_path):
    vectors = clustered(20_000, 256)
    index = kinds.build(kind, spool_of(vectors, tmp_path))
    index.write(tmp_path / "file")
    size = (tmp_path / "file").stat().st_size
    ids = index.ids
    before = private_bytes()
    opened = [kinds.open_file(kind, tmp_path / "file", ids) for _ in range(5)]
    assert len(opened[0].search(vectors[0], K).ids) == K
    assert private_bytes() - before < 2 * size  # of five times


def private_bytes() -> int:
    with open("/proc/self/status") as lines:  # noqa: PTH123  (no file of ours)
        (line,) = [line for line in lines if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("d", [1, 2, 3, 13, 18, 30, 64])
@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_every_width_can_be_built(kind, d, tmp_path):
    chance = np.random.default_rng(d)
    vectors = normalise(chance.normal(size=(1500, d))).astype(np.float16).astype(np.float32)
    index = kinds.build(kind, spool_of(vectors, tmp_path))
    found = index.search(vectors[3], K)
    assert len(found.ids) == K
    assert found.scores[0] == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("n", [0, 1, 2, 15, 700])
@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_few_vectors_are_no_trouble(kind, n, tmp_path):
    vectors = clustered(max(n, 1), 16)[:n]
    spool = spool_of(vectors, tmp_path)
    index = kinds.build(kind, spool)
    index.write(tmp_path / "file")
    opened = kinds.open_file(index.kind, tmp_path / "file", index.ids, effort=index.effort)
    query = clustered(1, 16, seed=5)[0]
    assert len(opened.search(query, K).ids) == min(n, K)
    assert RecallProbe(query[None, :], spool).recall_of(opened.search) == 1.0


@pytest.mark.parametrize("kind", [*ALL, "gpu"])
def test_vectors_all_alike_and_zero_vectors(kind, tmp_path):
    alike = np.repeat(clustered(1, 16), 1500, axis=0)
    alike[700:] = 0
    spool = spool_of(alike, tmp_path)
    index = kinds.build(kind, spool)
    found = index.scan(alike[0], 700)
    assert (found.ids < 7 + 3 * 700).all()
    assert len(index.search(alike[0], K).ids) == K
    # Whichever of several alike is found is a true neighbour.
    assert RecallProbe(alike[:1], spool).recall_of(index.scan) == 1.0


def test_two_efforts_on_one_index_at_once_do_not_meet(spool, exact, queries):
    index = kinds.build("hnsw", spool)
    low, high = index.with_effort(16), index.with_effort(512)
    alone = [low.search(query, K).ids.tolist() for query in queries]
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            high.search(queries[0], K)

    other = threading.Thread(target=disturb)
    other.start()
    together = [low.search(query, K).ids.tolist() for query in queries]
    stop.set()
    other.join()
    assert together == alone


def test_tuning_raises_the_effort_until_the_recall_is_reached(tmp_path):
    vectors = clustered(10_000, 32)
    scattered = normalise(np.random.default_rng(4).normal(size=(10_000, 32)) + vectors / 5)
    spool = spool_of(scattered.astype(np.float16).astype(np.float32), tmp_path)
    probe = RecallProbe(queries_near(scattered, 60), spool)
    index = kinds.build("ivf8", spool)
    modest, strict = tune(index, probe, 0.5), tune(index, probe, 0.95)
    assert modest.index.effort < strict.index.effort
    assert modest.is_enough
    assert strict.is_enough
    assert strict.recall >= 0.95
    efforts, recalls, times = zip(*strict.curve, strict=True)
    assert list(efforts) == sorted(efforts)
    assert recalls[0] < 0.95
    assert all(ms > 0 for ms in times)


def test_an_index_that_cannot_reach_the_recall_says_so(tmp_path):
    vectors = clustered(12_000, D, spread=0.004)
    tuned = tune(
        kinds.build("ivf8", spool_of(vectors, tmp_path)),
        RecallProbe(queries_near(vectors, 60), spool_of(vectors, tmp_path)),
        0.98,
    )
    assert not tuned.is_enough
    assert 0.2 < tuned.recall < 0.95  # 8 bits do not tell images of one subject apart


@given(
    n=st.integers(1, 60), d=st.integers(1, 9), k=st.integers(1, 80), seed=st.integers(0, 2**32 - 1)
)
@settings(max_examples=60, deadline=None)
def test_every_kind_returns_the_allowed_k(tmp_path_factory, n, d, k, seed):
    chance = np.random.default_rng(seed)
    vectors = normalise(chance.normal(size=(n, d)) + 1e-3).astype(np.float16).astype(np.float32)
    spool = spool_of(vectors, tmp_path_factory.getbasetemp())
    allowed = chance.random(n) < chance.random()
    exact = ExactIndex(spool.ids, vectors)
    query = vectors[0]
    for kind in (*ALL, "gpu"):
        index = kinds.build(kind, spool)
        for ask in (index.search, index.scan):
            found = ask(query, k, allowed=allowed)
            true = exact.search(query, k, allowed=allowed)
            assert len(found.ids) == len(true.ids)
            assert np.isin(found.ids, spool.ids[allowed]).all()
            assert np.unique(found.ids).size == found.ids.size
            if index.scan_is_exact and ask == index.scan:
                np.testing.assert_allclose(found.scores, true.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("n", "megabytes", "kind"),
    [
        (0, 10_000, "flat"),
        (20_000, 10_000, "flat"),
        (100_000, 10_000, "hnsw"),
        (100_000, 100, "hnsw8"),
        (100_000, 70, "ivf8"),
        (100_000, 1, "ivf8"),
        (1_000_000, 10_000, "ivf8"),
    ],
)
def test_auto_chooses_by_size_and_memory(n, megabytes, kind):
    assert kinds.choose("auto", n, 512, megabytes * 2**20) == kind
    assert kinds.choose("pq", n, 512, megabytes * 2**20) == "pq"


def test_without_a_budget_it_is_a_quarter_of_the_memory():
    assert kinds.memory_bytes(7) == 7 * 2**20
    assert 2**26 < kinds.memory_bytes(0) < 2**50


def test_a_gpu_index_without_a_device_is_searched_in_memory(indexes, queries, tmp_path):
    if TorchMatrix.has_device():
        pytest.skip("There is a device.")
    indexes["gpu"].write(tmp_path / "file")
    opened = kinds.open_file("gpu", tmp_path / "file", indexes["gpu"].ids)
    assert opened.kind == "flat"
    assert len(opened.search(queries[0], K).ids) == K


@pytest.mark.gpu
def test_a_device_finds_what_memory_finds(indexes, exact, queries, tmp_path):
    if not TorchMatrix.has_device():
        pytest.skip("There is no CUDA device.")
    indexes["gpu"].write(tmp_path / "file")
    opened = kinds.open_file("gpu", tmp_path / "file", exact.ids)
    assert opened.kind == "gpu"
    for query in queries:
        np.testing.assert_array_equal(opened.search(query, K).ids, exact.search(query, K).ids)


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no kind of index"):
        kinds.open_file("SQfp16", tmp_path / "file", np.empty(0, np.int64))
