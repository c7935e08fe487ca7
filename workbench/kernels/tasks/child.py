"""Run one case of a task folder inside the candidate's process: its reference, its judge, the candidate.

Modules that a task imports and this machine lacks (the device's, the framework, the binding of the
candidate) get stand-ins; `kernel_gen_ops.NAME` is the candidate whatever the name.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from tracing.errors import sentence_of
from workbench.kernels.call import same_bits
from workbench.kernels.judge.published import MAX_ABS_ERROR, MAX_REL_ERROR, RULES
from workbench.kernels.process.timing import paired
from workbench.kernels.wire import Called, write

MAX_SENTENCE: Final = 400


def run_case(request: Mapping[str, Any], candidate: Callable[..., Any] | None) -> dict[str, Any]:
    """Run one case.

    Args:
        request: `validation`, `row`, `seed`, `device`, `file`, and `seconds` of timing (0 for none).
        candidate: What `kernel_gen_ops` gives; None runs the task's reference in its place.

    Returns:
        `published`: the task's own verdict; `terms`: length of the longest axis; `timing`. Or `unrunnable`:
        why the task itself cannot run here.
    """
    install(candidate)
    folder, row, device = Path(request["validation"]), dict(request["row"]), request["device"]
    row = {name: math.nan if value is None else value for name, value in row.items()}
    try:
        module = load(folder / "module.py")
        prepare = module if hasattr(module, "get_init_inputs") else load(folder / "prepare_inputs.py")
        torch.manual_seed(request["seed"])
        init, inputs = prepare.get_init_inputs(row, device=device), prepare.get_inputs(row, device=device)
        host = move(init, "cpu"), move(inputs, "cpu")
        for_reference = move(host[1], "cpu")
        reference = listed(module.Model(*host[0]).cpu()(*for_reference))
    except Exception as error:  # noqa: BLE001  # the task's own files, before any candidate
        return {"unrunnable": f"{type(error).__name__}: {sentence_of(error)}"[:MAX_SENTENCE]}
    truth = exact(module, *host)
    new = (module.ModelNew if candidate else module.Model)(*move(init, device)).to(device)
    given = move(inputs, device)
    came = move(new(*given), "cpu")
    written = changed(for_reference, host[1])  # what the task itself writes in place
    added = tuple(f"input {number}" for number in sorted(changed(given, inputs) - written))
    public = judged(prepare, row, reference, came)
    parts = [parted(each) for each in (listed(came), reference, truth)]
    write(Path(request["file"]), Called(tuple(one for part in parts for one in part), changed=added))
    timing = {}
    if request["seconds"]:
        with torch.no_grad():
            sides = (lambda: new(*given), lambda: module.Model(*host[0])(*host[1]))
            timing = paired(sides, device, request["seconds"])
    sizes = [size for tensor in flat(host[1]) for size in tensor.shape]
    return {
        "outputs": len(parts[0]),
        "expected": len(parts[1]),
        "published": public,
        "terms": max(sizes, default=1),
        "timing": timing,
    }


def install(candidate: Callable[..., Any] | None) -> None:
    """Put stand-ins where a task's imports would fail."""
    ops = types.ModuleType("kernel_gen_ops")
    ops.__getattr__ = lambda _: candidate  # type: ignore[method-assign]  # a module's own hook
    utils = types.ModuleType("framework.utils")
    utils.check_precision = check_precision  # type: ignore[attr-defined]  # what tasks import from it
    modules = {"kernel_gen_ops": ops, "framework": types.ModuleType("framework"), "framework.utils": utils}
    if sys.modules.get("torch_npu") is None:
        contrib = types.ModuleType("torch_npu.contrib")
        contrib.transfer_to_npu = None  # type: ignore[attr-defined]  # imported for its effect alone
        modules |= {"torch_npu": types.ModuleType("torch_npu"), "torch_npu.contrib": contrib}
    for name, module in modules.items():
        module.__path__ = []
        sys.modules[name] = module


def check_precision(
    outputs: Any, outputs_new: Any, max_abs_error: float = MAX_ABS_ERROR, max_rel_error: float = MAX_REL_ERROR
) -> tuple[int, Tensor, Tensor]:
    """Judge as the benchmark's function of that name does."""
    rule: Any = RULES["default"]
    passed, absolute, relative = rule.func(
        outputs, outputs_new, {}, absolute=max_abs_error, relative=max_rel_error
    )
    return int(passed), absolute, relative


def load(file: Path) -> Any:
    """Import a file of a task."""
    spec = importlib.util.spec_from_file_location(f"task_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def move(value: Any, place: str | torch.dtype) -> Any:
    """Return a copy of nested values with tensors on a device, or floats in a dtype."""
    if isinstance(value, Tensor):
        if isinstance(place, torch.dtype):
            return value.to(place) if value.is_floating_point() else value.clone()
        return value.to(place, copy=True)
    if isinstance(value, torch.nn.Module):
        return value.to(place)
    if isinstance(value, (list, tuple)):
        return type(value)(move(one, place) for one in value)
    if isinstance(value, dict):
        return {name: move(one, place) for name, one in value.items()}
    return value


def flat(value: Any) -> list[Tensor]:
    """Return the tensors of nested values in order."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for part in parts for tensor in flat(part)]


def changed(after: Any, before: Any) -> set[int]:
    """Return which of the tensors of nested values have other bits than before, wherever they are."""
    pairs = enumerate(zip(flat(after), flat(before), strict=True))
    return {number for number, (one, two) in pairs if not same_bits(_real(one.cpu()), _real(two.cpu()))}


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def parted(outputs: list[Any]) -> list[Any]:
    """Return outputs with complex ones as real part and imaginary part."""
    result = []
    for one in outputs:
        is_complex = isinstance(one, Tensor) and one.is_complex()
        result += [one.real.contiguous(), one.imag.contiguous()] if is_complex else [one]
    return result


def listed(outputs: Any) -> list[Any]:
    """Return outputs as a list."""
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def exact(module: Any, init: Any, inputs: Any) -> list[Any]:
    """Return the reference's outputs in float64; none where it cannot be run so."""
    try:
        model = module.Model(*move(init, torch.float64)).double()
        return listed(model(*move(inputs, torch.float64)))
    except Exception:  # noqa: BLE001  # a reference may be written for its own dtype
        return []


def judged(prepare: Any, row: Mapping[str, Any], reference: list[Any], came: Any) -> dict[str, Any]:
    """Return the verdict of the task's own judge, or of the default one."""
    expected = reference if isinstance(came, list) or len(reference) > 1 else reference[0]
    try:
        check = getattr(prepare, "custom_check_precision", None)
        passed = check(row, expected, came)[0] if check else check_precision(expected, came)[0]
        return {"passed": bool(passed), "raises": ""}
    except Exception as error:  # noqa: BLE001  # the benchmark counts it as failed
        return {"passed": False, "raises": type(error).__name__}
