"""What people fill in to start an import, and where they are in its items."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from gallery.forms import TagsField
from gallery.models import Visibility


class ImportForm(forms.Form):
    """A file or URLs, and what is said of all images."""

    file = forms.FileField(required=False)
    urls = forms.CharField(
        required=False,
        max_length=5_000_000,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "https://…", "spellcheck": "false"}),
    )
    tags = TagsField(required=False)
    album = forms.CharField(required=False, max_length=200)
    visibility = forms.ChoiceField(choices=Visibility.choices, widget=forms.RadioSelect)
    is_dry_run = forms.BooleanField(required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("visibility", settings.DEFAULT_VISIBILITY)

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or {}
        if "file" in said and "urls" in said:
            if not said["file"] and not said["urls"].strip():
                raise forms.ValidationError("Choose a file, or write a URL.")
            if said["file"] and said["urls"].strip():
                raise forms.ValidationError("Send a file or URLs, not both at once.")
        return said


class PageForm(forms.Form):
    """Keys of an item or a run, after or before which a page begins."""

    after = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    before = forms.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
