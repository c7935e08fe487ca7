"""The site that a finding names is the caller's line, in a short form that no machine's folders leak into."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from workbench.npu.call_watch import call_site

TORCH = Path(torch.__file__).parent


def site_seen_from(*files: str) -> str:
    """Call `call_site` through frames of these files, outermost first."""
    inner = call_site
    for file in reversed(files):
        scope: dict[str, object] = {"inner": inner}
        exec(compile("def outer():\n\n    return inner()", file, "exec"), scope)
        inner = scope["outer"]  # type: ignore[assignment]  # what exec defined: a function like `inner`
    return inner()


@pytest.mark.parametrize(
    ("files", "site"),
    [
        (("/home/me/port/verify.py",), "port/verify.py:3"),
        (("/home/me/port/verify.py", f"{TORCH}/nn/functional.py"), "port/verify.py:3"),
        (("/home/me/port/verify.py", f"{TORCH.parent}/torch_npu/x.py"), "port/verify.py:3"),
        (("/home/me/port/verify.py", f"{TORCH.parent}/torchvision/ops.py"), "torchvision/ops.py:3"),
        (("/v/lib/site-packages/transformers/models/llama.py",), "transformers/models/llama.py:3"),
        ((str(Path.cwd() / "tests" / "x" / "y.py"),), "tests/x/y.py:3"),
    ],
)
def test_the_innermost_frame_outside_torch(files: tuple[str, ...], site: str) -> None:
    assert site_seen_from(*files) == site


def test_no_frame_of_the_user_is_still_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = SimpleNamespace(f_code=SimpleNamespace(co_filename=f"{TORCH}/x.py"), f_lineno=1, f_back=None)
    monkeypatch.setattr("sys._getframe", lambda _depth: frame)
    assert call_site() == "unknown:0"
