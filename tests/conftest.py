"""Shared settings of the tests: hypothesis is derandomised, so that CI never depends on luck."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Two workers share two cores: more threads than that would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Processes that tests start would each compile hundreds of modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile(
    "specwb", derandomize=True, deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("specwb")
