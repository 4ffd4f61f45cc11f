"""Many images through torch at once: as many as the device's memory takes, in a compiled graph."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch._dynamo.exc import TorchDynamoException
from torch._inductor.exc import InductorError

from embeddings.encoders.parts import Parts, features_of
from embeddings.errors import EncoderUnavailable
from embeddings.vectors import Vectors

log = logging.getLogger(__name__)

MOST_AT_ONCE = 1024  # frames: beyond it a larger batch gains nothing
_PROBED = 8  # frames that show how much memory one takes, and that a graph is made of
_SHARE_OF_MEMORY = 0.5  # of what is free: texts come between, and other processes want some
# A graph takes half a minute to compile. A process that embeds an upload now and then never does.
COMPILED_FROM = 2048  # frames

Run = Callable[[torch.Tensor], torch.Tensor]


class ImageTower:
    """Gives the features of frames, in batches that fit. Threads share it, one at a time."""

    def __init__(
        self,
        parts: Parts,
        device: torch.device,
        dtype: torch.dtype,
        *,
        compiled_from: int = 0,
    ) -> None:
        """Take `parts.model`, which lies on the device, or a copy of it in another precision.

        It is compiled after so many frames; 0: never.
        """
        self._device, self._dtype = device, dtype
        # autocast would round all weights anew for every batch.
        exact = parts.model
        self._model = exact if dtype == torch.float32 else copy.deepcopy(exact).to(dtype)
        self._scale, self._shift = (
            torch.from_numpy(values).view(1, 3, 1, 1).to(device)
            for values in (parts.scale, parts.shift)
        )
        self._lock = threading.Lock()
        self._run: Run = self._eager
        self._until_compiled = compiled_from
        self.at_once = 0  # frames; chosen when the first ones come

    def features(self, frames: NDArray[np.uint8]) -> Vectors:
        """Return (n, dimensions) of (n, height, width, 3), not yet of unit length.

        What does not fit into the device's memory is halved until it does. Raise
        EncoderUnavailable when not even one frame fits, or the device fails: no image is at fault.
        """
        found: list[torch.Tensor] = []
        start = 0
        with self._lock, torch.inference_mode():
            try:
                self.at_once = self.at_once or self._fitting(frames[:1])
                self._compile_when_worth_it(frames)
                while start < len(frames):
                    part = frames[start : start + self.at_once]
                    if (features := self._fitted(part)) is not None:
                        found.append(features)
                        start += len(part)
                # At the end: until then the next batch is made ready while the device computes.
                return np.asarray(torch.cat(found).cpu().numpy(), np.float32)
            except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
                raise EncoderUnavailable(f"The device of the encoder failed: {error}") from error

    def _fitted(self, frames: NDArray[np.uint8]) -> torch.Tensor | None:
        """Return the features; None when they do not fit, and fewer are to be tried."""
        # A graph is made for one or for many: a few images are not worth one of their own.
        run = self._eager if len(frames) < _PROBED else self._run
        try:
            return run(self._moved(frames))
        except torch.OutOfMemoryError:
            if len(frames) == 1:
                raise
        # Out of the handler: until then its traceback holds on to all that was allocated.
        self.at_once = len(frames) // 2
        log.warning("The device's memory is full: %d images at once from now on.", self.at_once)
        _give_back_cached(self._device)
        return None

    def _moved(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        pixels = torch.from_numpy(frames)
        if self._device.type != "cuda":
            return pixels.to(self._device)
        # Pinned memory is read by the device itself, at the full rate of its bus.
        return pixels.pin_memory().to(self._device, non_blocking=True)

    def _eager(self, pixels: torch.Tensor) -> torch.Tensor:
        scaled = pixels.permute(0, 3, 1, 2).float() * self._scale - self._shift
        output = self._model.get_image_features(pixel_values=scaled.to(self._dtype))
        return features_of(output).float()

    def _fitting(self, one: NDArray[np.uint8]) -> int:
        """Return how many frames the device's memory takes, by what a few of them take."""
        if self._device.type != "cuda":
            return MOST_AT_ONCE
        probe = self._moved(np.repeat(one, _PROBED, axis=0))
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        self._eager(probe)
        taken = torch.cuda.max_memory_allocated(self._device) - before
        free, _ = torch.cuda.mem_get_info(self._device)
        fitting = int(free * _SHARE_OF_MEMORY / max(taken / _PROBED, 1))
        return min(max(fitting, 1), MOST_AT_ONCE)

    def _compile_when_worth_it(self, frames: NDArray[np.uint8]) -> None:
        if self._until_compiled <= 0:
            return
        self._until_compiled -= len(frames)
        if self._until_compiled <= 0:
            self._run = self._compiled(np.repeat(frames[:1], _PROBED, axis=0))

    def _compiled(self, tried: NDArray[np.uint8]) -> Run:
        """Return a graph for batches of any size; without compiler or memory, what there was."""
        compiled: Run = torch.compile(self._eager, dynamic=True)
        try:
            compiled(self._moved(tried))
        except (TorchDynamoException, InductorError, torch.OutOfMemoryError) as error:
            log.warning("Images are encoded without a compiled graph: %s", error)
            return self._eager
        return compiled


def _give_back_cached(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
