"""What encoders are called: `IMAGE`, or `TEXT+IMAGE`, and behind either `#letterbox` or `#crops`.

IMAGE and TEXT are each `bundled`, a folder, or a model's id on the hub. One alone encodes both
images and texts; of two, the first encodes texts. What stands behind # is how images far from
square are looked at. All of it decides about the vectors, so all of it is the name of their space.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Self

from embeddings.encoders.framing import Manner
from embeddings.errors import EncoderUnavailable

BUNDLED = "bundled"
_PAIR, _MANNER = "+", "#"


@dataclass(frozen=True)
class EncoderName:
    """An encoder's name in its parts."""

    image: str
    text: str = ""  # another encoder of texts
    manner: Manner = Manner.TRAINED

    @classmethod
    def parse(cls, name: str) -> Self:
        """Raise EncoderUnavailable for a manner that there is not, and for half of a pair."""
        if _is_folder(name):
            return cls(name)
        name, manner = _without_manner(name)
        if _PAIR not in name or _is_folder(name):
            return cls(name, manner=manner)
        text, _, image = name.partition(_PAIR)
        if not text or not image:
            raise EncoderUnavailable(f"{name} is half a name: an encoder of texts + one of images.")
        return cls(image, text, manner)

    def __str__(self) -> str:
        return _PAIR.join(self.parts) + self._ending

    @property
    def parts(self) -> tuple[str, ...]:
        """The encoders that it names: that of texts, if there is one, before that of images."""
        return (self.text, self.image) if self.text else (self.image,)

    @property
    def title(self) -> str:
        """The name to show: of folders only their last part."""
        return _PAIR.join(_title(part) for part in self.parts) + self._ending

    @property
    def _ending(self) -> str:
        return "" if self.manner == Manner.TRAINED else _MANNER + self.manner


def is_bundled(name: str) -> bool:
    """Whether it is the encoder of drawn scenes, however it looks at them."""
    return name.partition(_MANNER)[0] == BUNDLED


def title_of(name: str) -> str:
    """Return how to show a name, whatever it is."""
    try:
        return EncoderName.parse(name).title
    except EncoderUnavailable:
        return name


def _without_manner(name: str) -> tuple[str, Manner]:
    before, mark, written = name.rpartition(_MANNER)
    if not mark or "/" in written:
        return name, Manner.TRAINED
    try:
        return before, Manner(written)
    except ValueError as error:
        known = " or ".join(_MANNER + manner for manner in Manner if manner != Manner.TRAINED)
        raise EncoderUnavailable(
            f"{name[:200]!r}: #{written[:100]} is no way to look at images; write {known}."
        ) from error


def _is_folder(name: str) -> bool:
    with suppress(OSError, ValueError, RuntimeError):  # the last: a home of nobody
        return Path(name).expanduser().is_dir()
    return False


def _title(part: str) -> str:
    return PurePath(part).name if PurePath(part).is_absolute() else part
