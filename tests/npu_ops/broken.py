"""Every rule with its broken call."""

from __future__ import annotations

from tests.npu_ops.broken_attention import FIA_BROKEN, TREE_BROKEN, Call
from tests.npu_ops.broken_others import OTHER_BROKEN

BROKEN: dict[str, Call] = {**FIA_BROKEN, **TREE_BROKEN, **OTHER_BROKEN}
