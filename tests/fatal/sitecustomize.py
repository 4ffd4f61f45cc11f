"""Lets a decode process die of marked images, as it would of a fault in a decoder's C code.

Python imports a module of this name when it starts; this one, where PYTHONPATH names its folder.
"""

from __future__ import annotations

import os
import sys

if "gallery.decoding.child" in sys.orig_argv:
    from PIL.ImageFile import ImageFile

    decode = ImageFile.load

    def load(image):
        match image.info.get("comment"):
            case b"crash":
                os.abort()
            case b"hang":
                while True:
                    pass
            case b"fill the memory":
                bytearray(2**40)
        return decode(image)

    ImageFile.load = load  # type: ignore[method-assign]  # that is what it is for
