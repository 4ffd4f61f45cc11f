"""Addresses of searches, and the addresses that are a step away from one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

Pair = tuple[str, str]

WEIGHT_NAMES = {"q": "weight", "similar_to": "similar_to_weight"}


@dataclass(frozen=True)
class Address:
    """A search's parameters in the order of its address, none of them empty."""

    pairs: tuple[Pair, ...] = ()

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, object]]) -> Address:
        written = ((name, str(value)) for name, value in pairs)
        return cls(tuple(pair for pair in written if pair[1]))

    def __str__(self) -> str:
        return self.at(reverse("search"))

    def at(self, path: str) -> str:
        """Return another page's address with this search's parameters."""
        return f"{path}?{self.query_string}" if self.pairs else path

    @property
    def query_string(self) -> str:
        return urlencode(self.pairs)

    def values(self, name: str) -> list[str]:
        return [value for name_, value in self.pairs if name_ == name]

    def plus(self, name: str, value: object) -> Address:
        return Address.of([*self.pairs, (name, value)])

    def without(self, name: str, value: str | None = None) -> Address:
        """Return the address less a parameter, or less one of its values."""
        return Address.of(
            pair for pair in self.pairs if pair[0] != name or value not in (None, pair[1])
        )

    def without_term(self, name: str, place: int) -> Address:
        """Return the address less one of its `q` or `similar_to`, with the weight it has."""
        weight_name = WEIGHT_NAMES[name]
        values, weights = self.values(name), self.values(weight_name)
        del values[place]
        del weights[place : place + 1]
        return Address.of(
            [
                *((name, value) for value in values),
                *((weight_name, weight) for weight in weights),
                *(pair for pair in self.pairs if pair[0] not in (name, weight_name)),
            ]
        )

    def with_example(self, kind: str, uuid: object) -> Address:
        """Return the address with an image as an example: `good` or `bad`, never both."""
        other = {"good": "bad", "bad": "good"}[kind]
        return self.without(kind, str(uuid)).without(other, str(uuid)).plus(kind, uuid)
