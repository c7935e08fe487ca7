"""Run one probe: `python -m workbench.npu.probes KEY DEVICE` prints its observation as one JSON line."""

from __future__ import annotations

import json
import sys

from workbench.npu.bootstrap import bootstrap
from workbench.npu.probes import PROBES

key, device = sys.argv[1:]
bootstrap()
print(json.dumps({"key": key, "observed": PROBES[key](device)}))
