"""A new operator is one file and its test: applied to a copy of the sources, nothing else is edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

OPERATOR = '''
from torch import Tensor

from workbench.npu.contract import ContractRule, in_range, need
from workbench.npu.definition import operator

BOUND = ContractRule("NPU-TOY-BOUND", "index", "rows of the input", "a toy", "npu_gather_sparse_index")


def check(input: Tensor, index: Tensor) -> None:
    need(in_range(index, 0, len(input)), BOUND, index)


@operator("npu::npu_gather_sparse_index", check=check)
def npu_gather_sparse_index(input: Tensor, index: Tensor) -> Tensor:
    """Return rows of the input."""
    return input[index]
'''

CASES = """
import torch

from workbench.kernels.calls.common import half

TOY = "npu::npu_gather_sparse_index"


def toy(*index):
    return {"input": half(6, 4), "index": torch.tensor(index)}


LEGAL = {"toy": (TOY, lambda: toy(5, 0))}
BROKEN = {"NPU-TOY-BOUND": (TOY, lambda: toy(6))}
"""

PROGRAM = """
import json

from workbench.npu.backends import register, registered_schema

register()

import torch
from workbench.kernels.calls import BROKEN, LEGAL, sample
from tracing.errors import ContractError
from workbench import npu
from workbench.npu.operators import OPERATORS, RULES

name = LEGAL["toy"][0]
(args, kwargs), broken = sample(name), BROKEN["NPU-TOY-BOUND"][1]()
with npu.watch() as watch:
    torch.ops.npu.npu_gather_sparse_index(*args, **kwargs)
    try:
        OPERATORS[name].check(**broken)
        torch.ops.npu.npu_gather_sparse_index(**broken)
    except ContractError as refused:
        rule = refused.rule
result = torch.ops.npu.npu_gather_sparse_index(*args, **kwargs)
print(json.dumps({
    "rule": rule,
    "listed": [one.id for one in RULES if one.operator == "npu_gather_sparse_index"],
    "schema": registered_schema(name),
    "right": torch.equal(result, args[0][args[1]]),
    "unchecked": sorted(watch.seen.unchecked),
}))
"""


def test_a_new_operator_is_one_file_and_its_test(tmp_path: Path) -> None:
    for package in ("tracing", "workbench/npu", "workbench/weights", "workbench/kernels/calls"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("workbench", "workbench/kernels"):
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "workbench/npu/operators/toy.py").write_text(OPERATOR, encoding="utf-8")
    (tmp_path / "workbench/kernels/calls/toy.py").write_text(CASES, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SPECWB_NPU_BACKEND": "schemas"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {
        "rule": "NPU-TOY-BOUND",
        "listed": ["NPU-TOY-BOUND"],
        "schema": "npu::npu_gather_sparse_index(Tensor input, Tensor index) -> Tensor",
        "right": True,
        "unchecked": [],
    }
