"""Inputs and judge of the task."""

import torch
from framework.utils import check_precision


def get_inputs(param, device=None):
    shape = [int(size) for size in param.get("shape").strip("[]").split(",")]
    return (torch.rand(shape, device=device, dtype=getattr(torch, param["dtype"])) - 0.5,)


def get_init_inputs(param, device=None):
    return [float(param.get("factor", 1.0))]


def custom_check_precision(param, outputs, outputs_new):
    return check_precision(outputs, outputs_new, max_abs_error=0.01, max_rel_error=0.01)
