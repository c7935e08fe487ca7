"""A fault: one named, placed, public bug, and who is expected to notice it first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from workbench.faults.placement import Placement

REPOSITORIES: Final[Mapping[str, str]] = {
    "va": "vllm-project/vllm-ascend",
    "vllm": "vllm-project/vllm",
    "sgl": "sgl-project/sglang",
    "hf": "huggingface/transformers",
    "trt": "NVIDIA/TensorRT-LLM",
    "eagle": "SafeAILab/EAGLE",
    "medusa": "FasterDecoding/Medusa",
    "speculators": "vllm-project/speculators",
    "specforge": "sgl-project/SpecForge",
    "lmdeploy": "InternLM/lmdeploy",
    "mnn": "alibaba/MNN",
    "openvino": "openvinotoolkit/openvino",
    "lcpp": "ggml-org/llama.cpp",
}
"""Short name in `seen_in` to the repository whose issue or pull request it is."""

_REFERENCE: Final = re.compile(r"(?P<short>[A-Za-z0-9_./-]+)#(?P<number>\d+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        id: Stable, `F-FAMILY-NN`.
        name: The defect, kebab-case.
        about: What goes wrong, one sentence.
        stage: The stage whose result it spoils first, and where it is to be noticed; `load` for files.
        seen_in: Public issues or pull requests with this mechanism, `repository#number`, or words.
        noticed_by: Rules and comparisons, any of which may notice it first.
        place: Makes it ready for one run, with a fresh memory.
        need: What a run must have for it to show, a key of `setup.NEEDS`.
        guilty: Who is to be blamed: `fused` or `reference`; `unknown` where two rows cannot tell which is
            wrong, `both` for what both paths share.
        common_mode: It is in what both paths share, where lockstep is blind: the load report sees it.
    """

    id: str
    name: str
    about: str
    stage: str
    seen_in: tuple[str, ...]
    noticed_by: tuple[str, ...]
    place: Callable[[], Placement]
    need: str = "plain"
    guilty: str = "fused"
    common_mode: bool = False

    @property
    def family(self) -> str:
        """Family of the fault: the middle of its id, in lower case."""
        return self.id.split("-")[1].lower()


def link(reference: str) -> str:
    """Return where a reference can be read, or the reference itself when it is no issue number."""
    found = _REFERENCE.match(reference)
    if found is None:
        return reference
    repository = REPOSITORIES.get(found["short"], found["short"])
    return f"https://github.com/{repository}/issues/{found['number']}"
