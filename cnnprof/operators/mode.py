"""The dispatch mode under which networks are built and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from cnnprof.operators.table import RULES


class MetaMode(TorchDispatchMode):
    """Answers each operator by its rule. A mode that looks on overrides `__torch_dispatch__` and calls `answer`."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, since True wraps every dispatch in an import of torch's compiler, which takes a second."""
        return False

    def answer(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The output of an operator, made by its rule or by torch's kernel. Raises ShapeError where a rule refuses.

        An operator that torch composes of others is taken apart, and the mode sees those.
        """
        known = RULES[func]
        if known is not None:
            if known.output is not None:
                output = known.output(*args, **kwargs)
                if output is not None:
                    return output
            elif known.composed:
                with self:
                    return func.decompose(*args, **kwargs)
        return func(*args, **kwargs)

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        return self.answer(func, args, kwargs or {})
