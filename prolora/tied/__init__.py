"""Tied LoRA (arXiv 2311.09578) as a PEFT tuner; prolora.peft registers it."""
