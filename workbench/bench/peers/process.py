"""A peer in a process of its own: JSON lines over pipes, a time limit for each answer."""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tracing.errors import EnvironmentProblemError
from workbench.lockstep.choice.decoders import Decoded

OPEN_SECONDS: Final = 300.0
ANSWER_SECONDS: Final = 120.0
MAX_ANSWER: Final = 4 << 20
LAST_WORDS: Final = 300
TIMES: Final = ("seconds", "first_token_seconds", "processor_seconds")


class PeerProcess:
    """One peer, one way of decoding; a decoder as ours are.

    Attributes:
        name: `peer:mode`.
        settings: What it said of itself when it opened.
    """

    def __init__(self, name: str, command: Sequence[str], asked: Mapping[str, Any], log: Path) -> None:
        """Start it and wait until it is open.

        Args:
            name: For messages.
            command: Interpreter and worker.
            asked: What to open; `threads` is also put into its environment.
            log: File for what it prints.

        Raises:
            EnvironmentProblemError: It cannot be started, or says that it cannot open.
        """
        self.name = name
        self._log = log
        environment = {**os.environ, "OMP_NUM_THREADS": str(asked["threads"]), "HF_HUB_OFFLINE": "1"}
        environment |= {"KMP_BLOCKTIME": "1", "PYTHONPATH": ""}  # its threads rest while others decode
        try:
            with log.open("wb") as errors:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as problem:
            raise EnvironmentProblemError(f"{name} cannot be started: {problem}") from None
        self._answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        try:
            answer = self._ask(asked, OPEN_SECONDS)
            self.settings: Mapping[str, Any] = dict(answer["settings"])
        except (KeyError, TypeError, ValueError):
            self.close()
            raise EnvironmentProblemError(f"{name} answered something else than its settings") from None
        except BaseException:
            self.close()
            raise

    def __call__(self, prompt: Sequence[int], max_new_tokens: int) -> Decoded:
        """Decode a context.

        Raises:
            EnvironmentProblemError: It failed, ended, or took too long.
        """
        asked = {"prompt_token_ids": list(prompt), "max_new_tokens": max_new_tokens}
        answer = self._ask(asked, ANSWER_SECONDS)
        token_ids = answer.get("output_token_ids")
        if not isinstance(token_ids, list) or not all(type(token) is int for token in token_ids):
            raise EnvironmentProblemError(f"{self.name} answered something else than token ids")
        times = [answer.get(name) for name in TIMES]
        if not all(isinstance(each, float) and 0 < each < math.inf for each in times):
            raise EnvironmentProblemError(f"{self.name} answered no times")
        seconds, first, processor_seconds = (float(str(each)) for each in times)
        return Decoded(
            token_ids=tuple(token_ids),
            seconds=seconds,
            first_token_seconds=first if first < seconds else None,  # two calls: noise can slow the shorter
            processor_seconds=processor_seconds,
        )

    def close(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            while line := self._process.stdout.readline(MAX_ANSWER):
                self._answers.put(line)
        self._answers.put(b"")

    def _ask(self, asked: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # then it has ended, which the empty answer says
            self._process.stdin.write(json.dumps(dict(asked)).encode() + b"\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise EnvironmentProblemError(
                f"{self.name} gave no answer in {seconds:.0f} s; see {self._log}"
            ) from None
        if not line:
            raise EnvironmentProblemError(f"{self.name} ended; {self._log} says: {self._last_words()}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise EnvironmentProblemError(f"{self.name} answered no JSON object; see {self._log}")
        if "error" in answer:
            raise EnvironmentProblemError(
                f"{self.name}: {str(answer['error'])[:LAST_WORDS]}; see {self._log}"
            )
        return answer

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = self._log.read_text("utf-8", "replace").strip().splitlines()
            return lines[-1][-LAST_WORDS:] if lines else "nothing"
        return "nothing"
