"""PEFT's tests of configurations."""

import pytest
from peft_tests import test_config as suite
from peft_tests.test_config import TestPeftConfig

from prolora.peft import ProloraConfig

OURS = [(ProloraConfig, {})]
suite.LAYER_INDEXING_CONFIG_CLASSES[:] = OURS

# This list is a tuple, which only the tests' own marks can let go of.
for test in vars(TestPeftConfig).values():
    for place, mark in enumerate(getattr(test, "pytestmark", [])):
        if suite.ALL_CONFIG_CLASSES in mark.args:
            test.pytestmark[place] = pytest.mark.parametrize(mark.args[0], OURS).mark

__all__ = ["TestPeftConfig"]
