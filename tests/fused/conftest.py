"""The way in to the operators is taken before any test module imports torch."""

from __future__ import annotations

from workbench.npu.bootstrap import bootstrap

bootstrap()
