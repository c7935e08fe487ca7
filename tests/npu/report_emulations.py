"""Script: choose the backend of this environment, register the emulations, print them as JSON."""

from __future__ import annotations

import copy
import json
from typing import Any

from workbench.npu.bootstrap import bootstrap

BACKEND = bootstrap()  # before torch, or an installed torch_npu is loaded without CANN

import torch  # noqa: E402

from workbench.kernels.calls import sample  # noqa: E402
from workbench.npu import dispatch, doctor  # noqa: E402
from workbench.npu.backends import register, registered_schema  # noqa: E402
from workbench.npu.operators import OPERATORS  # noqa: E402
from workbench.npu.probes import PROBES  # noqa: E402


def main() -> None:
    """Print one JSON object."""
    registered = register()
    import transformers  # noqa: F401  # imports torch_npu when it is installed, and must survive it

    answers: dict[str, Any] = {
        "backend": BACKEND.as_json(),
        "defined": registered.defined,
        "schemas": {},
        "checks": {},
        "same_operator": {},
    }
    copy.deepcopy(torch.ones(1))  # runs the wheel's own code, which must not warn in the user's name
    for name in OPERATORS:
        answers["schemas"][name] = registered_schema(name)
        answers["same_operator"][name] = _is_vendors(name)
        answers["checks"][name] = _check(name)
    answers["shape_probes"] = {key: PROBES[key]("meta") for key in ("lse_off_shape", "nbsd_output")}
    answers["wrong_emulation"] = _check_wrong_emulation()
    answers["drifted"] = doctor.examine().drifted
    print(json.dumps(answers))


def _is_vendors(name: str) -> bool:
    """Whether the one call site resolves to the attribute of the real torch_npu package."""
    import torch_npu

    namespace, _, operator = name.partition("::")
    return dispatch.operator(operator, namespace) is getattr(torch_npu, operator)


def _check_wrong_emulation() -> dict[str, str]:
    """Register a kernel with a wrong dtype for an operator that has no emulation, and check it."""
    library = torch.library.Library("npu", "IMPL")
    library.impl("npu_interleave_rope", lambda states, cos, sin: states.float() * cos + sin, "CPU")
    arguments = tuple(torch.ones(1, 1, 2, 64, dtype=torch.bfloat16) for _ in range(3))
    return _opcheck(torch.ops.npu.npu_interleave_rope.default, arguments, {}, ["test_faketensor"])


def _check(name: str) -> dict[str, str]:
    """Check the sample call: schema honesty always, the vendor's Meta function where it exists."""
    operator = getattr(getattr(torch.ops, name.partition("::")[0]), name.partition("::")[2]).default
    args, kwargs = sample(name)
    tests = ["test_schema"]
    if torch._C._dispatch_has_kernel_for_dispatch_key(name, "Meta"):
        tests.append("test_faketensor")
    return _opcheck(operator, args, kwargs, tests)


def _opcheck(
    operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], tests: list[str]
) -> dict[str, str]:
    outcome = torch.library.opcheck(operator, args, kwargs, test_utils=tests, raise_exception=False)
    return {test: str(result)[:600] for test, result in outcome.items()}


if __name__ == "__main__":
    main()
