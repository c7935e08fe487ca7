"""Which peers and ways of decoding there are, and how they are opened over the pair of a benchmark."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError, UsageError
from workbench.bench.peers.process import PeerProcess
from workbench.checkpoints.shipped import shipped_pair_dirs

WORKERS: Final = Path(__file__).parent / "workers"
MODES: Final[Mapping[str, tuple[str, ...]]] = {
    "transformers": ("greedy", "lookup", "assisted"),
    "eagle": ("greedy", "tree"),
    "vllm": ("greedy", "chain", "ngram"),
    "openvino": ("greedy", "lookup", "chain", "tree"),
}
"""Peer to its ways of decoding."""
NEEDS: Final = {"assisted": "draft_model", "chain": "drafter", "tree": "drafter", "eagle:greedy": "drafter"}
"""Checkpoint besides the teacher that a way of decoding takes, of every peer or of one."""
STATED: Final = "peers"
"""Manifest entry of what each peer says of itself."""
NUM_DRAFTS: Final = 5
"""Drafts of a chain or a lookup."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer to run.

    Attributes:
        name, modes: Of `MODES`.
        python: Interpreter of its environment.
    """

    name: str
    modes: tuple[str, ...]
    python: str


def parse_peers(words: Sequence[str]) -> tuple[Peer, ...]:
    """Read `NAME=PYTHON` or `NAME:MODE=PYTHON`, comma-separated, repeatable.

    Raises:
        UsageError: It is something else.
    """
    found: dict[tuple[str, str], str] = {}
    for part in (part.strip() for word in words for part in word.split(",") if part.strip()):
        left, equals, python = part.partition("=")
        name, _, mode = left.partition(":")
        if not equals or not python or name not in MODES or (mode and mode not in MODES[name]):
            known = "; ".join(f"{name} ({', '.join(modes)})" for name, modes in MODES.items())
            raise UsageError(f"--peers should be NAME=PYTHON or NAME:MODE=PYTHON of {known}; got {part!r}")
        for each in (mode,) if mode else MODES[name]:
            found[name, each] = python
    names = dict.fromkeys((name, python) for (name, _), python in found.items())
    return tuple(
        Peer(
            name,
            tuple(mode for (other, mode), path in found.items() if (other, path) == (name, python)),
            python,
        )
        for name, python in names
    )


@dataclass(frozen=True, slots=True)
class PeerPair:
    """What every peer is given.

    Attributes:
        folder: Of the benchmark; converted checkpoints and logs go below it.
        teacher, drafter, draft_model: Checkpoint directories; None is left out.
        eos_token_ids, dtype, threads, max_len: As ours.
    """

    folder: Path
    teacher: Path
    drafter: Path | None
    draft_model: Path | None
    eos_token_ids: Sequence[int]
    dtype: str
    threads: int
    max_len: int


def directories(model: str | None, drafts: Mapping[str, str]) -> tuple[Path, Path | None, Path | None]:
    """Return teacher, drafter and draft model: those that were named, or of the shipped teacher."""
    names = (drafts.get("eagle3"), drafts.get("draft_model"))
    drafter, draft_model = (None if name is None else Path(name) for name in names)
    if model is not None:
        return Path(model), drafter, draft_model
    teacher, own = shipped_pair_dirs()
    return teacher, drafter or own, draft_model or shipped_pair_dirs("draft_model")[1]


@contextlib.contextmanager
def opened_peers(peers: Sequence[Peer], pair: PeerPair) -> Iterator[dict[str, PeerProcess]]:
    """Open every peer in every way, and end them all.

    Raises:
        EnvironmentProblemError: One cannot be opened.
    """
    running: dict[str, PeerProcess] = {}
    asked = _asked(pair)
    try:
        for peer in peers:
            for mode in peer.modes:
                name = f"{peer.name}:{mode}"
                if asked[NEEDS.get(name) or NEEDS.get(mode, "teacher")] is None:
                    continue  # a mode without its checkpoint is left out
                log = pair.folder / f"{peer.name}-{mode}.log"
                command = (peer.python, str(WORKERS / "wire.py"), f"{peer.name}_side")
                running[name] = PeerProcess(name, command, {**asked, "mode": mode}, log)
        yield running
    finally:
        for each in running.values():
            each.close()


def _asked(pair: PeerPair) -> dict[str, Any]:
    pair.folder.mkdir(parents=True, exist_ok=True)
    teacher = _converted(pair.teacher, pair.folder / "teacher")
    drafter = (
        None if pair.drafter is None else _converted_drafter(pair.drafter, pair.folder / "drafter", teacher)
    )
    draft_model = (
        None if pair.draft_model is None else _converted(pair.draft_model, pair.folder / "draft_model")
    )
    stored = str(json.loads((teacher / "config.json").read_text()).get("torch_dtype", "float32"))
    return {
        "teacher": str(teacher.resolve()),
        "drafter": None if drafter is None else str(drafter.resolve()),
        "draft_model": None if draft_model is None else str(draft_model.resolve()),
        "exported": str((pair.folder / "openvino").resolve()),
        "stored": "float16" if stored == "float16" else "float32",
        "eos_token_ids": list(pair.eos_token_ids),
        "dtype": pair.dtype,
        "threads": pair.threads,
        "max_len": pair.max_len,
        "num_drafts": NUM_DRAFTS,
    }


def _converted(source: Path, target: Path) -> Path:
    """Copy a checkpoint; openPangu-Embedded becomes Llama with a bias on its attention, which it is."""
    _copy(source, target)
    config = json.loads((target / "config.json").read_text())
    if config.get("model_type") == "PanguEmbedded":
        config = {key: value for key, value in config.items() if key not in {"bias", "auto_map"}} | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "attention_bias": bool(config.get("bias", False)),
        }
    (target / "config.json").write_text(json.dumps(config, indent=1))
    return target


def _converted_drafter(source: Path, target: Path, teacher: Path) -> Path:
    """Copy an EAGLE-3 drafter under the name that engines know; the teacher's embedding if it has none."""
    from safetensors.torch import load_file, save_file

    _copy(source, target)
    config = json.loads((target / "config.json").read_text())
    config |= {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama"}
    (target / "config.json").write_text(json.dumps(config, indent=1))
    weights = target / "model.safetensors"
    if weights.exists() and (teacher / "model.safetensors").exists():
        tensors = load_file(weights)
        if "embed_tokens.weight" not in tensors:
            shared = load_file(teacher / "model.safetensors").get("model.embed_tokens.weight")
            if shared is not None:
                save_file({**tensors, "embed_tokens.weight": shared}, weights, metadata={"format": "pt"})
    for file in teacher.glob("token*"):
        shutil.copy(file, target / file.name)
    return target


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except OSError as problem:
        raise EnvironmentProblemError(f"cannot copy {source} to {target}: {problem}") from None
