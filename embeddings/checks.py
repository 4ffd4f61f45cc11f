"""System checks: a vector table that cannot work is told before the server starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import Error, register
from django.db import models


@register()
def check_vector_tables(**_options: Any) -> list[Error]:
    from embeddings.feed import vector_tables

    errors = []
    for model in vector_tables():
        try:
            subject = model.subject_field()
        except TypeError as error:
            errors.append(Error(f"{error}.", obj=model, id="embeddings.E001"))
            continue
        target = subject.target_field
        is_key = isinstance(target, models.IntegerField) and target.primary_key
        if not is_key or subject.null:
            errors.append(
                Error(
                    f"{model.__name__}.{subject.name} must point to an integer primary key, "
                    "and not be null.",
                    hint="An index knows subjects by 64-bit numbers.",
                    obj=model,
                    id="embeddings.E002",
                )
            )
        unique = {
            frozenset(constraint.fields)
            for constraint in model._meta.constraints
            if isinstance(constraint, models.UniqueConstraint) and constraint.condition is None
        }
        if frozenset({subject.name, "space"}) not in unique:
            errors.append(
                Error(
                    f"{model.__name__} needs a unique constraint on ({subject.name}, space).",
                    hint="Without it a vector that is written twice is there twice.",
                    obj=model,
                    id="embeddings.E003",
                )
            )
    return errors


@register()
def check_filter_tables(**_options: Any) -> list[Error]:
    from embeddings.feed import vector_tables

    errors = []
    for model in vector_tables():
        for label in model.filter_tables:
            try:
                apps.get_model(label)
            except (LookupError, ValueError):
                errors.append(
                    Error(
                        f"{model.__name__}.filter_tables names {label!r}, and there is no such "
                        "model.",
                        hint='Write "app.Model"; of a many-to-many field "app.Model_field".',
                        obj=model,
                        id="embeddings.E004",
                    )
                )
    return errors


@register()
def check_settings(**_options: Any) -> list[Error]:
    from embeddings.conf import REQUIRED

    return [
        Error(
            f"{name} is not set.",
            hint="Name a folder that the server may write to, as a pathlib.Path.",
            id="embeddings.E005",
        )
        for name in REQUIRED
        if not isinstance(getattr(settings, name, None), Path)
    ]
