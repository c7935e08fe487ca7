"""The process in which a candidate runs: `python -m workbench.kernels.process.child FD`.

Reads requests, one JSON object a line, from its standard input, and answers each on the file descriptor FD.
Nothing that the candidate prints gets between them.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError, UsageError, sentence_of

Answer = dict[str, Any]
MAX_SENTENCE: Final = 500


class Child:
    """Holds the candidate between requests."""

    def __init__(self) -> None:
        self._candidate: Callable[[Any], Callable[..., Any]] | None = None

    def answer(self, request: Answer) -> Answer:
        """Do what is asked; whatever the candidate raises becomes part of the answer."""
        doing = {"build": self._build, "call": self._call, "time": self._time, "task": self._task}
        return doing[request["do"]](request)

    def _build(self, request: Answer) -> Answer:
        from workbench.kernels.process.candidates import find
        from workbench.kernels.process.limits import limit_memory
        from workbench.kernels.process.native import BuildError
        from workbench.npu.backends import register

        register()
        if request["memory_mib"]:
            limit_memory(request["memory_mib"])
        try:
            self._candidate = find(
                request["candidate"], compiled=request["compiled"], seconds=request["seconds"]
            )
        except BuildError as error:
            return {"refused": sentence_of(error)[:MAX_SENTENCE]}
        except (UsageError, EnvironmentProblemError) as error:
            return {"problem": sentence_of(error), "exit_code": error.exit_code}
        return {}

    def _function(self, request: Answer) -> tuple[Any, Callable[..., Any], Any]:
        from workbench.kernels.kernel import Draw
        from workbench.kernels.operators import KERNELS

        kernel = KERNELS[request["kernel"]]
        assert self._candidate is not None
        build = (
            kernel.case(request["case"]).build
            if request.get("case")
            else kernel.heavy or kernel.cases[0].build
        )
        return kernel, self._candidate(kernel), build(Draw(request["seed"]))

    def _call(self, request: Answer) -> Answer:
        from workbench.kernels.call import call
        from workbench.kernels.wire import write

        kernel, candidate, arguments = self._function(request)
        try:
            called = call(kernel, candidate, arguments, request["device"])
        except BaseException as error:  # noqa: BLE001  # a candidate may raise anything
            return raised(error)
        write(Path(request["file"]), called)
        return {}

    def _time(self, request: Answer) -> Answer:
        from workbench.kernels.process.timing import timed

        kernel, candidate, arguments = self._function(request)
        try:
            return timed(kernel, candidate, arguments, request["device"], request["seconds"])
        except BaseException as error:  # noqa: BLE001  # a candidate may raise anything
            return raised(error)

    def _task(self, request: Answer) -> Answer:
        from workbench.kernels.tasks.child import run_case

        function: Any = None if self._candidate is None else self._candidate(None)
        try:
            return run_case(request, function)
        except BaseException as error:  # noqa: BLE001  # a task's own files may raise anything too
            return raised(error)


def raised(error: BaseException) -> Answer:
    """Return what was raised, and where in the candidate: the frames that are not ours."""
    uncompiled = {"uncompiled": True} if type(error).__module__.startswith("torch._") else {}
    frames = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "workbench/kernels/" not in frame.filename or "/planted/" in frame.filename
    ]
    sentence = " ".join(sentence_of(error).split())[:MAX_SENTENCE]
    return {"raised": type(error).__name__, "sentence": sentence, "frames": frames[-4:], **uncompiled}


def main() -> None:
    """Answer until the requests end."""
    answers = int(sys.argv[1])
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    child = Child()
    for line in requests:
        answer = child.answer(json.loads(line))
        os.write(answers, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
