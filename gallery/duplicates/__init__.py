"""Images that show the same: found, told of, and decided about.

`likeness` answers for one file what it is like, before it is stored. `finding` compares new images
with the others of their owner (`waiting` is its queue) or all with all; `grouping` makes groups of
what it finds, `review` reads them, `decisions` is what a person makes of them.
"""

from __future__ import annotations

from gallery.duplicates.likeness import LikeAnother, Likeness, check, like, like_image

__all__ = ["LikeAnother", "Likeness", "check", "like", "like_image"]
