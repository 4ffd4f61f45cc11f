"""Long sorted streams side by side, and work on them by several threads, in constant memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

One = TypeVar("One")
Result = TypeVar("Result")


def in_order(name: str) -> bytes:
    """Return what a name is sorted by: its bytes, as S3 and Postgres' "C" collation do."""
    return name.encode()


def side_by_side(*streams: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Join streams of things with a `name`, each sorted by it; yield every name once.

    With it goes what each stream has of that name, None where it has nothing.
    """
    iterators = [iter(stream) for stream in streams]
    heads: list[Any] = [next(iterator, None) for iterator in iterators]
    while any(head is not None for head in heads):
        name = min((head.name for head in heads if head is not None), key=in_order)
        row: list[Any] = [None] * len(heads)
        for i, head in enumerate(heads):
            if head is not None and head.name == name:
                row[i] = head
                heads[i] = next(iterators[i], None)
        yield name, row


def in_parallel(
    act: Callable[[One], Result], ones: Iterable[One], *, threads: int
) -> Iterator[Result]:
    """Yield act(one) in the order of `ones`; no more are taken from it than threads can use."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for one in ones:
                waiting.append(pool.submit(act, one))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # After Ctrl-C what has begun is finished, and nothing else is begun.
            for future in waiting:
                future.cancel()
