"""The keyword leg's words: what a person writes becomes a tsquery of Postgres."""

from __future__ import annotations

import re
from functools import lru_cache

from django.db import connection

from gallery.query import Aggregate, Query, TextTerm

# A word or a "phrase", with a minus for what must not be there: websearch's own syntax.
_TOKEN = re.compile(r'(-?)("[^"]*"?|\S+)')
_MAX_TOKENS = 200

# Image.full_text holds English stems of captions and tags beside plain words of file names and
# metadata, so each word may be met as either. What English drops ("the") is dropped.
_WORD = """(SELECT CASE WHEN numnode(english) = 0 THEN english
                        WHEN english = plain THEN english ELSE english || plain END
            FROM (SELECT websearch_to_tsquery('english', %s) AS english,
                         websearch_to_tsquery('simple', %s) AS plain) AS read)"""


def tsquery_of(query: Query) -> str:
    """Return the tsquery of a query's texts as Postgres writes it; "" when no word is left.

    Several texts must all be met, or any of them where the aggregate is not the mean. Texts of
    negative weight must not be.
    """
    texts = tuple(
        (term.text, term.weight > 0) for term in query.terms if isinstance(term, TextTerm)
    )
    return _tsquery(texts, "&&" if query.aggregate == Aggregate.MEAN else "||")


@lru_cache(maxsize=1024)
def _tsquery(texts: tuple[tuple[str, bool], ...], join: str) -> str:
    wanted = [_expression(text) for text, is_wanted in texts if is_wanted]
    unwanted = [_expression(text) for text, is_wanted in texts if not is_wanted]
    sql = f"({f' {join} '.join(sql for sql, _ in wanted)})"
    # The negation of nothing would be everything: what has no word left is left out.
    for some, _ in unwanted:
        sql += f" && !!({some})"
    parameters = [value for _, values in (*wanted, *unwanted) for value in values]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT ({sql})::text", parameters)
        text: str = cursor.fetchone()[0]
    return text


def _expression(text: str) -> tuple[str, list[str]]:
    """Return the SQL of a text's tsquery, and its parameters: words, "or" between, minus before."""
    either: list[list[str]] = [[]]
    parameters: list[str] = []
    for minus, word in _TOKEN.findall(text)[:_MAX_TOKENS]:
        if word.lower() == "or" and not minus:
            either.append([])
            continue
        either[-1].append(f"{'!!' if minus else ''}{_WORD}")
        parameters += [word, word]
    alternatives = [f"({' && '.join(words)})" for words in either if words]
    return f"({' || '.join(alternatives) or EMPTY})", parameters


EMPTY = "''::tsquery"
