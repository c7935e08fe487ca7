"""Muon for the matrices of the blocks, AdamW for the rest, one schedule for both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from examples.tiny_pangu.recipe import Phase

MOMENTUM = 0.95
WEIGHT_DECAY = 0.01


def orthogonalise(stacked: Tensor) -> Tensor:
    """Approach the nearest (semi-)orthogonal matrices `[n, rows, columns]` by five Newton-Schulz steps."""
    values = stacked.bfloat16()
    values = values / (values.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = values @ values.mT
        values = 3.4445 * values + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ values
    result: Tensor = values.float()
    return result


class Muon:
    """Momentum, then orthogonalisation, batched over matrices of equal shape."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.momentum = {parameter: torch.zeros_like(parameter) for parameter in parameters}
        self.groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for parameter in parameters:
            key = (min(parameter.shape), max(parameter.shape))
            self.groups.setdefault(key, []).append(parameter)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Update every matrix."""
        for (num_rows, _), parameters in self.groups.items():
            updates = [self._nesterov(parameter, num_rows) for parameter in parameters]
            for parameter, update in zip(parameters, orthogonalise(torch.stack(updates)), strict=True):
                turned = update if parameter.shape[0] == num_rows else update.T
                scale = max(1, parameter.shape[0] / parameter.shape[1]) ** 0.5
                parameter.mul_(1 - lr * WEIGHT_DECAY).add_(turned, alpha=-lr * scale)

    def _nesterov(self, parameter: nn.Parameter, num_rows: int) -> Tensor:
        if parameter.grad is None:
            raise ValueError("a matrix without a gradient cannot be updated")
        buffer = self.momentum[parameter]
        buffer.mul_(MOMENTUM).add_(parameter.grad)
        update = parameter.grad + MOMENTUM * buffer
        return update if parameter.shape[0] == num_rows else update.T


class Optimizer:
    """Both optimizers over one module.

    Args:
        module: What is trained.
        is_matrix: Tells by name and parameter which ones Muon takes.
        adam_lr, muon_lr: Peak learning rates.
        warmup_steps: Steps of linear warm-up.
        hold: Fraction of the run after which the rate falls linearly to 2 percent.
    """

    def __init__(
        self,
        module: nn.Module,
        is_matrix: Callable[[str, nn.Parameter], bool],
        *,
        adam_lr: float,
        muon_lr: float,
        warmup_steps: int,
        hold: float,
    ) -> None:
        named = list(module.named_parameters())
        self.module = module
        self.others = [parameter for name, parameter in named if not is_matrix(name, parameter)]
        self.muon = Muon([parameter for name, parameter in named if is_matrix(name, parameter)])
        self.adam = torch.optim.AdamW(self.others, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0)
        self.adam_lr, self.muon_lr = adam_lr, muon_lr
        self.warmup_steps, self.hold = warmup_steps, hold

    def factor(self, step: int, num_steps: int) -> float:
        """Return the learning rate as a part of its peak."""
        progress = step / num_steps
        decay = 1.0 if progress < self.hold else max(0.02, (1 - progress) / (1 - self.hold))
        return min(1, (step + 1) / self.warmup_steps) * decay

    def step(self, step: int, num_steps: int) -> None:
        """Clip, update everything, drop the gradients."""
        factor = self.factor(step, num_steps)
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * factor
        self.adam.step()
        self.muon.step(self.muon_lr * factor)
        self.module.zero_grad(set_to_none=True)


def run_phases(
    what: str,
    phases: Sequence[Phase],
    optimizer: Optimizer,
    loss_of: Callable[[Phase], tuple[Tensor, Tensor | None]],
    keep: Callable[[], object] = lambda: None,
) -> list[float]:
    """Take a step for each phase and return the losses; print them, and what is right, every 50 steps.

    Args:
        what: Is trained; the lines begin with it.
        phases: One for each step.
        optimizer: Of the module.
        loss_of: Gives the loss of a new batch, and shares that are right, which are averaged; or None.
        keep: Called whenever a line is printed.
    """
    losses, begun, shares = [], time.monotonic(), torch.zeros(1)
    for step, phase in enumerate(phases):
        loss, right = loss_of(phase)
        torch.autograd.backward(loss)
        optimizer.step(step, len(phases))
        losses.append(loss.item())
        if right is not None:
            shares = 0.97 * shares + 0.03 * right.detach()
        if step % 50 == 0 or step == len(phases) - 1:
            recent = sum(losses[-50:]) / len(losses[-50:])
            top = [round(float(share), 3) for share in shares / (1 - 0.97 ** (step + 1))]
            told = "" if right is None else f" top-1 {top}"
            print(f"{what}{step} loss {recent:.3f}{told} {time.monotonic() - begun:.0f} s", flush=True)
            keep()
    return losses


def run_rounds(
    module: nn.Module, done: Sequence[Path], run_round: Callable[[int], list[float]], whole: Path
) -> list[float]:
    """Train a module round after round, each kept in its file; a round that is there already is read."""
    losses = []
    for number, file in enumerate(done):
        if file.exists():
            module.load_state_dict(torch.load(file, weights_only=True))
        else:
            losses += run_round(number)
            torch.save(module.state_dict(), file)
    torch.save(module.state_dict(), whole)
    return losses
