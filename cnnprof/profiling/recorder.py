"""Runs modules and writes into a ledger what their operators allocate, with the call of the module that they belong to."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils._pytree import tree_leaves

from cnnprof.operators import MetaMode, writes
from cnnprof.profiling.elsewhere import met
from cnnprof.profiling.ledger import Call, Ledger


class Recorder(MetaMode):
    """Sees every operator of a forward and a backward pass. An operator of a backward belongs to the call that made its node."""

    def __init__(self, modules: Mapping[nn.Module, str], ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.paths = modules
        self.calls: list[Call] = []
        """The calls that run, the innermost last."""
        self.failed: nn.Module | None = None
        self._modules: list[nn.Module] = []
        self._counts: Counter[nn.Module] = Counter()
        self._sequence: list[int] = []
        self._callers: list[Call | None] = []
        """For each operator of the forward pass the number of nodes that there were, and the call that it belongs to."""

    def restart(self) -> None:
        """Forgets what has been called: a new iteration begins."""
        self._counts.clear()
        self._sequence.clear()
        self._callers.clear()

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Follows the calls of all modules of the process, so that no hook has to be put on the user's own."""
        before = module_hooks.register_module_forward_pre_hook(self._enter)
        after = module_hooks.register_module_forward_hook(self._leave)
        try:
            yield
        finally:
            before.remove()
            after.remove()

    @property
    def running(self) -> nn.Module | None:
        """The innermost module that runs; after an error the one that raised it."""
        return self._modules[-1] if self._modules else None

    def _enter(self, module: nn.Module, inputs: object) -> None:
        self._modules.append(module)
        self.calls.append(Call(self.paths.get(module, ""), self._counts[module]))
        self._counts[module] += 1

    def _leave(self, module: nn.Module, inputs: object, output: object) -> None:
        self._modules.pop()
        self.calls.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        try:
            output = self.answer(func, args, kwargs)
        except Exception:
            moved = met(func, args, kwargs)
            if moved is None:
                raise
            args, kwargs = moved
            output = self.answer(func, args, kwargs)
        outputs = (output,) if isinstance(output, Tensor) else tensors_in(output)
        # A tensor that is made of numbers in Python comes to light here, as the input and the output of an operator.
        new = writes(func) or func is torch.ops.aten.lift_fresh.default
        inputs = None if new else lambda: tensors_in((args, kwargs))
        self.ledger.note(func.__name__.partition(".")[0], self._call(), outputs, inputs)
        return output

    def _call(self) -> Call | None:
        if self.calls:
            call = self.calls[-1]
            if torch.is_grad_enabled():
                self._sequence.append(torch._C._autograd._get_sequence_nr())
                self._callers.append(call)
            return call
        node = torch._C._current_autograd_node()
        return None if node is None else self.caller(node._sequence_nr())

    def caller(self, node: int) -> Call | None:
        """The call that the operator behind a node of autograd's graph belongs to, by the node's number."""
        # Autograd makes an operator's node before it runs the operator.
        at = bisect_right(self._sequence, node)
        return self._callers[at] if at < len(self._callers) else None


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors in a structure of tuples, lists and dictionaries, in order."""
    leaves = value if isinstance(value, tuple) and all(type(item) is Tensor for item in value) else tree_leaves(value)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
