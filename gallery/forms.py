"""What people type into the pages, turned into the values that the rest works with."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from gallery import texts
from gallery.descriptions import Description
from gallery.errors import ImageRefused
from gallery.models import FolderUse, Image, OnDuplicates, UploadSession, Visibility


class TagsField(forms.CharField):
    """Tags separated by commas, from one input or a repeated one.

    Cleans to a tuple of names: lower case, trimmed, sorted, each once.
    """

    def clean(self, value: Any) -> tuple[str, ...]:
        line = super().clean(",".join(value) if isinstance(value, list) else value)
        try:
            return texts.tags(line.split(","))
        except ImageRefused as error:
            raise forms.ValidationError(str(error)) from error


class RecordForm(forms.Form):
    """The part of a record that people write."""

    caption = forms.CharField(
        required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 2})
    )
    tags = TagsField(required=False, help_text="Separated by commas.")
    album = forms.CharField(
        required=False, max_length=200, help_text="A new name makes a new album."
    )
    visibility = forms.ChoiceField(choices=Visibility.choices, widget=forms.RadioSelect)


class EditForm(RecordForm):
    @classmethod
    def of(cls, image: Image) -> EditForm:
        """Return the form as the record stands."""
        return cls(
            initial={
                "caption": image.caption,
                "tags": ", ".join(tag.name for tag in image.tags.all()),
                "album": image.album.name if image.album else "",
                "visibility": image.visibility,
            }
        )


class ManyFilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class ManyFilesField(forms.FileField):
    """Cleans to a list. Whether each file is an image, `add_image` decides."""

    widget = ManyFilesInput(attrs={"accept": "image/*"})

    def clean(self, value: Any, initial: Any = None) -> list[Any]:
        if not value:
            raise forms.ValidationError("Choose at least one file.")
        return list(value)


class UploadForm(RecordForm):
    images = ManyFilesField()
    folders = forms.ChoiceField(required=False, choices=FolderUse.choices)
    duplicates = forms.ChoiceField(
        required=False, choices=OnDuplicates.choices, initial=OnDuplicates.REFUSE_NEAR
    )

    @classmethod
    def of(cls, session: UploadSession) -> UploadForm:
        """Return the form as it was filled in for a session."""
        said = Description.from_json(session.about)
        initial = {
            "caption": said.caption,
            "tags": ", ".join(said.tags),
            "album": said.album,
            "folders": session.folders,
        }
        if said.visibility:
            initial["visibility"] = said.visibility
        return cls(initial=initial)

    def description(self) -> Description:
        names = ("caption", "tags", "album", "visibility")
        return Description(**{name: self.cleaned_data[name] for name in names})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("visibility", settings.DEFAULT_VISIBILITY)


def problems(form: forms.Form) -> str:
    """Return what is wrong with the form as sentences."""
    return " ".join(str(error) for errors in form.errors.values() for error in errors)
