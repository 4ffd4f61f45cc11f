"""Arguments of a command line from the fields of a source: one way to say them for all kinds."""

from __future__ import annotations

import types
from argparse import SUPPRESS, ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from gallery.importers import Source

_MANY = (list, tuple, set, frozenset)
_PREFIX = "source_"  # a source may have a field called like an option of the command


def add(parser: ArgumentParser, source: type[Source]) -> None:
    """Add an argument a field: a required one by its place, the others as `--options`.

    What is said is checked by the source itself, when it is made.
    """
    for name, field in source.model_fields.items():
        settings: dict[str, Any] = {"help": _help(field), "default": SUPPRESS}
        kind = _plain(field.annotation)
        if get_origin(kind) is Literal:
            settings["choices"] = [str(choice) for choice in get_args(kind)]
        else:
            settings["metavar"] = name.upper()
        is_many = (get_origin(kind) or kind) in _MANY
        if field.is_required():
            # Of its own default a place of its own makes a required one optional.
            settings.pop("default")
            parser.add_argument(_PREFIX + name, nargs="+" if is_many else None, **settings)
            continue
        if kind is bool:
            settings.pop("metavar")
            settings["action"] = BooleanOptionalAction if field.default else "store_true"
        elif is_many:
            settings["action"] = "append"
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, dest=_PREFIX + name, **settings)


def read(source: type[Source], said: Namespace | Mapping[str, Any]) -> dict[str, Any]:
    """Return what the command line says of the fields; those it does not name are left out."""
    values = vars(said) if isinstance(said, Namespace) else said
    return {
        name: values[_PREFIX + name]
        for name in source.model_fields
        if values.get(_PREFIX + name) is not None
    }


def _plain(annotation: Any) -> Any:
    """Return the type of a field without `| None`."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [one for one in get_args(annotation) if one is not types.NoneType]
        return kinds[0]
    return annotation


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if default not in (None, "", False) and default != () and default != [] and default != {}:
        text = f"{text}; default: {default}"
    return text.replace("%", "%%")
