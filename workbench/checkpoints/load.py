"""Load a teacher and a drafter from directories: plain data, a report, digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tracing.errors import UsageError
from tracing.models import ModelPair
from tracing.settings import AS_IS
from workbench.checkpoints import checks
from workbench.checkpoints.digests import PairDigests, directory_digests, weights_digest
from workbench.checkpoints.draft_model import load_draft_model
from workbench.checkpoints.eagle3 import load_eagle3
from workbench.checkpoints.files import require_directory
from workbench.checkpoints.loaded_drafter import DrafterPart, LoadDrafter
from workbench.checkpoints.loaded_teacher import LoadedTeacher, load_teacher, teacher_checks, teacher_report
from workbench.checkpoints.medusa import load_medusa
from workbench.checkpoints.quantised import parse_weights, quantised_teacher
from workbench.checkpoints.report import LoadReport
from workbench.checkpoints.tokenizer import DirectoryTokenizer

LOADERS: Final[Mapping[str, LoadDrafter | None]] = {
    "eagle3": load_eagle3,
    "draft_model": load_draft_model,
    "medusa": load_medusa,
    "lookup": None,
}
"""Kind of drafter to what loads its directory; None for a kind that has no checkpoint."""


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """What crosses from checkpoints to the rest of the workbench.

    Attributes:
        tokenizer: Of the teacher.
        report: What was found in the files.
        weights: How the teacher's weights were asked for, see `quantised.parse_weights`.
        unquantised: The pair before its teacher was rounded; None where it was not.
    """

    pair: ModelPair
    tokenizer: DirectoryTokenizer
    report: LoadReport
    digests: PairDigests
    weights: str = AS_IS
    unquantised: ModelPair | None = None


def needs_drafter(proposer: str) -> bool:
    """Return whether a kind of drafter has a checkpoint.

    Raises:
        UsageError: There is no such kind, or not yet.
    """
    if proposer not in LOADERS:
        raise UsageError(f"proposer should be one of {', '.join(LOADERS)}, got {proposer!r}")
    return LOADERS[proposer] is not None


def load_pair(
    teacher_dir: Path | str,
    draft_dir: Path | str | None,
    *,
    proposer: str = "eagle3",
    trust_remote_code: bool = False,
    weights: str = AS_IS,
) -> LoadedPair:
    """Load a pair; nothing is unpickled beyond plain tensors, no remote code runs unless asked.

    Args:
        teacher_dir: A `transformers` causal language model directory.
        draft_dir: A drafter of the kind `proposer`; None for a kind that has no checkpoint.
        proposer: Kind of the drafter, out of `LOADERS`.
        trust_remote_code: Let the teacher's own Python code read its configuration and tokenizer.
        weights: How the teacher's weights are wanted: `as-is`, or rounded to int4.

    Raises:
        UsageError: An unknown kind, or a directory too few.
        ModelMissingError: A directory or file is missing (exit code 3).
        CheckpointError: Something is broken or inconsistent; names file, key or tensor (exit code 2).
    """
    wanted = parse_weights(weights)
    teacher_path = Path(teacher_dir)
    draft_path = _draft_path(draft_dir, proposer)
    require_directory(teacher_path, "teacher")
    if draft_path is not None:
        require_directory(draft_path, "drafter")
    teacher = load_teacher(teacher_path, trust_remote_code=trust_remote_code)
    loaded = pair_with(teacher, teacher_path, draft_path, proposer)
    if wanted is None:
        return loaded
    config, rounded = quantised_teacher(teacher.config, loaded.pair.teacher_weights, wanted)
    return replace(
        loaded,
        pair=replace(loaded.pair, teacher=config, teacher_weights=rounded),
        digests=replace(loaded.digests, teacher_weights=weights_digest(rounded)),
        weights=weights,
        unquantised=loaded.pair,
    )


def pair_with(
    teacher: LoadedTeacher, teacher_path: Path, draft_path: Path | None, proposer: str
) -> LoadedPair:
    """Load a drafter for a teacher that is loaded; several pairs of one teacher share its weights.

    Raises:
        As `load_pair`.
    """
    draft_path = _draft_path(draft_path, proposer)
    load = LOADERS[proposer]
    drafter = DrafterPart() if load is None or draft_path is None else load(draft_path, teacher)
    pair = ModelPair(
        teacher=teacher.config,
        teacher_weights=teacher.crossing,
        drafter=drafter.config,
        drafter_weights=drafter.weights,
        target_from_draft=drafter.target_from_draft,
        eos_token_ids=teacher.eos.effective,
        proposer=proposer,
    )
    report = LoadReport(
        teacher=teacher_report(teacher_path, teacher),
        drafter=drafter.report,
        aux_layers=drafter.aux_layers,
        aux_convention=drafter.aux_convention,
        d2t_convention=drafter.d2t_convention,
        eos_token_ids=tuple(sorted(teacher.eos.effective)),
        checks=(
            *teacher_checks(teacher),
            *drafter.checks,
            checks.eos(teacher.eos),
            checks.tokenizer_size(teacher.tokenizer.vocab_size, teacher.config.vocab_size),
        ),
    )
    report.raise_if_failed()
    digests = PairDigests(
        files=directory_digests(teacher_path, "teacher")
        | ({} if draft_path is None else directory_digests(draft_path, "drafter")),
        teacher_weights=weights_digest(pair.teacher_weights),
        drafter_weights=weights_digest(pair.drafter_weights),
    )
    return LoadedPair(pair, teacher.tokenizer, report, digests)


def _draft_path(draft_dir: Path | str | None, proposer: str) -> Path | None:
    if not needs_drafter(proposer):
        return None
    if draft_dir is None:
        raise UsageError(f"proposer {proposer} needs a drafter's checkpoint, give its directory")
    return Path(draft_dir)
