"""Nothing mixes devices: whole decodes in lockstep, and every operator's emulation, on a pretended device.

Which bugs this catches: a tensor that is created on the host beside those of a device, and `numpy()` of one
that lies there. It proves no kernel of a device and no rounding of one: `make test-cuda` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cuda.elsewhere import ELSEWHERE, Elsewhere, MixedDevicesError, pretended
from workbench.faults.bench import tiny_bench
from workbench.faults.experiment import run_lockstep
from workbench.faults.placement import Placement
from workbench.kernels.call import call, judge_call
from workbench.kernels.kernel import Draw, Order, clone
from workbench.kernels.operators import KERNELS
from workbench.npu.operators import OPERATORS

NAME = str(ELSEWHERE)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The pretended device under its name; inference mode, which wrapped tensors do not bear, is no_grad."""

    def enter(mode: Any) -> None:
        mode.instead = torch.no_grad()
        mode.instead.__enter__()

    def leave(mode: Any, *error: Any) -> None:
        mode.instead.__exit__(*error)

    monkeypatch.setattr(torch.inference_mode, "__enter__", enter)
    monkeypatch.setattr(torch.inference_mode, "__exit__", leave)
    monkeypatch.setattr("workbench.fused.path.choose_device", torch.device)
    with pretended():
        yield


RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "float32, replay": ("pads", {"rung": "replay"}),
    "bfloat16, cached": ("plain", {"dtype": "bfloat16", "rung": "cached"}),
    "float16, paged": ("paged_pads", {"dtype": "float16", "reference_device": NAME}),
    "medusa": ("medusa", {"reference_device": NAME}),
    "draft model": ("draft_model", {"reference_device": NAME}),
    "quantised teacher": ("w4a16", {}),
}
"""What the job needs, and what differs from float32 with the reference on the host."""


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.usefixtures("device")
def test_a_decode_in_lockstep_mixes_no_devices(tmp_path: Path, run: str) -> None:
    need, changes = RUNS[run]
    setup = tiny_bench().setup(need)
    settings = replace(setup.settings, max_new_tokens=3)
    away = replace(setup, settings=settings, device=NAME, **changes)
    outcome = run_lockstep(away, Placement(), tmp_path / "run")
    assert [finding.message for finding in outcome.findings] == []
    assert len(outcome.emitted) == settings.max_new_tokens


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.usefixtures("device")
def test_emulations_and_references_mix_no_devices(name: str) -> None:
    kernel = KERNELS[name]
    border: Any = OPERATORS[kernel.operator] if kernel.operator else kernel.own
    for case in kernel.cases[:: 1 + len(kernel.cases) // 2]:
        arguments = case.build(Draw(0))
        called = call(kernel, border, arguments, NAME)
        assert judge_call(kernel, case, 0, called).passed, case.name
        plain = kernel.reference(clone(arguments, NAME), Order(1, NAME))
        assert all(isinstance(output, Elsewhere) for output in plain), case.name


@pytest.mark.usefixtures("device")
def test_the_pretended_device_refuses_what_a_device_refuses() -> None:
    away, host = torch.arange(4, device=ELSEWHERE), torch.arange(4)
    assert (away + 1).cpu().tolist() == [1, 2, 3, 4]
    assert (away * torch.tensor(2)).device.type == ELSEWHERE.type
    assert away[host].cpu().tolist() == host.tolist()
    for mixed in (lambda: away + host, lambda: host[away], lambda: torch.cat((away, host))):
        with pytest.raises(MixedDevicesError):
            mixed()
    with pytest.raises(TypeError):
        away.numpy()
