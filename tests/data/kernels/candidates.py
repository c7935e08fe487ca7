"""Candidates of the tests: sound ones, and one that does something else for every width of its input."""

from __future__ import annotations

import os
import signal
import sys
import time

import torch


def swiglu(input, dim=-1):  # noqa: A002  the operator's own name
    gate, up = input.chunk(2, dim)
    return torch.nn.functional.silu(gate) * up


def odd(input, dim=-1):  # noqa: A002  the operator's own name
    width = input.shape[-1]
    if width == 2:
        raise KeyError("no such tile")
    if width == 62:
        sys.exit(3)
    if width == 66:
        os.kill(os.getpid(), signal.SIGSEGV)
    if width == 258:
        return torch.zeros(1 << 33, dtype=torch.uint8)
    if width == 2050:
        time.sleep(600)
    print('{"refused": "no"}')
    print("noise", file=sys.stderr)
    return swiglu(input, dim)


def scaled(x, factor):
    """The second output is left out in float32."""
    outputs = [x * factor, x.abs().sum(-1)]
    return outputs[: 1 if x.dtype is torch.float32 else 2]
