"""The load report: what was found in two model directories, and every check with its outcome. Data only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tracing.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a loaded pair.

    Attributes:
        id: Stable name, e.g. `drafter.d2t`.
        status: `ok`, `warning` (may be meant; look) or `failed` (the pair is refused).
        sentence: What was compared and what came.
    """

    id: str
    status: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model as it was found.

    Attributes:
        layout: Model type of a teacher, checkpoint layout of a drafter.
        dtypes: Dtype to number of tensors.
        num_parameters: Elements of all tensors used, a tied head counted once.
        rope: Effective rotary parameters: `theta`, `kind` and the rest.
        missing: Tensors that the configuration asks for and the file lacks, and where they came from.
        unexpected: Tensors that nothing asked for.
        ignored: Tensors that are known and left out on purpose.
    """

    directory: str
    layout: str
    dtypes: dict[str, int]
    num_parameters: int
    rope: dict[str, Any]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What `load_pair` saw.

    Attributes:
        drafter: None for a kind that has no checkpoint.
        aux_layers: Teacher layers whose input the drafter sees.
        aux_convention: What the ids meant in the checkpoint's layout.
        d2t_convention: `offset`, `absolute` or `identity`.
        checks: Every check that ran, in order.
    """

    teacher: ModelReport
    drafter: ModelReport | None
    aux_layers: tuple[int, ...]
    aux_convention: str
    d2t_convention: str
    eos_token_ids: tuple[int, ...]
    checks: tuple[Check, ...]

    @property
    def status(self) -> str:
        """The worst status of all checks."""
        found = {check.status for check in self.checks}
        return next((status for status in ("failed", "warning") if status in found), "ok")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What no comparison of the paths can decide, one sentence each; it goes with every verdict."""
        return tuple(f"{check.sentence} [{check.id}]" for check in self.checks if check.status == "warning")

    @property
    def acceptance_tells(self) -> bool:
        """Whether acceptance says anything of the drafter: it has a check that found it trained."""
        return any(
            check.id == "drafter.trained" and check.sentence.endswith("is trained") for check in self.checks
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain data for the manifest."""
        return asdict(self) | {"status": self.status}

    def lines(self) -> list[str]:
        """Return the report as text lines for a person."""
        text = _model_lines("teacher", self.teacher)
        if self.drafter is not None:
            text += _model_lines("drafter", self.drafter)
            text.append(f"aux layers  {list(self.aux_layers)} ({self.aux_convention})")
            text.append(f"d2t         {self.d2t_convention}")
        text.append(f"eos ids     {list(self.eos_token_ids) or 'none'}")
        return text + [f"{check.status:<8} {check.id}: {check.sentence}" for check in self.checks]

    def raise_if_failed(self) -> None:
        """Refuse the pair when a check failed.

        Raises:
            CheckpointError: The sentence of the first failed check.
        """
        for check in self.checks:
            if check.status == "failed":
                raise CheckpointError(f"{check.sentence} [{check.id}]")


def _model_lines(role: str, model: ModelReport) -> list[str]:
    dtypes = ", ".join(f"{dtype} x{count}" for dtype, count in sorted(model.dtypes.items()))
    rope = ", ".join(f"{key} {value}" for key, value in model.rope.items())
    text = [
        f"{role:<11} {model.directory}",
        f"  {model.layout}, {model.num_parameters:,} parameters, {dtypes}; rope: {rope}",
    ]
    for what in ("missing", "unexpected", "ignored"):
        names = getattr(model, what)
        if names:
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            text.append(f"  {what}: {', '.join(names[:4])}{more}")
    return text
