"""PEFT's tests of quantised bases."""

from peft_tests import test_quantization as suite
from peft_tests.test_quantization import TestQuantization

from tests.peft_suite import cases

suite.TEST_CASES[:] = cases.QUANTIZED

__all__ = ["TestQuantization"]
