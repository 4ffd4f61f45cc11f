"""Digests of images that came in before digests were taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gallery import originals
from gallery.decoding import decoders
from gallery.errors import GalleryError
from gallery.models import Image


def images_of(owner_id: int) -> list[int]:
    """Return the images of an owner without digests."""
    rows = Image.objects.filter(owner_id=owner_id, pixel_sha256="").order_by("pk")
    return list(rows.values_list("pk", flat=True))


def complete(image_ids: Sequence[int]) -> Iterator[str]:
    """Decode each file anew and store its digests; yield "" or why that was not possible."""
    for image_id in image_ids:
        image = Image.objects.filter(pk=image_id).only("pk", "file", "sha256").first()
        if image is None:
            yield ""
            continue
        try:
            with originals.opened(image) as file:
                studied = decoders.study(file)
        except (GalleryError, OSError) as error:
            yield f"Image {image_id} cannot be compared: {error}"
            continue
        Image.objects.filter(pk=image_id).update(
            pixel_sha256=studied.pixel_sha256 or image.sha256,
            perceptual_hash=studied.perceptual_hash,
        )
        yield ""
