"""The keyword leg's words: what a person writes becomes a tsquery of Postgres."""

from __future__ import annotations

import re
from functools import lru_cache

from django.db import connection

from gallery.errors import QueryInvalid
from gallery.query import Aggregate, Query, TextTerm

EMPTY = "''::tsquery"

# Postgres ranks by all places of all words at once: hundreds of words take it minutes.
MAX_WORDS = 32
TOO_MANY = (
    f"Keywords are at most {MAX_WORDS} words, all texts together. "
    "Choose semantic mode for a long text."
)
_MAX_TOKENS = 100  # to be parsed: among them are those that English drops

# A word or a "phrase", with a minus for what must not be there: websearch's own syntax. As in
# websearch blanks may follow the minus, a second one takes the first back, and other operators
# mean nothing.
_TOKEN = re.compile(r'([-\s!&|()]*)("[^"]*"?|\S+)')

# Image.full_text holds English stems of captions and tags beside plain words of file names and
# metadata, so each word may be met as either. What English drops ("the") is dropped.
_WORD = """(SELECT CASE WHEN numnode(english) = 0 THEN english
                        WHEN english = plain THEN english ELSE english || plain END
            FROM (SELECT websearch_to_tsquery('english', %s) AS english,
                         websearch_to_tsquery('simple', %s) AS plain) AS read)"""

# How many words are left: n of them are joined by n - 1 operators, in a phrase too.
_COUNT = """(SELECT coalesce(sum((numnode(websearch_to_tsquery('english', word)) + 1) / 2), 0)
             FROM unnest(%s::text[]) AS read (word))"""


def tsquery_of(query: Query) -> str:
    """Return the tsquery of a query's texts as Postgres writes it; "" when no word is left.

    Several texts must all be met, or any of them where the aggregate is not the mean. Texts of
    negative weight must not be. Raise QueryInvalid for more than MAX_WORDS words.
    """
    texts = tuple(
        (term.text, term.weight > 0) for term in query.terms if isinstance(term, TextTerm)
    )
    return _tsquery(texts, "&&" if query.aggregate == Aggregate.MEAN else "||")


@lru_cache(maxsize=1024)
def _tsquery(texts: tuple[tuple[str, bool], ...], join: str) -> str:
    wanted = list(dict.fromkeys(_read(text) for text, is_wanted in texts if is_wanted))
    unwanted = list(dict.fromkeys(_read(text) for text, is_wanted in texts if not is_wanted))
    words = [word for text in (*wanted, *unwanted) for some in text for word, _ in some]
    if len(words) > _MAX_TOKENS:
        raise QueryInvalid(TOO_MANY)
    sql = f"({f' {join} '.join(map(_expression, wanted))})"
    # The negation of nothing would be everything: what has no word left is left out.
    for some in map(_expression, unwanted):
        sql += f" && !!({some})"
    parameters = [form for word in words for form in (word, word)]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ({sql})::text, {_COUNT}", [*parameters, words])
        text, count = cursor.fetchone()
    if count > MAX_WORDS:
        raise QueryInvalid(TOO_MANY)
    return str(text)


# The alternatives of a text; each its words, with whether they must be there.
_Alternatives = tuple[tuple[tuple[str, bool], ...], ...]


def _read(text: str) -> _Alternatives:
    """Read a text: words, "or" between, minus before. Each word of an alternative comes once."""
    either: list[dict[tuple[str, bool], tuple[str, bool]]] = [{}]
    for operators, word in _TOKEN.findall(text):
        if word.lower() == "or" and not operators.strip():
            either.append({})
        else:
            is_wanted = operators.count("-") % 2 == 0
            either[-1].setdefault((word.lower(), is_wanted), (word, is_wanted))
    return tuple(dict.fromkeys(tuple(words.values()) for words in either if words))


def _expression(text: _Alternatives) -> str:
    """Return the SQL of a text's tsquery; the parameters are its words, twice each."""
    alternatives = [
        f"({' && '.join(_WORD if is_wanted else f'!!{_WORD}' for _, is_wanted in words)})"
        for words in text
    ]
    return f"({' || '.join(alternatives) or EMPTY})"
