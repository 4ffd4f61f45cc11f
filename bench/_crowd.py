"""Eight visitors of a server at once: rounds of an image that is sent, and of five questions.

    python -m bench._crowd < VISIT

VISIT is a Visit as JSON. Prints when each question was answered, and in how many milliseconds, as
JSON. A status or an answer that is not what it must be ends the program.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlencode

from bench._data import WORDS
from bench._visitor import SEARCH, Visitor, WrongAnswer

VISITORS = 8
QUESTIONS = 5  # of each round
HITS = 10  # of every answer
A_TEXT = 6  # words
SEEN = 40  # texts that are asked again and again
TAGS, OTHER_TAGS = 8, 5  # an image has one of each
LIKENESS = 0.98  # at least, of an image that is shown to the same one in the gallery

Answer = dict[str, Any]


@dataclass(frozen=True)
class Visit:
    """What the visitors do."""

    address: str
    token: str  # of who sends
    pictures: str  # folder of files, in the order in which they are sent
    known: list[str]  # ids of the first of these images, which have vectors
    first: int  # number of the first round, and of the file that is sent in it
    rounds: int
    is_sending: bool = True


class Asked(NamedTuple):
    """One question."""

    at: float  # when it was answered, seconds since the epoch
    milliseconds: float


def visit(what: Visit) -> list[Asked]:
    """Return all questions, in the order in which they were answered."""
    numbers = iter(range(what.first, what.first + what.rounds))
    with ThreadPoolExecutor(VISITORS) as threads:
        each = [threads.submit(_Guest(what).stay, numbers) for _ in range(VISITORS)]
    return sorted(asked for one in each for asked in one.result())


def send(visitor: Visitor, number: int, folder: Path) -> str:
    """Send the file of a number with what the questions ask for, and return its id."""
    return visitor.upload(
        (folder / f"{number:06}.jpg").read_bytes(),
        tags=f"t{number % TAGS},u{number % OTHER_TAGS}",
        caption=_text(f"caption {number}"),
    )


class _Guest:
    """One of the visitors. It asks without a login."""

    def __init__(self, what: Visit) -> None:
        self._visit, self._folder = what, Path(what.pictures)
        self._visitor, self._sender = Visitor(what.address), Visitor(what.address, what.token)
        self._asked: list[Asked] = []

    def stay(self, numbers: Iterator[int]) -> list[Asked]:
        """Take the next round that nobody had until there is none."""
        try:
            for number in numbers:
                self._round(number)
        finally:
            list(numbers)  # after an error the others need not go on
        return self._asked

    def _round(self, number: int) -> None:
        if self._visit.is_sending:
            send(self._sender, number, self._folder)
        first = self._search(q=_seen(number))
        self._search(q=_text(f"new {number}"))
        self._filtered(number)
        (self._like_a_known, self._like_a_file)[number // 2 % 2](number)
        if number % 2:
            self._second_page(first)
        else:
            self._page(number)
            self._visitor.get(first["hits"][0]["thumbnail_url"])

    def _search(self, **said: str | int) -> Answer:
        address = _address(SEARCH, said)
        return _checked(self._timed(lambda: self._visitor.get(address)), address)

    def _filtered(self, number: int) -> None:
        wanted, unwanted = f"t{number % TAGS}", f"u{number // TAGS % OTHER_TAGS}"
        condition = f"tag:{wanted} AND NOT tag:{unwanted}"
        found = self._search(q=_seen(number), filter=condition)
        for hit in found["hits"]:
            if wanted not in hit["tags"] or unwanted in hit["tags"]:
                raise WrongAnswer(f"{hit} does not pass {condition}")

    def _like_a_known(self, number: int) -> None:
        image = self._visit.known[number % len(self._visit.known)]
        found = self._search(similar_to=image)
        if image in _ids(found):
            raise WrongAnswer(f"{image} is found similar to itself.")

    def _like_a_file(self, number: int) -> None:
        file = (self._folder / f"{number % len(self._visit.known):06}.jpg").read_bytes()
        said = {"k": str(HITS), "band": "unlikely"}
        body = self._timed(lambda: self._visitor.post(SEARCH, said, file=file))
        best = _checked(body, "A search by an image")["hits"][0]
        if best["score"] < LIKENESS:
            raise WrongAnswer(f"Most like an image of the gallery is {best}, which is another.")

    def _second_page(self, first: Answer) -> None:
        address = f"{SEARCH}/{first['search_id']}?page=2"
        second = _checked(self._timed(lambda: self._visitor.get(address)), address, rank=HITS + 1)
        if _ids(first) & _ids(second):
            raise WrongAnswer(f"{address} has hits of the first page.")

    def _page(self, number: int) -> None:
        """Ask for the page that people see."""
        address = _address("/", {"q": _seen(number)})
        page = self._timed(lambda: self._visitor.get(address))
        if (found := page.count(b'<data class="score"')) != HITS:
            raise WrongAnswer(f"{address} shows {found} hits.")

    def _timed(self, ask: Callable[[], bytes]) -> bytes:
        began = time.perf_counter()
        body = ask()
        self._asked.append(Asked(time.time(), (time.perf_counter() - began) * 1000))
        return body


def _seen(number: int) -> str:
    return _text(f"seen {number % SEEN}")


def _text(seed: str) -> str:
    """Return one of three million texts."""
    return " ".join(Random(seed).choices(WORDS, k=A_TEXT))


def _address(path: str, said: Mapping[str, str | int]) -> str:
    # Of any band: the encoder need not think that the images are what the words say.
    return f"{path}?{urlencode({**said, 'k': HITS, 'band': 'unlikely'})}"


def _checked(body: bytes, address: str, *, rank: int = 1) -> Answer:
    """Return an answer with as many hits as were asked for, in their order, each once."""
    answer: Answer = json.loads(body)
    hits = answer["hits"]
    # The first hit of a second page was found with the first page: an image that came since may
    # score more, and stands behind it.
    scores = [hit["score"] for hit in hits if rank == 1 or hit["rank"] > rank]
    is_whole = len(_ids(answer)) == len(hits) == HITS and scores == sorted(scores, reverse=True)
    is_in_place = [hit["rank"] for hit in hits] == list(range(rank, rank + HITS))
    if not (is_whole and is_in_place and answer["search_id"] and answer["plans"]):
        raise WrongAnswer(f"{address}: {body[:2000]!r}")
    return answer


def _ids(answer: Answer) -> set[str]:
    return {hit["id"] for hit in answer["hits"]}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(visit(Visit(**json.load(sys.stdin)))))
