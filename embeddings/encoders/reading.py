"""What an encoder's folder says of itself, read by transformers: model, tokenizer, sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import new as new_image
from tokenizers import Tokenizer
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from embeddings.encoders.framing import Framing
from embeddings.encoders.tokens import IDS, MASK, TYPES, TextOptions

transformers_logging.disable_progress_bar()

Channels = NDArray[np.float32]  # (3,): red, green, blue

_ODD_SIZE = (61, 47)  # pixels of an image that shows how a processor cuts and scales
_LONGEST = 512  # tokens


@dataclass(frozen=True)
class Parts:
    """An encoder as it was loaded: float32, on the CPU, in evaluation."""

    model: Any
    tokenizer: Tokenizer
    text_options: TextOptions
    framing: Framing
    # Of a pixel's value from 0 to 255, (3,) each: the tower is given value * scale - shift.
    scale: Channels
    shift: Channels


def read(folder: Path) -> Parts:
    """Load an encoder. Raises whatever foreign parsers raise on what is none."""
    model = _model(folder)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    processor = AutoImageProcessor.from_pretrained(
        str(folder), trust_remote_code=False, backend="pil"
    )
    return parts_of(model, tokenizer, processor)


def parts_of(model: Any, tokenizer: Any, processor: Any) -> Parts:
    """Return what is needed of what transformers loads or makes. Raise ValueError as below."""
    framing, scale, shift = framing_of(processor)
    options = _text_options(model.config, tokenizer)
    return Parts(model, tokenizer.backend_tokenizer, options, framing, scale, shift)


def framing_of(processor: Any) -> tuple[Framing, Channels, Channels]:
    """Return what an image processor does: framing, scale and shift as in Parts.

    Raise ValueError for one that does anything else.
    """
    scale, shift = _pixel_range(processor)
    framing = _framing(processor, bars=shift / scale)
    _check_framing(framing, processor, scale, shift)
    return framing, scale, shift


def _model(folder: Path) -> Any:
    model, report = AutoModel.from_pretrained(
        str(folder),
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        output_loading_info=True,
    )
    for feature in ("get_image_features", "get_text_features"):
        if not hasattr(model, feature):
            raise ValueError(f"{type(model).__name__} does not encode both images and texts")
    if missing := report["missing_keys"]:
        # They would be filled at random, in each process in another way.
        raise ValueError(f"its checkpoint lacks {len(missing)} weights")
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise ValueError("its checkpoint holds weights that are no numbers")
    return model.eval()


def _text_options(config: Any, tokenizer: Any) -> TextOptions:
    tower = getattr(config, "text_config", config)
    longest = getattr(tower, "max_position_embeddings", None) or tokenizer.model_max_length
    return TextOptions(
        longest=min(int(longest), _LONGEST),
        # SigLIP was trained with every text padded to full length; a shorter one gives other
        # vectors. CLIP looks at the end-of-text token: padding changes nothing and costs time.
        pads_fully="siglip" in config.model_type,
        pads_left=tokenizer.padding_side == "left",
        pad_id=int(tokenizer.pad_token_id or 0),
        unknown_id=tokenizer.unk_token_id,
        inputs=tuple(name for name in (IDS, MASK, TYPES) if name in tokenizer.model_input_names),
    )


def _framing(processor: Any, *, bars: Channels) -> Framing:
    scaled, is_cut = _sizes(processor.size), bool(getattr(processor, "do_center_crop", False))
    shown, shorter = (
        _sizes(processor.crop_size) if is_cut else scaled,
        scaled.get("shortest_edge", 0),
    )
    sizes = shown.get("width", 0), shown.get("height", 0)
    if not all(sizes) or is_cut != bool(shorter) or 0 < shorter < max(sizes):
        raise _unknown(processor)
    red, green, blue = (int(value) for value in np.clip(np.rint(bars), 0, 255))
    return Framing(
        width=sizes[0],
        height=sizes[1],
        shorter=shorter,
        resample=int(processor.resample),
        bars=(red, green, blue),
    )


def _sizes(said: Any) -> dict[str, int]:
    return {name: int(edge) for name, edge in dict(said).items() if edge}


def _unknown(processor: Any) -> ValueError:
    return ValueError(f"its {type(processor).__name__} prepares images in an unknown way")


def _pixel_range(processor: Any) -> tuple[Channels, Channels]:
    """Return scale and shift, read off black and white: processors say it in several ways."""
    plain = (
        _processed(processor, new_image("RGB", (8, 8), colour)) for colour in ("black", "white")
    )
    # In the middle: at its border it may be padded.
    black, white = (pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2] for pixels in plain)
    return np.asarray((white - black) / 255, np.float32), -black


def _check_framing(framing: Framing, processor: Any, scale: Channels, shift: Channels) -> None:
    """Raise ValueError unless ours gives what the processor gives, upright and lying down."""
    width, height = _ODD_SIZE
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for pixels in (noise, noise.transpose(1, 0, 2)):
        image = new_image("RGB", (pixels.shape[1], pixels.shape[0]))
        image.frombytes(np.ascontiguousarray(pixels).tobytes())
        ours = framing.frames(image)[0].transpose(2, 0, 1) * scale[:, None, None]
        ours -= shift[:, None, None]
        theirs = _processed(processor, image)
        # Of scaling and cutting in one step, one pixel in a thousand is rounded the other way.
        if ours.shape != theirs.shape or np.abs(ours - theirs).max() > 1.5 * scale.max():
            raise _unknown(processor)


def _processed(processor: Any, image: Any) -> NDArray[np.float32]:
    pixels = processor(images=[image], return_tensors="np")["pixel_values"][0]
    return np.asarray(pixels, np.float32)


def features_of(output: Any) -> torch.Tensor:
    """Return the features of what `get_image_features` or its sister gives, (n, dimensions)."""
    # transformers 5 wraps the features; the remote code of older models does not.
    return getattr(output, "pooler_output", output)  # type: ignore[no-any-return]  # a tensor in either case
