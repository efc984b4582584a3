"""Benchmarks: their test items, in the files in which their authors publish them."""

from prolora.benchmarks.layouts import LAYOUTS, BenchmarkError, Items, Layout, read_items

__all__ = ["LAYOUTS", "BenchmarkError", "Items", "Layout", "read_items"]
