"""The backend of the operators is chosen before any test module imports torch."""

from __future__ import annotations

from workbench.npu.bootstrap import bootstrap

bootstrap()
