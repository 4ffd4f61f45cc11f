"""What lies in an encoder's folder, told by the names of its files and its configuration alone.

No library that reads weights is needed for that, so a folder that cannot serve is refused at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from typing import Any, NamedTuple

from embeddings.errors import EncoderUnavailable

CONFIG = "config.json"
OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
MODULES = "modules.json"  # of sentence-transformers: what follows what, each with its folder
MULTILINGUAL_CLIP = "M-CLIP"
_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"  # whole, or in parts
_ADAPTER = "adapter_config.json"
_OTHER_WEIGHTS = "transformers_weights"  # a key of the configuration
_LAYERS, _MOST_LAYERS = "layers", 1000  # the ending of what counts them; L/14 has 24
_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# Whichever is there, the others are made of it.
_TOKENIZERS = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_NAFLEX = "siglip2"  # whose variants of a fixed resolution call themselves siglip
_LONGEST_REASON = 300  # libraries say more than anybody reads
_BOTH_TOWERS = "CLIPModel"  # the module that holds a whole CLIP


class Kind(Enum):
    """Who wrote a folder, and which towers are in it."""

    TRANSFORMERS = auto()  # both, as AutoModel loads them
    OPEN_CLIP = auto()  # both, as open_clip saves them
    SENTENCES = auto()  # a text tower of sentence-transformers
    M_CLIP = auto()  # a text tower of Multilingual-CLIP


TEXTS_ALONE = frozenset({Kind.SENTENCES, Kind.M_CLIP})


class Module(NamedTuple):
    """A step of sentence-transformers."""

    type: str  # the last part of its class' name
    folder: Path


def check(folder: Path, text_folder: Path | None = None) -> None:
    """Raise EncoderUnavailable for folders that cannot serve, the second one for texts."""
    with refused(folder):
        kind = kind_of(folder)
        _check_weights(root_of(folder), kind)
        if kind == Kind.TRANSFORMERS:
            _check_processor(root_of(folder))
        if kind in TEXTS_ALONE:
            raise ValueError(
                "it encodes texts alone; name it before one that encodes images, as TEXT+IMAGE"
            )
        if text_folder is None:
            _check_tokenizer(root_of(folder))
    if text_folder is not None:
        with refused(text_folder):
            _check_weights(root_of(text_folder), kind_of(text_folder))
            _check_tokenizer(root_of(text_folder))


@contextmanager
def refused(folder: Path) -> Iterator[None]:
    """Say of which folder something is wrong. Raise EncoderUnavailable for ValueError."""
    try:
        yield
    except ValueError as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".: ")
        raise EncoderUnavailable(
            f"The folder {folder} holds no encoder that can be used: {reason}."
        ) from error


def kind_of(folder: Path) -> Kind:
    """Raise ValueError where it is none of them."""
    modules = modules_of(folder)
    if modules and modules[0].type != _BOTH_TOWERS:
        return Kind.SENTENCES
    if is_of_open_clip(folder):
        return Kind.OPEN_CLIP
    model_type = read_json(root_of(folder) / CONFIG).get("model_type")
    if model_type == MULTILINGUAL_CLIP:
        return Kind.M_CLIP
    if model_type == _NAFLEX:
        raise ValueError(
            "SigLIP 2 NaFlex takes images in patches of any number; its variants of a fixed "
            "resolution serve, such as google/siglip2-base-patch16-224"
        )
    return Kind.TRANSFORMERS


def is_of_open_clip(folder: Path) -> bool:
    """Whether its weights are those that open_clip saved: some folders hold others beside them."""
    if not (folder / OPEN_CLIP_CONFIG).is_file():
        return False
    if not (folder / CONFIG).is_file() or not any(folder.glob("model*.safetensors")):
        return True
    return "model_type" not in read_json(folder / CONFIG)  # timm's, of the image tower alone


def root_of(folder: Path) -> Path:
    """Return where the files of its transformer are: a module's folder, or itself."""
    modules = modules_of(folder)
    return modules[0].folder if modules else folder


def modules_of(folder: Path) -> list[Module]:
    """Return sentence-transformers' modules in their order; none in the folders of others."""
    if not (folder / MODULES).is_file():
        return []
    try:
        said = json.loads((folder / MODULES).read_text())
        paths = [Path(one["path"]) for one in said]
        types = [str(one["type"]).rpartition(".")[2] for one in said]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"its {MODULES} cannot be read") from error
    if any(path.is_absolute() or ".." in path.parts for path in paths):
        raise ValueError(f"its {MODULES} names folders outside of it")
    return [Module(type_, folder / path) for type_, path in zip(types, paths, strict=True)]


def read_json(file: Path) -> dict[str, Any]:
    """Raise ValueError when there is no object in it."""
    try:
        said = json.loads(file.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"it has no {file.name}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"its {file.name} cannot be read") from error
    if not isinstance(said, dict):
        raise ValueError(f"its {file.name} says nothing of an encoder")
    return said


def _check_weights(folder: Path, kind: Kind) -> None:
    if not any(folder.glob("*.safetensors")):
        pickles = [file.name for pattern in _PICKLES for file in sorted(folder.glob(pattern))]
        reason = f"its weights are a pickle ({pickles[0]}), which can hold code" if pickles else ""
        raise ValueError(f"{reason or 'it has no weights'}; only safetensors are read")
    _check_layers(read_json(folder / (OPEN_CLIP_CONFIG if kind == Kind.OPEN_CLIP else CONFIG)))
    if kind not in (Kind.TRANSFORMERS, Kind.SENTENCES):
        return
    # transformers would read what these name: pickles, and files that no revision covers.
    if (folder / _ADAPTER).exists():
        raise ValueError(f"it holds an adapter ({_ADAPTER}), which must be merged into its weights")
    if _OTHER_WEIGHTS in read_json(folder / CONFIG):
        raise ValueError(f"its {CONFIG} names weights of its own; only {_WEIGHTS} is read")
    if not (folder / _WEIGHTS).is_file() and (folder / _INDEX).is_file():
        _check_parts(folder)


def _check_layers(said: object) -> None:
    """Each is made before it is known whether the weights have it: of millions, memory is full."""
    if isinstance(said, list):
        for value in said:
            _check_layers(value)
    if not isinstance(said, dict):
        return
    for name, value in said.items():
        if name.endswith(_LAYERS) and isinstance(value, int) and value > _MOST_LAYERS:
            raise ValueError(f"its {name} are {value:,}; at most {_MOST_LAYERS:,} are made")
        _check_layers(value)


def _check_parts(folder: Path) -> None:
    said = read_json(folder / _INDEX).get("weight_map")
    names = list(said.values()) if isinstance(said, dict) else []
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"its {_INDEX} names no weights")
    for name in sorted(set(names)):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ValueError(f"its {_INDEX} names {name}; only safetensors beside it are read")
        if not (folder / name).is_file():
            raise ValueError(f"it has no {name}")


def _check_tokenizer(folder: Path) -> None:
    is_there = any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS)
    if not is_there and not any(folder.glob("*.model")):
        raise ValueError("it has no tokenizer: no tokenizer.json, vocab.txt or sentencepiece model")


def _check_processor(folder: Path) -> None:
    if not any((folder / name).is_file() for name in _PROCESSORS):
        raise ValueError(f"it has no {_PROCESSORS[0]}")
