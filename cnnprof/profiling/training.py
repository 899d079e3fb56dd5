"""The memory of a training loop: the trace of two iterations, and its figures. On meta nothing is allocated."""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cnnprof.collector import collector_off
from cnnprof.profiling.autocast import UntraceableError, honest_on
from cnnprof.profiling.calls import Call
from cnnprof.profiling.deviations import deviations
from cnnprof.profiling.eager import eagerly
from cnnprof.profiling.failure import message
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.ledger import History, Place, alive, bytes_of, peak, split
from cnnprof.profiling.loop import Loop, TrainingError, first_output, learning
from cnnprof.profiling.memory import Split, Training
from cnnprof.profiling.profile import Layer
from cnnprof.profiling.retained import retained
from cnnprof.profiling.rows import layers_of
from cnnprof.profiling.saved import Saved, saved_for_backward
from cnnprof.profiling.standins import SparseError, StandIns, in_place_of, materialized, stand_ins
from cnnprof.profiling.tensors import tensors_in
from cnnprof.profiling.trace import Trace, place
from cnnprof.profiling.untouched import untouched

ITERATIONS = 2
"""In the second one the optimizer has its state, and all that follow are like it."""


UNTRAINABLE = (TrainingError, UntraceableError, SparseError)
"""What is raised for a module that cannot be trained without data."""


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A traced training loop."""

    training: Training
    history: History
    kinds: tuple[str, ...]
    """For each allocation the field of `Split` that it belongs to."""
    saved: tuple[Saved, ...]
    """What the first iteration keeps for its backward pass, parameters and input included."""
    root: Layer
    """The first forward pass, with the retained bytes of each row."""
    caveats: tuple[str, ...]
    """What is not trained, though it could be."""


def train(
    module: nn.Module,
    inputs: Inputs | Given,
    *,
    batch: int = 1,
    optimizer: str = "sgd",
    dtype: torch.dtype | None = None,
    device: torch.device | str = "meta",
    keep_output: bool = True,
) -> TrainingRun:
    """A `TrainingRun` of `module` on those inputs, which are given as to `profile`, in `train()` mode.

    The module is left as it was: stand-ins take the place of its parameters and buffers. `device="cpu"` runs the same loop on
    numbers. Without `keep_output` the loop is `criterion(network(input), target).backward()`, which has no variable for the
    output and the loss. Raises `TrainingError` where the module cannot be trained so, `SparseError` where it has sparse parameters
    or buffers, `UntraceableError` where it uses autocast.
    """
    where = torch.device(device)
    with _trainable(module, where) as modules:
        while True:
            loaded = len(sys.modules)
            own = stand_ins(modules, where)
            given = inputs_for(inputs, batch, dtype or own.dtype)
            run = _run(module, modules, own, materialized(given, where), optimizer, keep_output, where)
            if len(sys.modules) == loaded:
                return run
            # Some of torch's kernels import much of it when they are first used, and its caught errors hold on to tensors.


@contextmanager
def _trainable(module: nn.Module, device: torch.device) -> Iterator[Mapping[nn.Module, str]]:
    """The modules with their paths, in `train()` mode."""
    with untouched(module, training=True) as modules, torch.enable_grad(), collector_off(), honest_on(device), eagerly():
        yield modules


class TrainingTrace(Trace):
    """A trace of forward and backward passes. An operator of a backward pass belongs to the call that made its node."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        super().__init__(module)
        self.on_meta = device.type == "meta"
        self._sequence: list[int] = []
        self._callers: list[Call] = []
        """For each operator of the forward pass the number of nodes that there were, and the call that it belongs to."""

    def restart(self) -> tuple[Call, Mapping[nn.Module, int]]:
        """What was called, and how often each module. It is forgotten: another pass begins."""
        ended = self.top, self.called
        assert isinstance(self.top.callee, nn.Module)
        self.top = Call(self.top.callee, 0)
        self.stack = [self.top]
        self.called = {}
        return ended

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.modules and torch.is_grad_enabled():
            self._sequence.append(torch._C._autograd._get_sequence_nr())
            self._callers.append(self.modules[-1])
        return super().__torch_dispatch__(func, types, args, kwargs)

    def caller(self) -> Call | None:
        """The call of a module that runs the operators now, or whose backward does; None outside of all."""
        if self.modules:
            return self.modules[-1]
        node = torch._C._current_autograd_node()
        return None if node is None else self.behind(node._sequence_nr())

    def behind(self, node: int) -> Call | None:
        """The call that the operator behind a node of autograd's graph belongs to, by the node's number."""
        # Autograd makes an operator's node before it runs the operator.
        at = bisect_right(self._sequence, node)
        return self._callers[at] if at < len(self._callers) else None


def _run(
    module: nn.Module,
    modules: Mapping[nn.Module, str],
    own: StandIns,
    given: Given,
    optimizer: str,
    keep_output: bool,
    device: torch.device,
) -> TrainingRun:
    trace = TrainingTrace(module, device)
    trace.batch = given.batch
    network = partial(module, *given.args, **given.kwargs)
    with _told(trace, modules), in_place_of(modules, own.named), trace.hooked():
        first = TrainingTrace(module, device)
        loop = Loop(network, own.parameters, tensors_in((given.args, dict(given.kwargs))), optimizer, keep_output, first)
        noted = _Noted(trace, loop, own, modules)
        with trace:
            for iteration in range(ITERATIONS):
                loop.run(partial(noted.begin, iteration))
    return noted.result(optimizer)


@contextmanager
def _told(trace: TrainingTrace, modules: Mapping[nn.Module, str]) -> Iterator[None]:
    """Tells of any error where it was raised."""
    try:
        yield
    except UNTRAINABLE:
        raise
    except Exception as error:
        raise TrainingError(message("train", error, trace, modules)) from error


def retained_by_layer(module: nn.Module, inputs: Inputs | Given, *, batch: int = 1, dtype: torch.dtype | None = None) -> Layer:
    """The layers of one forward pass in `train()` mode, with the bytes that each retains until a backward pass begins.

    Less than `train`, which gives the same: neither loss nor optimizer. Raises as it does.
    """
    with _trainable(module, torch.device("meta")) as modules:
        own = stand_ins(modules, torch.device("meta"))
        learning(own.parameters)
        given = inputs_for(inputs, batch, dtype or own.dtype)
        trace = TrainingTrace(module, torch.device("meta"))
        trace.batch = given.batch
        trace.ledger.begin("forward")
        with _told(trace, modules), in_place_of(modules, own.named), trace.hooked(), trace:
            output = module(*given.args, **given.kwargs)
        first_output(output)
        history = trace.history(modules)
        del output
        return layers_of(trace.top, trace.called, modules, retained=retained(history))


class _Noted:
    """What the tensors of a loop are, noted while they are there."""

    def __init__(self, trace: TrainingTrace, loop: Loop, own: StandIns, modules: Mapping[nn.Module, str]) -> None:
        self.trace = trace
        self.modules = modules
        self.ledger = trace.ledger
        self.loop = loop
        self.ledger.adopt([*own.parameters, *own.buffers, *loop.inputs])
        self.kinds = {
            "parameters": self.numbers(own.parameters),
            "buffers": self.numbers(own.buffers),
            "input": self.numbers(loop.inputs),
            "gradients": set[int](),
            "optimizer_state": set[int](),
        }
        self.saved: list[Saved] = []
        self.named = own.named
        self.idle: tuple[str, ...] = ()
        """The parameters to which the first backward pass gave no gradient."""
        self.forward: tuple[Call, Mapping[nn.Module, int]] = trace.top, trace.called
        """What the first forward pass called."""

    def begin(self, iteration: int, phase: str, loss: Tensor | None) -> None:
        """Between two phases of the loop."""
        if loss is not None and not iteration:
            self.saved = saved_for_backward(loss, self.ledger.number, self.place)
        if phase == "step" and not iteration:
            waiting = (name for name, tensor in self.named.items() if tensor.requires_grad and tensor.grad is None)
            self.idle = tuple(waiting)
        ended = self.trace.restart()
        if phase == "loss" and not iteration:
            self.forward = ended
        self.kinds["gradients"] |= self.numbers(self.loop.gradients)
        self.kinds["optimizer_state"] |= self.numbers(self.loop.state)
        self.ledger.begin(phase, iteration)

    def place(self, node: int) -> Place | None:
        """The call that the operator behind a node of autograd's graph belongs to."""
        return place(self.modules, self.trace.behind(node))

    def numbers(self, tensors: Iterable[Tensor]) -> set[int]:
        """The allocations behind the tensors."""
        found = (self.ledger.number(tensor) for tensor in tensors)
        return {number for number in found if number is not None}

    def result(self, optimizer: str) -> TrainingRun:
        """All figures, from the history."""
        history = self.trace.history(self.modules)
        self.kinds["activations"] = {n for iteration in range(ITERATIONS) for n in activations(history, iteration)}
        kinds = tuple(
            next((kind for kind, numbers in self.kinds.items() if n in numbers), "temporary")
            for n in range(len(history.allocations))
        )
        forward = history.span(0, "forward", "loss")
        saved = {one.allocation for one in self.saved if kinds[one.allocation] == "activations"}
        highest = peak(history, history.span(ITERATIONS - 1))
        training = Training(
            optimizer=optimizer,
            loss=self.loop.loss,
            saved_bytes=bytes_of(history, saved),
            live_after_forward=Split(**split(history, forward.stop - 1, kinds)),
            loss_bytes=bytes_of(history, activations(history, 0, "loss")),
            first_backward_peak_bytes=peak(history, history.span(0, "forward", "loss", "backward")).bytes,
            first_peak_bytes=peak(history, history.span(0)).bytes,
            peak=highest,
            at_peak=Split(**split(history, highest.event, kinds)),
            deviations=deviations(self.modules, history),
        )
        kept = retained(history, history.span(0, "forward"), forward.stop - 1)
        root = layers_of(*self.forward, self.modules, retained=kept)
        return TrainingRun(training, history, kinds, tuple(self.saved), root, self.caveats())

    def caveats(self) -> tuple[str, ...]:
        """Names the parameters that only outputs without a loss depend on."""
        called = {self.modules[module] for module in self.forward[1] if module in self.modules}
        idle = [name for name in self.idle if name.rpartition(".")[0] in called]
        if self.loop.outputs < 2 or not idle:
            return ()
        more = f" and {len(idle) - 1:,} more" if len(idle) > 1 else ""
        outputs = f"the loss is that of the first of {self.loop.outputs:,} outputs"
        return (f"{outputs}, which gives no gradient to {idle[0]}{more}: no memory of training is counted for these",)


def activations(history: History, iteration: int, *phases: str) -> list[int]:
    """The allocations of an iteration's forward pass and loss, or of one of these phases, that live when the backward begins."""
    until = history.span(iteration, "forward", "loss").stop
    made = {history.events[event] for event in history.span(iteration, *(phases or ("forward", "loss")))}
    return [n for n in alive(history, until - 1) if n in made]
