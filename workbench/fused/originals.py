"""The weights that a path was built from: its products hold copies, which a later change would not reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import ref

from torch import Tensor

from tracing.errors import UsageError
from tracing.models import ModelPair


@dataclass(frozen=True, slots=True)
class Originals:
    """Tensors of a pair as they were when the path was built.

    Attributes:
        versions: By name, the tensor (not kept alive) and how often it had been written to in place.
    """

    versions: Mapping[str, tuple[ref[Tensor], int]]

    @classmethod
    def of(cls, pair: ModelPair) -> Originals:
        """Take note of a pair's weights; inference tensors count no writes, and are left out."""
        named = {f"teacher {key}": tensor for key, tensor in pair.teacher_weights.items()}
        named |= {f"drafter {key}": tensor for key, tensor in pair.drafter_weights.items()}
        return cls(
            {
                name: (ref(tensor), tensor._version)  # noqa: SLF001  # torch's own count of writes
                for name, tensor in named.items()
                if not tensor.is_inference()
            }
        )

    def require_unchanged(self) -> None:
        """Refuse to decode with copies of what has been changed since.

        Raises:
            UsageError: A weight was written to.
        """
        for name, (kept, version) in self.versions.items():
            tensor = kept()
            if tensor is not None and tensor._version != version:  # noqa: SLF001
                raise UsageError(
                    f"weights should stay as they were when the path was built, {name} was written to since; "
                    "build the path again"
                )
