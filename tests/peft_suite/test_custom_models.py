"""PEFT's tests of plain torch models."""

from peft_tests import test_custom_models as suite
from peft_tests.test_custom_models import (
    TestMixedAdapterBatches,
    TestMultipleActiveAdapters,
    TestPeftCustomModel,
    TestRequiresGrad,
)

from prolora.peft import ProloraConfig
from tests.peft_suite import cases

suite.TEST_CASES[:] = cases.CUSTOM
suite.ALL_PEFT_CONFIG_CLASSES[:] = [ProloraConfig]
suite.MULTIPLE_ACTIVE_ADAPTERS_TEST_CASES[:] = cases.SEVERAL_ACTIVE
suite.MIXED_ADAPTER_TEST_CASES[:] = cases.MIXED

__all__ = ["TestMixedAdapterBatches", "TestMultipleActiveAdapters", "TestPeftCustomModel", "TestRequiresGrad"]
