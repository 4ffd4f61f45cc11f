"""A file of judgements, one JSON object a line, read without believing it.

{"query": "two red boats", "relevant": ["<id or file name>", ...], "grades": {"<id>": 2}}
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from embeddings.streams import read_ids
from gallery.errors import QueryInvalid
from gallery.evaluation.errors import JudgementsRefused
from gallery.evaluation.judgements import (
    BadLine,
    Candidates,
    Grades,
    Judgements,
    as_query,
    drawn,
    in_parts,
)
from gallery.models import ImageQuerySet
from gallery.query import check_text

MAX_FILE = 200 * 10**6  # bytes
MAX_LINE = 10**6  # bytes
MAX_GRADE = 1000.0

_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can write one alone

Named = dict[str, float]  # grade by id or file name, as written


class _LineBad(Exception):
    """This line cannot be used; its text says why."""


class _NoNumber(Exception):
    """NaN or infinity: no measure could be computed, and none of the file is believed."""


@dataclass
class _File:
    """What the lines of a file say, before any image is looked up."""

    named_by_query: dict[str, Named] = field(default_factory=dict)
    line_by_query: dict[str, int] = field(default_factory=dict)
    bad_lines: list[BadLine] = field(default_factory=list)


@dataclass(frozen=True)
class _Names:
    """What the names in a file mean to this viewer."""

    id_by_name: dict[str, int]
    ambiguous: set[str]  # file names that several images have

    def grades_of(self, named: Named) -> Grades:
        grades: Grades = {}
        for name, grade in named.items():
            if (image_id := self.id_by_name.get(name)) is not None:
                # By id and by file name: the higher grade stands.
                grades[image_id] = max(grade, grades.get(image_id, 0.0))
        return grades


def read(path: Path, candidates: Candidates, *, limit: int, seed: int) -> Judgements:
    """Return the judgements of a file, at most `limit` queries drawn at random; 0: all.

    Lines that say nothing usable are told with their reason and left out. Raise JudgementsRefused
    for a file that is no such file: not there, not UTF-8, too large, or with a grade of NaN.
    """
    said = _read_lines(path)
    names = {name for named in said.named_by_query.values() for name in named}
    meant = _look_up(names, candidates.visible)
    embedded = set(read_ids(candidates.embedded).tolist())
    grades_by_query: dict[str, Grades] = {}
    for query, named in said.named_by_query.items():
        known = {
            meant.id_by_name[name]: grade
            for name, grade in named.items()
            if name in meant.id_by_name
        }
        grades = {image_id: grade for image_id, grade in known.items() if image_id in embedded}
        if grades:
            grades_by_query[query] = grades
        else:
            reason = "None of its images has a vector." if known else "None of its images is known."
            said.bad_lines.append(BadLine(said.line_by_query[query], reason))
    queries = list(grades_by_query)
    chosen = [queries[row] for row in drawn(len(queries), limit=limit, seed=seed)]
    return Judgements(
        source=path.name,
        grades_by_query={query: grades_by_query[query] for query in chosen},
        in_all=len(queries),
        bad_lines=tuple(sorted(said.bad_lines, key=lambda bad: bad.line)),
        unknown=tuple(sorted(names - set(meant.id_by_name) - meant.ambiguous)),
        ambiguous=tuple(sorted(meant.ambiguous)),
        not_embedded=len(set(meant.id_by_name.values()) - embedded),
    )


def _read_lines(path: Path) -> _File:
    said = _File()
    for number, text in enumerate(_lines(path), start=1):
        if not text.strip():
            continue
        try:
            query, named = _judgement(text)
            if query in said.line_by_query:
                raise _LineBad(f"Line {said.line_by_query[query]} has this query already.")
        except _LineBad as bad:
            said.bad_lines.append(BadLine(number, str(bad)))
        except _NoNumber as bad:
            raise JudgementsRefused(f"Line {number} of {path.name} {bad}.") from bad
        else:
            said.named_by_query[query] = named
            said.line_by_query[query] = number
    return said


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise JudgementsRefused(f"{path} is not a file.")
    if path.stat().st_size > MAX_FILE:
        raise JudgementsRefused(f"{path.name} is larger than {MAX_FILE // 10**6} MB.")
    number = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise JudgementsRefused(
                        f"Line {number} of {path.name} is longer than {MAX_LINE // 10**6} MB."
                    )
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise JudgementsRefused(f"Line {number} of {path.name} is not UTF-8.") from error
    except OSError as error:
        raise JudgementsRefused(f"{path} cannot be read: {error.strerror}.") from error


def _judgement(text: str) -> tuple[str, Named]:
    """Return the query of a line and the grades of what it names; zero grades are left out."""
    try:
        said = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _LineBad("It is not JSON.") from error
    if not isinstance(said, dict):
        raise _LineBad('It is not an object such as {"query": "...", "relevant": ["..."]}.')
    query, relevant, grades = said.get("query"), said.get("relevant", []), said.get("grades", {})
    if not isinstance(query, str):
        raise _LineBad("It has no query, or one that is not text.")
    if not isinstance(relevant, list) or not all(isinstance(name, str) for name in relevant):
        raise _LineBad("relevant is not a list of ids or file names.")
    if not isinstance(grades, dict):
        raise _LineBad("grades is not an object of ids and numbers.")
    query = as_query(query)
    try:
        check_text(query)
    except QueryInvalid as error:
        raise _LineBad(str(error)) from error
    graded = dict.fromkeys(relevant, 1.0) | {n: _grade(grade) for n, grade in grades.items()}
    named = {name: grade for name, grade in graded.items() if grade > 0}
    if not named:
        raise _LineBad("It names no relevant image.")
    if any(_HALF_A_CHARACTER.search(name) for name in named):
        raise _LineBad("A name holds a character that is no text.")
    return query, named


def _grade(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _LineBad("A grade is not a number.")
    if isinstance(value, float) and not math.isfinite(value):
        raise _NoNumber("has a grade that is no finite number")
    if not 0 <= value <= MAX_GRADE:
        raise _LineBad(f"A grade is not from 0 to {MAX_GRADE:.0f}.")
    return float(value)


def _no_number(word: str) -> NoReturn:
    raise _NoNumber(f"holds {word}, which is no number")


def _look_up(names: set[str], visible: ImageQuerySet) -> _Names:
    ids_by_name: dict[str, list[int]] = defaultdict(list)
    name_by_uuid = {public: name for name in names if (public := _as_uuid(name)) is not None}
    for uuids in in_parts(sorted(name_by_uuid)):
        for public, image_id in visible.filter(uuid__in=uuids).values_list("uuid", "pk"):
            ids_by_name[name_by_uuid[public]].append(image_id)
    # A NUL is in no file name, and Postgres refuses to be asked for one.
    files = {name for name in names - set(name_by_uuid.values()) if "\x00" not in name}
    for some in in_parts(sorted(files)):
        found = visible.filter(original_name__in=some).values_list("original_name", "pk")
        for name, image_id in found:
            ids_by_name[name].append(image_id)
    return _Names(
        {name: ids[0] for name, ids in ids_by_name.items() if len(ids) == 1},
        {name for name, ids in ids_by_name.items() if len(ids) > 1},
    )


def _as_uuid(name: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(name) if len(name) == 36 else None
    except ValueError:
        return None
