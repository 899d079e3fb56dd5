"""How each source is asked. A source that cannot say anything gives a reason for it, never a number."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as module_hooks
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from cnnprof.profiling.as_fvcore import terms_of
from cnnprof.profiling.calls import Operation
from cnnprof.profiling.counting import InexpressibleError, total
from cnnprof.profiling.inputs import Given
from cnnprof.profiling.profiler import inference
from cnnprof.profiling.standins import without_data
from cnnprof.profiling.tensors import tensors_in, with_others
from cnnprof.profiling.witness import Invocation, Seen, Witness
from cnnprof.render.quantities import shapes
from cnnprof.verification import Difference, Opinion, Reason, params_differ, products_differ, shapes_differ, summed

_Reasons = Mapping[str, Sequence[Reason]]


@dataclass(frozen=True, slots=True)
class Account:
    """What cnnprof itself saw of a network."""

    module: nn.Module
    given: Given
    paths: Mapping[nn.Module, str]
    trace: Witness
    operations: Sequence[tuple[str, Operation]]
    """Every operator with the path of the module in which it ran."""
    params: int

    @property
    def tensors(self) -> list[Tensor]:
        """The inputs, without data."""
        return tensors_in((self.given.args, dict(self.given.kwargs)))

    def products(self) -> dict[str, int]:
        """Products by the path of the module that computed them itself."""
        found: Counter[str] = Counter()
        for path, operation in self.operations:
            found[path] += total(operation.terms)
        return found


@dataclass(frozen=True, slots=True)
class Real:
    """The network on the CPU."""

    module: nn.Module

    def given(self, account: Account) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs with data: random fractions, and zeros, which are valid indices."""
        generator = torch.Generator().manual_seed(0)

        def make(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point():
                return torch.rand(tensor.shape, generator=generator).to(tensor.dtype)
            return torch.zeros(tensor.shape, dtype=tensor.dtype)

        args, kwargs = with_others(make, (tuple(account.given.args), dict(account.given.kwargs)))
        return args, kwargs


def emptied(module: nn.Module) -> nn.Module:
    """A copy of a module without data in which every parameter and buffer is zeros on the CPU; what is tied stays tied.

    Shapes and counts depend on no values, and zeros take memory only where they are written to.
    """
    copy = deepcopy(module)
    made: dict[Tensor, Tensor] = {}
    for part in copy.modules():
        for held in (part._parameters, part._buffers):
            for name, tensor in held.items():
                if tensor is None:
                    continue
                if tensor not in made:
                    zeros = torch.zeros(tensor.shape, dtype=tensor.dtype)
                    made[tensor] = nn.Parameter(zeros, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else zeros
                held[name] = made[tensor]  # type: ignore[assignment]  # parameters for parameters, buffers for buffers
    return copy


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# torch's own counter


def by_torch(account: Account) -> Opinion:
    """What torch's FLOP counter counts on the meta device, halved, and torch's own sum of the parameters."""
    source = f"torch {version('torch').partition('+')[0]}"
    counter = FlopCounterMode(display=False)
    counts: Counter[str] = Counter()
    params = _numel(account.module)
    try:
        exclusive = _exclusive(account.paths, counter.get_total_flops, counts)
        with inference(account.module), without_data(account.paths), counter, exclusive:
            account.module(*account.given.args, **account.given.kwargs)
    except Exception as error:
        differences = params_differ(account.params, params)
        return Opinion(source, params, differences=differences, note=f"its FLOP counter cannot run this: {_first_line(error)}")
    theirs = {path: count // 2 for path, count in counts.items()}
    reasons = _unregistered(account)
    return Opinion(
        source,
        params,
        counter.get_total_flops() // 2,
        reasons=summed(chain.from_iterable(reasons.values())),
        differences=(*params_differ(account.params, params), *products_differ(account.products(), theirs, reasons)),
    )


def _unregistered(account: Account) -> _Reasons:
    """The products of operators that torch's counter does not have."""
    reasons: dict[str, list[Reason]] = defaultdict(list)
    for path, operation in account.operations:
        operator = account.trace.seen(operation).operator.called
        if operation.terms and getattr(operator, "overloadpacket", operator) not in flop_registry:
            reasons[path].append(Reason(-total(operation.terms), f"no rule for {operation.operator}"))
    return reasons


@contextmanager
def _exclusive(paths: Mapping[nn.Module, str], running: Callable[[], int], counts: Counter[str]) -> Iterator[None]:
    """Writes down what a counter that runs counted in each module itself, by hooks on all modules of the process."""
    stack = [""]
    since = [0]

    def switch() -> None:
        now = running()
        counts[stack[-1]] += now - since[0]
        since[0] = now

    def enter(module: nn.Module, args: Any) -> None:
        switch()
        stack.append(paths.get(module, stack[-1]))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        switch()
        stack.pop()

    hooks = (module_hooks.register_module_forward_pre_hook(enter), module_hooks.register_module_forward_hook(leave))
    try:
        yield
    finally:
        switch()
        for hook in hooks:
            hook.remove()


# fvcore

_COMPARABLE = frozenset({"conv", "linear", "addmm", "matmul", "mm", "bmm", "einsum"})
"""What fvcore counts and products are."""

_MORE = {
    "batch_norm": "batch_norm",
    "layer_norm": "layer_norm",
    "group_norm": "group_norm",
    "instance_norm": "instance_norm",
    "adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "upsample_nearest2d": "upsample_nearest2d",
    "upsample_bilinear2d": "upsample_bilinear2d",
    "grid_sampler": "grid_sampler",
}
"""What fvcore counts and products are not."""

_OTHERWISE: Mapping[Any, str] = {
    functional.multi_head_attention_forward: "no rule for scaled_dot_product_attention",
    torch.einsum: "einsum, by numpy's estimate to four digits",
    torch.matmul: "matmul, without a batch that only the second matrix has",
    Tensor.matmul: "matmul, without a batch that only the second matrix has",
}
"""Why fvcore counts another number for a function, where it is not that it has no rule for it."""


def by_fvcore(account: Account, real: Real) -> Opinion:
    """What fvcore counts on a trace by torch.jit."""
    source = f"fvcore {'.'.join(version('fvcore').split('.')[:3])}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis, parameter_count  # type: ignore[import-untyped]

        params = int(parameter_count(real.module)[""])
        flat = _Flat(real, account)
        try:
            with inference(flat):
                analysis = FlopCountAnalysis(flat, flat.inputs).tracer_warnings("none")
                analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
                inclusive = analysis.by_module_and_operator()
        except Exception as error:
            differences = params_differ(account.params, params)
            return Opinion(source, params, differences=differences, note=f"it cannot trace this: {_first_line(error)}")
    counted = _own(inclusive)
    reasons: dict[str, list[Reason]] = {path: list(less) for path, less in _left_out(account).items()}
    for path, counts in counted.items():
        more = [Reason(amount, _MORE[operator]) for operator, amount in counts.items() if operator in _MORE]
        reasons.setdefault(path, []).extend(more)
    theirs = {path: sum(counts.values()) for path, counts in counted.items()}
    return Opinion(
        source,
        params,
        sum(theirs.values()),
        reasons=summed(chain.from_iterable(reasons.values())),
        differences=(*params_differ(account.params, params), *products_differ(account.products(), theirs, reasons)),
    )


class _Flat(nn.Module):
    """The network as torch.jit can trace it: tensors by position go in, a tuple of tensors comes out."""

    def __init__(self, real: Real, account: Account) -> None:
        super().__init__()
        self.network = real.module
        leaves, self.structure = tree_flatten(real.given(account))
        self.places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.inputs = tuple(leaves[place] for place in self.places)
        self.leaves = leaves

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = tree_unflatten(leaves, self.structure)
        return tuple(tensors_in(self.network(*args, **kwargs)))


def _own(inclusive: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, int]]:
    """What each module of a `_Flat` counts itself, by operator: fvcore's numbers have those of the modules below in them."""
    own = {path: Counter({operator: int(count) for operator, count in counts.items()}) for path, counts in inclusive.items()}
    for path, counts in inclusive.items():
        if path:
            own[path.rpartition(".")[0]].subtract({operator: int(count) for operator, count in counts.items()})
    return {
        path.partition(".")[2]: {operator: count for operator, count in counts.items() if count}
        for path, counts in own.items()
        if path or any(counts.values())
    }


def _left_out(account: Account) -> _Reasons:
    """What fvcore counts otherwise of what are products: function by function, its convention against ours."""
    groups: dict[int, tuple[str, Seen, list[Operation]]] = {}
    for path, operation in account.operations:
        seen = account.trace.seen(operation)
        groups.setdefault(id(seen.function or seen.operator), (path, seen, []))[2].append(operation)
    reasons: dict[str, list[Reason]] = defaultdict(list)
    for path, seen, operations in groups.values():
        ours = sum(total(operation.terms) for operation in operations)
        if not ours and (seen.function is None or seen.function.called is not torch.einsum):
            continue  # what fvcore counts there is no product
        try:
            theirs = sum(total(terms_of(operation, account.trace.seen(operation))) for operation in operations)
        except InexpressibleError:
            continue
        if theirs != ours:
            reasons[path].append(Reason(theirs - ours, _why(seen.function or seen.operator)))
    return reasons


def _why(call: Invocation) -> str:
    name = str(getattr(call.called, "__name__", call.called)).partition(".")[0].removeprefix("linalg_")
    return _OTHERWISE.get(call.called, f"no rule for {name}")


# a pass on the CPU


def by_torch_on_the_cpu(account: Account, real: Real) -> Opinion:
    """The output shapes of a pass with real numbers, of every call of every module."""
    source = "a pass on the CPU"
    params = _numel(real.module)
    paths = {part: path for path, part in real.module.named_modules()}
    theirs: dict[str, list[str]] = defaultdict(list)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        if module in paths:
            theirs[paths[module]].append(shapes([tuple(tensor.shape) for tensor in tensors_in(output)]))

    hook = module_hooks.register_module_forward_hook(leave)
    try:
        args, kwargs = real.given(account)
        with inference(real.module), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            real.module(*args, **kwargs)
    except Exception as error:
        reason = _first_line(error)
        differences = params_differ(account.params, params)
        if "not implemented for" in reason:  # of a type for which the CPU lacks a kernel
            return Opinion(source, params, differences=differences, note=f"it cannot run: {reason}")
        return Opinion(source, params, differences=(*differences, Difference("", "pass", "runs", reason)))
    finally:
        hook.remove()
    ours: dict[str, list[str]] = defaultdict(list)
    for call, invocation in account.trace.calls.values():
        if isinstance(call.callee, nn.Module) and call.callee in account.paths:
            ours[account.paths[call.callee]].append(shapes([tuple(output) for output in invocation.outputs]))
    differences = (*params_differ(account.params, params), *shapes_differ(ours, theirs))
    return Opinion(source, params, shapes=sum(map(len, theirs.values())), differences=differences)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
