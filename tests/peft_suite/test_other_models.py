"""PEFT's tests of models that encode, classify and tag."""

from peft_tests import (
    test_encoder_decoder_models,
    test_feature_extraction_models,
    test_seq_classifier,
    test_token_classification_qa,
)
from peft_tests.test_encoder_decoder_models import TestEncoderDecoderModels
from peft_tests.test_feature_extraction_models import TestPeftFeatureExtractionModel
from peft_tests.test_seq_classifier import TestSequenceClassificationModels
from peft_tests.test_token_classification_qa import TestQuestionAnsweringModels, TestTokenClassificationModels

from tests.peft_suite import cases

test_encoder_decoder_models.ALL_CONFIGS[:] = cases.transformer("SEQ_2_SEQ_LM")
test_feature_extraction_models.ALL_CONFIGS[:] = cases.transformer("FEATURE_EXTRACTION")
test_seq_classifier.ALL_CONFIGS[:] = cases.transformer("SEQ_CLS")
test_token_classification_qa.TOKEN_CLS_CONFIGS[:] = cases.transformer("TOKEN_CLS")
test_token_classification_qa.QA_CONFIGS[:] = cases.transformer("QUESTION_ANS")

__all__ = [
    "TestEncoderDecoderModels",
    "TestPeftFeatureExtractionModel",
    "TestQuestionAnsweringModels",
    "TestSequenceClassificationModels",
    "TestTokenClassificationModels",
]
