"""Brings whatever colour data a file has to 8-bit RGB in the sRGB space."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms
from PIL.Image import Image as Pixels

from gallery.errors import ImageRefused

_MAX_PROFILE_BYTES = 4_000_000
_SRGB = ImageCms.createProfile("sRGB")


def flatten(image: Pixels) -> Pixels:
    """Return 8-bit RGB, L or CMYK pixels; what is transparent lets white through."""
    try:
        if image.mode.startswith("I;16"):
            # Pillow would clip at 255; the high byte keeps the whole range.
            return _grey(np.asarray(image) >> 8)
        if image.mode in {"I", "F"}:
            return _grey(_stretched(np.asarray(image, dtype=np.float64)))
        if image.has_transparency_data:
            return _on_white(image)
        return image if image.mode in {"RGB", "L", "CMYK"} else image.convert("RGB")
    except (KeyError, TypeError, ValueError) as error:
        raise ImageRefused("The image's colours cannot be read.") from error


def to_srgb(pixels: Pixels, profile: bytes | None) -> Pixels:
    """Return RGB pixels, converted by the file's colour profile; a broken one is ignored."""
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                converted = ImageCms.profileToProfile(pixels, source, _SRGB, outputMode="RGB")
                pixels = converted or pixels
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass
    return pixels if pixels.mode == "RGB" else pixels.convert("RGB")


def _on_white(image: Pixels) -> Pixels:
    rgba = image.convert("RGBA")
    white = PillowImage.new("RGB", image.size, "white")
    white.paste(rgba, mask=rgba.getchannel("A"))
    return white


def _grey(values: np.ndarray) -> Pixels:
    return PillowImage.fromarray(values.astype(np.uint8))


def _stretched(values: np.ndarray) -> np.ndarray:
    """Return values within 0 to 255: unchanged if they are, else from their least to greatest."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and 1 < high <= 255:
        return values
    return (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
