"""The form of an auto tag: its name, prompts, and what happens with the images that it fits."""

from __future__ import annotations

from typing import Any

from django import forms

from gallery.auto_tags import wording
from gallery.auto_tags.changes import LEAST_PRECISION, MOST_PRECISION, Setting, checked_name
from gallery.errors import AutoTagInvalid
from gallery.models import AutoTag, TagMode


class AutoTagForm(forms.Form):
    """A prompt a line; without any, the name is the prompt."""

    name = forms.CharField(
        max_length=100, widget=forms.TextInput(attrs={"autocomplete": "off"}), label="Tag"
    )
    prompts = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 3})
    )
    templates = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 5})
    )
    mode = forms.ChoiceField(
        choices=TagMode.choices, initial=TagMode.SUGGEST, widget=forms.RadioSelect
    )
    # In percent, as people say it.
    wanted_precision = forms.IntegerField(
        min_value=round(100 * LEAST_PRECISION),
        max_value=round(100 * MOST_PRECISION),
        initial=90,
    )

    @classmethod
    def of(cls, auto_tag: AutoTag) -> AutoTagForm:
        """Return the form as the auto tag stands."""
        return cls(
            initial={
                "name": auto_tag.tag.name,
                "prompts": "\n".join(auto_tag.prompts),
                "templates": "\n".join(auto_tag.templates),
                "mode": auto_tag.mode,
                "wanted_precision": round(100 * auto_tag.wanted_precision),
            }
        )

    @classmethod
    def empty(cls) -> AutoTagForm:
        return cls(initial={"templates": "\n".join(wording.TEMPLATES)})

    def clean_name(self) -> str:
        try:
            return checked_name(self.cleaned_data["name"])
        except AutoTagInvalid as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        prompts = [*cleaned["prompts"].splitlines()]
        if not any(line.strip() for line in prompts):
            prompts = [cleaned["name"]]
        templates = cleaned["templates"].splitlines()
        field = "templates"
        try:
            wording.read_templates(templates)
            field = "prompts"
            cleaned["wording"] = wording.read(prompts, templates)
        except AutoTagInvalid as error:
            self.add_error(field, str(error))
        return cleaned

    def setting(self) -> Setting:
        """Return what was filled in; for a form that is valid."""
        said = self.cleaned_data
        return Setting(
            wording=said["wording"],
            mode=said["mode"],
            wanted_precision=said["wanted_precision"] / 100,
        )
