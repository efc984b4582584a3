"""What of PEFT's suite does not run although one of our configurations is its parameter, and why."""

# Tests of features that this method does not have; the suite itself skips them for methods it does not name.
OTHER_FEATURES = {
    "test_prompt_tuning_": "prompt tuning",
    "test_training_prompt_learning_tasks": "prompt tuning",
    "test_set_requires_grad_prompt_learning_raises": "prompt tuning",
    "TestPeftFeatureExtractionModel::test_passing_input_embeds_works": "prompt tuning",
    "test_weighted_combination_of_adapters": "a weighted sum of adapters, which LoRA and IA3 alone have",
    r"test_active_adapter\[.*modules to save": "several active adapters that save modules whole, which PEFT refuses",
}

# Defects of the suite itself; ours has a test of its own in tests/prolora in each one's place.
DEFECTS = {
    r"test_merge_layers\w*\[.*(Llama|Gemma3)ForCausalLM": (
        "check_beft_config asks isinstance of a class, so it skips bases without biases for every method (since #3195)"
    ),
    r"Decoder\w+::test(_generate_with)?_mixed_adapter_batches": (
        "the suite's list of methods that can mix adapters is written by hand (such lists: #2846)"
    ),
    r"test_training_gradient_checkpointing\[.*Deberta": (
        "it skips every method whose name has 'lora' in it (such lists: #2846)"
    ),
    r"test_disable_adapter_with_bias_warns": "its condition, != one or != the other, is true of every method",
    r"test_merge_unmerge_unload\[.*bnb_4bit": "skipped on CPUs for rounding, which is 4-bit quantisation's own",
}
