"""PEFT's tests of causal language models."""

from peft_tests import test_decoder_models as suite
from peft_tests.test_decoder_models import TestDecoderModels

from tests.peft_suite import cases, models

suite.ALL_CONFIGS[:] = cases.transformer("CAUSAL_LM")
# Those whose layers are torch's Linear: the projections of GPT-2 are transformers' own Conv1D.
suite.PEFT_DECODER_MODELS_TO_TEST[:] = [name for name in suite.PEFT_DECODER_MODELS_TO_TEST if name in models.BASES]

__all__ = ["TestDecoderModels"]
