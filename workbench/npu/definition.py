"""Define an operator in one place: pinned schema, contract and emulation, registered by one decorator."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from torch import Tensor

from tracing.errors import ContractError
from workbench.npu.contract import NotModelledError
from workbench.npu.signature import Signature

Function = Callable[..., Any]


class Operator:
    """An operator that can be checked and emulated; calling it checks the call, then computes the result.

    Arguments are read by the pinned schema. Those that neither contract nor emulation reads, and that are not
    listed as ignored, must be left at their defaults.

    Attributes:
        name: Qualified name, e.g. `npu::npu_rms_norm`.
        signature: Its arguments, by the pinned schema.
    """

    def __init__(  # every field is named at the call
        self,
        name: str,
        compute: Function,
        *,
        check: Function,
        arguments: Function | None,
        names: Mapping[str, str],
        covers: str,
        ignored: Iterable[str],
    ) -> None:
        self.name = name
        self.signature = Signature.pinned(name)
        self.__name__ = name.partition("::")[2]
        self.__doc__ = compute.__doc__
        self.__signature__ = self.signature.as_python
        self._names = names
        self._covers = covers
        self._read = _Reader(arguments, self.signature, names) if arguments else None
        self._check = check if arguments else _Reader(check, self.signature, names)
        self._compute = compute if arguments else _Reader(compute, self.signature, names)
        readers = (self._read, self._check, self._compute)
        read = {
            schema_name for one in readers if isinstance(one, _Reader) for schema_name in one.reads.values()
        }
        self._not_modelled = self.signature.names - read - set(ignored)

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Check one call against the contract.

        Raises:
            ContractError: naming the rule.
            NotModelledError: for arguments that the contract does not cover; nothing was checked.
        """
        self._checked(args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Check one call, then compute its result on CPU or CUDA tensors.

        Raises:
            ContractError: naming the rule.
            NotModelledError: for arguments that the emulation does not cover.
        """
        return self._compute(self._checked(args, kwargs))

    def _checked(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what the computation takes, of a call that holds the contract."""
        bound = self.signature.bind(args, kwargs)
        used = [name for name in bound if name in self._not_modelled and self._is_given(name, bound[name])]
        if used:
            not_modelled(self.__name__, ", ".join(used), self._covers)
        call = self._read(bound) if self._read else bound
        try:
            self._check(call)
        except ContractError as broken:
            raise self._in_own_words(broken) from None
        return call

    def _is_given(self, name: str, value: Any) -> bool:
        return isinstance(value, Tensor) or value != self.signature.defaults.get(name)

    def _in_own_words(self, broken: ContractError) -> ContractError:
        """Return the error under this operator's name and argument names; rules are shared by several."""
        argument = self._names.get(broken.argument, broken.argument)
        if (broken.operator, broken.argument) == (self.__name__, argument):
            return broken
        return ContractError(**vars(broken) | {"operator": self.__name__, "argument": argument})


class _Reader:
    """A function that takes some arguments of an operator, each under its schema name."""

    def __init__(self, function: Function, signature: Signature, names: Mapping[str, str]) -> None:
        self._function = function
        self.reads: dict[str, str] = {}
        for parameter in inspect.signature(function).parameters.values():
            name = names.get(parameter.name, parameter.name)
            if name in signature.names:
                self.reads[parameter.name] = name
            elif parameter.default is inspect.Parameter.empty:
                raise TypeError(f"{function} reads {name}, which the schema does not have")

    def __call__(self, bound: Mapping[str, Any]) -> Any:
        return self._function(**{parameter: bound[name] for parameter, name in self.reads.items()})


def operator(
    name: str,
    *,
    check: Function,
    arguments: Function | None = None,
    names: Mapping[str, str] | None = None,
    covers: str = "its other arguments",
    ignored: Iterable[str] = (),
) -> Callable[[Function], Operator]:
    """Define the operator `name`, computed by the decorated function.

    Parameters of `check` and of the decorated function are the arguments that each reads, without defaults.
    With `arguments`, the parameters of that class are, and both functions take one instance of it.

    Args:
        name: Qualified name of a pinned schema.
        check: The contract; raises `ContractError`.
        arguments: Collects the arguments into one value; a parameter that the schema lacks needs a default.
        names: Parameter name to schema name, where they differ.
        covers: What is modelled, fit to follow "the contract covers".
        ignored: Arguments that may have any value and change nothing here.
    """
    return partial(
        Operator, name, check=check, arguments=arguments, names=names or {}, covers=covers, ignored=ignored
    )


def not_modelled(operator_name: str, what: str, covers: str) -> NoReturn:
    """Refuse what may be legal and is not modelled.

    Raises:
        NotModelledError: always.
    """
    raise NotModelledError(
        f"{operator_name}: {what} may be legal on the device, but the contract covers {covers} only; "
        "nothing was checked"
    )
