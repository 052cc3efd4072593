"""Subnets as models of transformers: importing this registers them with the Auto classes.

import nasc.hf
model = transformers.AutoModelForSequenceClassification.from_pretrained("folder")
"""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
)

from nasc.hf.configuration import NascConfig
from nasc.hf.modeling import (
    NascForMaskedLM,
    NascForQuestionAnswering,
    NascForSequenceClassification,
    NascModel,
    NascPreTrainedModel,
)

__all__ = [
    "NascConfig",
    "NascForMaskedLM",
    "NascForQuestionAnswering",
    "NascForSequenceClassification",
    "NascModel",
    "NascPreTrainedModel",
]

AutoConfig.register(NascConfig.model_type, NascConfig, exist_ok=True)
AutoModel.register(NascConfig, NascModel, exist_ok=True)
AutoModelForMaskedLM.register(NascConfig, NascForMaskedLM, exist_ok=True)
AutoModelForSequenceClassification.register(
    NascConfig, NascForSequenceClassification, exist_ok=True
)
AutoModelForQuestionAnswering.register(NascConfig, NascForQuestionAnswering, exist_ok=True)
