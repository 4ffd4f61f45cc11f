"""What an encoder's folders say of themselves, read by transformers: model, tokenizer, sizes.

Of a pair, the text tower is read from one folder and the image tower from another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from numpy.typing import NDArray
from PIL.Image import new as new_image
from safetensors import SafetensorError
from transformers import (
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
)
from transformers.utils import logging as transformers_logging

from embeddings.encoders import folders, open_clip_folders, sentence_towers, vocabularies
from embeddings.encoders.folders import Kind
from embeddings.encoders.framing import Framing
from embeddings.encoders.parts import (
    Channels,
    Images,
    Parts,
    Texts,
    check_numbers,
    features_of,
    text_options,
)
from embeddings.encoders.tokens import TextOptions, Tokens

transformers_logging.disable_progress_bar()

_ODD_SIZE = (61, 47)  # pixels of an image that shows how a processor cuts and scales
_FEATURES = ("get_image_features", "get_text_features")
# The second is of no language, so that a vocabulary knows little of it.
_TEXTS = ("a boat", "\u5317\u4eac \U0001f6f6 qzx-7")
# What libraries raise at files that are not as they expect, beside ValueError. Read off them, and
# off files that were spoilt at random.
_FOREIGN = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, OSError,
    RuntimeError, SafetensorError, StrictDataclassError, TypeError,
)  # fmt: skip


def read(folder: Path, text_folder: Path | None = None) -> Parts:
    """Load an encoder; of a pair the text tower is in a folder of its own.

    Raise EncoderUnavailable, with a sentence on the folder that holds none.
    """
    folders.check(folder, text_folder)
    with _refused(folder):
        images = _images(folder)
    with _refused(text_folder or folder):
        texts = _texts(folder, images.model) if text_folder is None else _texts(text_folder)
        parts = Parts.joined(texts, images)
        _check_features(parts)
    return parts


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    """Raise EncoderUnavailable for whatever is raised where foreign code reads foreign files."""
    with folders.refused(folder):
        try:
            yield
        except _FOREIGN as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        except Exception as error:
            if type(error) is not Exception:  # tokenizers has no class of its own
                raise
            raise ValueError(str(error)) from error


def parts_of(model: Any, tokenizer: Any, processor: Any) -> Parts:
    """Return what is needed of what transformers makes. Raise ValueError where it cannot serve."""
    texts = Texts(model, tokenizer.backend_tokenizer, _options_of(model.config, tokenizer))
    return Parts.joined(texts, Images(model, *framing_of(processor)))


def _images(folder: Path) -> Images:
    if folders.kind_of(folder) == Kind.OPEN_CLIP:
        return open_clip_folders.images(folder)
    root = folders.root_of(folder)
    model = _model(root)
    processor = AutoImageProcessor.from_pretrained(
        str(root), trust_remote_code=False, backend="pil"
    )
    return Images(model, *framing_of(processor))


def _texts(folder: Path, model: Any = None) -> Texts:
    """`model` is the one of the folder, where it was loaded for its images."""
    kind = folders.kind_of(folder)
    if kind in folders.TEXTS_ALONE:
        return sentence_towers.read(folder)
    if kind == Kind.OPEN_CLIP:
        return open_clip_folders.texts(folder, model)
    root = folders.root_of(folder)
    model = model or _model(root)
    tokenizer = vocabularies.of(root, model.config.model_type)
    vocabularies.check(tokenizer, _embedded(model.config))
    return Texts(model, tokenizer.backend_tokenizer, _options_of(model.config, tokenizer))


def _model(folder: Path) -> Any:
    _check_architecture(folder)
    model, report = AutoModel.from_pretrained(
        str(folder),
        use_safetensors=True,
        trust_remote_code=False,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,  # told below, and in one sentence
        output_loading_info=True,
    )
    if wrong := sorted(str(one[0]) for one in report["mismatched_keys"]):
        raise ValueError(
            f"{len(wrong)} of its weights are of another size than {folders.CONFIG} says, "
            f"such as {wrong[0]}"
        )
    if missing := report["missing_keys"]:
        # They would be filled at random, in each process in another way.
        raise ValueError(f"its checkpoint lacks {len(missing)} weights")
    check_numbers(model)
    return model.eval()


def _check_architecture(folder: Path) -> None:
    """Raise ValueError unless it encodes images and texts: before gigabytes of it are loaded."""
    said = folders.read_json(folder / folders.CONFIG)
    model_type = said.get("model_type")
    if model_type not in CONFIG_MAPPING:
        code = ", and code from a folder is never run" if "auto_map" in said else ""
        raise ValueError(
            f"transformers {transformers.__version__} knows no model of type {model_type!r}{code}"
        )
    config = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
    model = MODEL_MAPPING.get(type(config), None)
    if model is None or not all(hasattr(model, feature) for feature in _FEATURES):
        name = getattr(model, "__name__", model_type)
        raise ValueError(f"{name} does not encode both images and texts")


def _check_features(parts: Parts) -> None:
    """Raise ValueError unless a text and an image come out as vectors of the same width."""
    tokens = Tokens(parts.tokenizer, parts.text_options).arrays(_TEXTS)
    pixels = torch.zeros(1, 3, parts.framing.height, parts.framing.width)
    with torch.inference_mode():
        texts = {name: torch.from_numpy(values) for name, values in tokens.items()}
        text = features_of(parts.model.get_text_features(**texts))
        image = features_of(parts.model.get_image_features(pixel_values=pixels))
    if image.ndim != 2 or text.ndim != 2 or image.shape[1] != text.shape[1]:
        raise ValueError(
            f"it gives {image.shape[-1]} dimensions for images and {text.shape[-1]} for texts"
        )
    lengths = torch.cat([text.norm(dim=1), image.norm(dim=1)])
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        raise ValueError("its vectors are zero, or no numbers")


def _text_config(config: Any) -> Any:
    return getattr(config, "text_config", config)


def _embedded(config: Any) -> int:
    """Return how many tokens a text tower knows."""
    return int(getattr(_text_config(config), "vocab_size", 0) or 0)


def _options_of(config: Any, tokenizer: Any) -> TextOptions:
    positions = getattr(_text_config(config), "max_position_embeddings", None)
    # SigLIP was trained with every text padded to full length; a shorter one gives other
    # vectors. CLIP looks at the end-of-text token: padding changes nothing and costs time.
    return text_options(
        tokenizer,
        positions=int(positions or tokenizer.model_max_length),
        pads_fully="siglip" in config.model_type,
    )


def framing_of(processor: Any) -> tuple[Framing, Channels, Channels]:
    """Return what an image processor does: framing, scale and shift as in Parts.

    Raise ValueError for one that does anything else.
    """
    scale, shift = _pixel_range(processor)
    framing = _framing(processor, bars=shift / scale)
    _check_framing(framing, processor, scale, shift)
    return framing, scale, shift


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
