"""What an encoder is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

    from embeddings.encoders.framing import Frames, Framing
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
    def framing(self) -> Framing:
        """What it looks at of an image; whoever decodes one need give no more."""
        ...

    def encode_frames(self, frames: Sequence[Frames]) -> Vectors:
        """Return the vectors of images by their frames; of several, the mean's direction."""
        ...

    def encode_images(self, images: Sequence[Pixels]) -> Vectors:
        """Return the vectors of RGB images."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of texts; one beyond the encoder's length is cut."""
        ...

    def unknown_words(self, text: str) -> tuple[str, ...]:
        """Words of the text that the encoder never learned, so that they change nothing."""
        ...
