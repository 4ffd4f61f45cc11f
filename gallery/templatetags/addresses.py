"""Addresses that are a step away from a search's own."""

from __future__ import annotations

from uuid import UUID

from django import template

from gallery.query import Leg
from gallery.views.addresses import Address
from gallery.views.labels import LEGS

register = template.Library()


@register.filter
def with_good(address: Address, uuid: UUID) -> str:
    """Return the search that wants more like this image."""
    return str(address.with_example("good", uuid))


@register.filter
def with_bad(address: Address, uuid: UUID) -> str:
    """Return the search that wants less like this image."""
    return str(address.with_example("bad", uuid))


@register.filter
def leg_name(leg: Leg) -> str:
    return LEGS[leg]
