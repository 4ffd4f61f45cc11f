"""The two halves of an encoder as runtimes run them: texts by ONNX Runtime, images by OpenVINO.

Each is quicker at its own: docs/decisions/0012. Both are given what the file's inputs are
called, and may be shared by threads.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embeddings.errors import EncoderUnavailable, EncodingFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

Features = NDArray[np.float32]  # (n, dimensions), of any length


class Tower(Protocol):
    def features(self, inputs: Mapping[str, NDArray[Any]]) -> Features:
        """Return one row for each row of the inputs."""
        ...


class OnnxTower:
    """Runs in the thread that asks: as many threads ask at once as there are cores, or more."""

    def __init__(self, file: Path, *, threads: int = 1) -> None:
        import onnxruntime

        self._errors = _onnx_errors()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Memory of the longest text ever would be kept for good.
        options.enable_cpu_mem_arena = False
        try:
            self._session = onnxruntime.InferenceSession(
                str(file), options, providers=["CPUExecutionProvider"]
            )
        except self._errors as error:
            raise EncoderUnavailable(f"{file} cannot be opened here: {error}") from error

    def features(self, inputs: Mapping[str, NDArray[Any]]) -> Features:
        try:
            (features,) = self._session.run(None, dict(inputs))
        except self._errors as error:
            raise EncodingFailed(f"The text tower cannot take it: {error}") from error
        return np.asarray(features, np.float32)


def _onnx_errors() -> tuple[type[Exception], ...]:
    """Return what the runtime raises of a file or its inputs: its errors have no common class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return (
        errors.EPFail, errors.Fail, errors.InvalidArgument, errors.InvalidGraph,
        errors.InvalidProtobuf, errors.NoSuchFile, errors.NotImplemented, errors.RuntimeException,
    )  # fmt: skip


class OpenVinoTower:
    """Runs one batch at a time, on so many threads of its own."""

    def __init__(self, file: Path, *, precision: str, threads: int) -> None:
        import openvino

        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
        }
        try:
            model = openvino.Core().compile_model(str(file), "CPU", hints)
        except RuntimeError as error:
            raise EncoderUnavailable(f"{file} cannot be opened here: {error}") from error
        self._request = model.create_infer_request()
        self._lock = threading.Lock()

    def features(self, inputs: Mapping[str, NDArray[Any]]) -> Features:
        with self._lock:
            try:
                results = self._request.infer(dict(inputs), share_inputs=True)
            except RuntimeError as error:
                raise EncodingFailed(f"The image tower cannot take it: {error}") from error
            return np.array(results[0], np.float32)  # a copy: the next batch overwrites it
