"""Every error the workbench raises on purpose: one sentence each, with its exit code."""

from dataclasses import dataclass


def sentence_of(problem: BaseException) -> str:
    """Return the text of any exception, in one that can be written as UTF-8; never raises."""
    try:
        return as_utf8(str(problem))
    except BaseException:  # noqa: BLE001 an exception of the host may fail in its own `__str__`, in any way
        return "(its text cannot be read)"


def as_utf8(text: str) -> str:
    """Return text that can be written as UTF-8: lone surrogates, as in names of files, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


class SpecwbError(Exception):
    """Base of all errors meant for the user; `str()` is one clear sentence.

    Attributes:
        exit_code: Exit code of the command: 2 usage or unreadable input, 3 environment.
    """

    exit_code = 2


class UsageError(SpecwbError, ValueError):
    """The caller asked for something that cannot be: expected, came, what to do."""


class TraceError(SpecwbError):
    """A recorded run cannot be read or written as asked."""


class UnknownColumnError(TraceError, KeyError):
    """A column that the schema does not have."""

    def __str__(self) -> str:
        """Return the sentence itself; `KeyError` would quote it."""
        return str(self.args[0]) if self.args else ""


class ShapeMismatchError(TraceError, ValueError):
    """A value has the wrong rank, dtype or a length that disagrees with its step."""


class CheckpointError(SpecwbError):
    """A model directory is missing, broken or inconsistent; names the file or tensor."""


class ModelMissingError(CheckpointError):
    """The model directory or one of its files is not there."""

    exit_code = 3


class EnvironmentProblemError(SpecwbError):
    """A device, an extra, disk space or a compiler is missing."""

    exit_code = 3


class LaunchRefusedError(SpecwbError):
    """Raised by a recorder's `about_to_run` to keep a violated launch from happening.

    Attributes:
        stage: The stage that must not launch.
        findings: Why (`tracing.finding.Finding`).
    """

    exit_code = 1

    def __init__(self, stage: str, findings: tuple[object, ...]) -> None:
        super().__init__(f"launch of stage {stage} refused: {len(findings)} finding(s)")
        self.stage = stage
        self.findings = findings


@dataclass(eq=False, repr=False, kw_only=True)
class ContractError(SpecwbError, ValueError):
    """A call breaks a documented operator contract; fields first, sentence in `str()`.

    Attributes:
        operator: Operator name, e.g. `npu_fused_infer_attention_score`.
        rule: Stable rule id, e.g. `NPU-FIA-MASK-DTYPE`.
        argument: Offending argument.
        value: What came, as short text.
        expected: What the contract allows.
        device: What the device would do.
        source: Where that is documented.
    """

    exit_code = 1

    operator: str
    rule: str
    argument: str
    value: str
    expected: str
    device: str
    source: str

    def __post_init__(self) -> None:
        super().__init__(
            f"{self.operator}: {self.argument} is {self.value}, expected {self.expected}; "
            f"on the device: {self.device} [{self.rule}; {self.source}]"
        )
