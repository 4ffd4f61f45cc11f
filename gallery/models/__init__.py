"""The gallery's tables."""

from __future__ import annotations

from gallery.models.accounts import ApiToken, SavedSearch
from gallery.models.auto_tags import (
    AutoTag,
    AutoTagCalibration,
    AutoTagReader,
    SuggestionState,
    TagMode,
    TagSuggestion,
)
from gallery.models.duplicates import (
    DuplicateCheck,
    DuplicateGroup,
    DuplicateKind,
    DuplicateMember,
    DuplicatePair,
    DuplicateVerdict,
    Verdict,
)
from gallery.models.images import (
    Album,
    Caption,
    CaptionQuerySet,
    Image,
    ImageQuerySet,
    State,
    Tag,
    Visibility,
)
from gallery.models.imports import ImportItem, ImportRun, ItemState, RunState
from gallery.models.links import LinkState, SourceLink
from gallery.models.references import Place, Reference
from gallery.models.uploads import FolderUse, OnDuplicates, Upload, UploadSession, UploadState
from gallery.models.vectors import (
    CaptionEmbedding,
    CaptionEmbeddingJob,
    ImageEmbedding,
    ImageEmbeddingJob,
)
from gallery.models.videos import Video

__all__ = [
    "Album",
    "ApiToken",
    "AutoTag",
    "AutoTagCalibration",
    "AutoTagReader",
    "Caption",
    "CaptionEmbedding",
    "CaptionEmbeddingJob",
    "CaptionQuerySet",
    "DuplicateCheck",
    "DuplicateGroup",
    "DuplicateKind",
    "DuplicateMember",
    "DuplicatePair",
    "DuplicateVerdict",
    "FolderUse",
    "Image",
    "ImageEmbedding",
    "ImageEmbeddingJob",
    "ImageQuerySet",
    "ImportItem",
    "ImportRun",
    "ItemState",
    "LinkState",
    "OnDuplicates",
    "Place",
    "Reference",
    "RunState",
    "SavedSearch",
    "SourceLink",
    "State",
    "SuggestionState",
    "Tag",
    "TagMode",
    "TagSuggestion",
    "Upload",
    "UploadSession",
    "UploadState",
    "Verdict",
    "Video",
    "Visibility",
]
