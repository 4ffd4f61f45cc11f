"""Low-rank corrections beside the matrices of attention (Hu et al. 2021, "LoRA"), by peft."""

from __future__ import annotations

import warnings
from copy import deepcopy
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from embeddings.errors import TrainingFailed

if TYPE_CHECKING:
    from peft import PeftModel

# As CLIP, SigLIP and BERT call them. Heads that pool by attention hand their matrices to torch
# as numbers, and a correction beside one of those would never be asked.
TARGETS = r".*\.layers?\.\d+\..*(q_proj|k_proj|v_proj|out_proj|query|key|value)"


def add(model: PreTrainedModel, *, rank: int) -> PeftModel:
    """Freeze a model and put corrections into it, which alone are trained."""
    try:
        import peft
    except ImportError as error:
        raise TrainingFailed(
            "LoRA needs peft: .venv/bin/pip install -r requirements-training.txt"
        ) from error
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS)
    try:
        with warnings.catch_warnings():
            # peft asks transformers by a name that will go.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            return peft.get_peft_model(model, config)
    except ValueError as error:
        raise TrainingFailed(
            f"{type(model).__name__} has no attention that LoRA knows: use another method."
        ) from error


def merged(adapted: PeftModel) -> PreTrainedModel:
    """Return a copy of the model with the corrections added to its weights."""
    model: PreTrainedModel = deepcopy(adapted).merge_and_unload()
    return model
