"""The benchmarks there are: every module of this package that exports ``BENCHMARK``."""

import importlib
import pkgutil

import pipeline.bench
from pipeline.bench.benchmark import Benchmark


def benchmarks() -> dict[str, Benchmark]:
    """By name, in the order of their modules."""
    modules = sorted(module.name for module in pkgutil.iter_modules(pipeline.bench.__path__) if not module.ispkg)
    found = [
        benchmark for name in modules
        if isinstance(benchmark := getattr(importlib.import_module(f"pipeline.bench.{name}"), "BENCHMARK", None),
                      Benchmark)
    ]
    return {benchmark.name: benchmark for benchmark in found}
