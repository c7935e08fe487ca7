"""A task in the form of the public benchmark."""

from typing import List  # noqa: F401, UP035  # as its tasks do

import kernel_gen_ops
import torch
import torch_npu  # noqa: F401  as its tasks do
from torch import nn
from torch_npu.contrib import transfer_to_npu  # noqa: F401  as its tasks do


class Model(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x * self.factor, x.abs().sum(-1)]


class ModelNew(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return kernel_gen_ops.scaled(x, self.factor)
