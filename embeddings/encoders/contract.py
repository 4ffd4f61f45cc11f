"""What an encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

    from embeddings.vectors import Vectors


class Encoder(Protocol):
    """Turns images and texts into vectors of one space.

    Vectors are float32 of unit length, (n, dimensions), in the order of what was given. An
    encoder may be used by several threads at once.
    """

    @property
    def name(self) -> str: ...

    @property
    def revision(self) -> str:
        """Another revision means other vectors: the two must not be compared."""
        ...

    @property
    def dimensions(self) -> int: ...

    @property
    def image_edge(self) -> int:
        """Pixels of the square it looks at; more than about twice that is lost on it."""
        ...

    def encode_images(self, images: Sequence[Pixels]) -> Vectors: ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors: ...

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words of the text that the encoder never learned, so that they change nothing."""
        ...
