"""The memory of a training loop: the trace of two iterations, and its figures. On meta nothing is allocated."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cnnprof.errors import CnnprofError
from cnnprof.profiling.conditions import collector_off, honest_on, in_mode
from cnnprof.profiling.deviations import deviations
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.ledger import Call, Ledger, Peak, Trace, alive, bytes_of, peak, split
from cnnprof.profiling.loop import Loop, TrainingError
from cnnprof.profiling.recorder import Recorder, tensors_in
from cnnprof.profiling.saved import Saved, saved_for_backward
from cnnprof.profiling.standins import StandIns, materialized, stand_ins
from cnnprof.profiling.untouched import untouched

ITERATIONS = 2
"""In the second one the optimizer has its state, and all that follow are like it."""


@dataclass(frozen=True, slots=True)
class Split:
    """Live bytes by what they hold."""

    parameters: int = 0
    buffers: int = 0
    input: int = 0
    """The batch and its targets."""
    gradients: int = 0
    """Of the parameters."""
    optimizer_state: int = 0
    activations: int = 0
    """What the forward pass and the loss made and the backward pass needs, output and loss included."""
    temporary: int = 0
    """The rest: what operators hand on to the next, gradients of activations, intermediate results of the optimizer."""

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, slots=True)
class Training:
    """The memory that training a network takes, in bytes."""

    optimizer: str
    loss: str
    saved_bytes: int
    """Of the distinct storages that autograd keeps for the backward pass, without parameters, buffers and input."""
    live_after_forward: Split
    """When output and loss of the first iteration are there, and the backward pass has not begun."""
    loss_bytes: int
    """What the loss adds to that: the layers' retained bytes and these are all of its activations."""
    first_backward_peak_bytes: int
    """The peak over the forward and the backward pass of the first iteration."""
    first_peak_bytes: int
    """The peak over the first iteration, in whose last step the optimizer makes its state."""
    peak: Peak
    """The peak over every later iteration."""
    at_peak: Split
    """What lives then."""
    deviations: tuple[str, ...] = ()
    """Why the figures of a real pass are others, where that is known."""

    @property
    def peak_bytes(self) -> int:
        """The highest sum of live bytes over an iteration that is not the first."""
        return self.peak.bytes


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A traced training loop."""

    training: Training
    trace: Trace
    kinds: tuple[str, ...]
    """For each allocation the field of `Split` that it belongs to."""
    saved: tuple[Saved, ...]
    """What the first iteration keeps for its backward pass, parameters and input included."""


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
    output and the loss. Raises `TrainingError` where the module cannot be trained so, `UntraceableError` where it uses autocast.
    """
    where = torch.device(device)
    modules = {part: path for path, part in module.named_modules()}
    with untouched(modules), in_mode(modules, training=True), torch.enable_grad(), collector_off(), honest_on(where):
        while True:
            loaded = len(sys.modules)
            own = stand_ins(modules, where)
            given = inputs_for(inputs, batch, dtype or own.dtype)
            run = _run(module, modules, own, materialized(given, where), optimizer, keep_output)
            if len(sys.modules) == loaded:
                return run
            # Some of torch's kernels import much of it when they are first used, and its caught errors hold on to tensors.


def _run(
    module: nn.Module, modules: Mapping[nn.Module, str], own: StandIns, given: Given, optimizer: str, keep_output: bool
) -> TrainingRun:
    ledger = Ledger()
    recorder = Recorder(modules, ledger)
    network = partial(functional_call, module, dict(own.named), given.args, dict(given.kwargs), tie_weights=False)
    with recorder.hooked():
        try:
            loop = Loop(network, own.parameters, tensors_in((given.args, dict(given.kwargs))), optimizer, keep_output)
            noted = _Noted(ledger, loop, own, recorder.caller)
            with recorder:
                for iteration in range(ITERATIONS):
                    recorder.restart()
                    loop.run(partial(noted.begin, iteration))
        except CnnprofError:
            raise
        except Exception as error:
            raise TrainingError(_message(recorder, error)) from error
    return noted.result(optimizer, modules)


class _Noted:
    """What the tensors of a loop are, noted while they are there."""

    def __init__(self, ledger: Ledger, loop: Loop, own: StandIns, caller: Callable[[int], Call | None]) -> None:
        self.ledger = ledger
        self.loop = loop
        self.caller = caller
        ledger.adopt([*own.parameters, *own.buffers, *loop.inputs])
        self.kinds = {
            "parameters": self.numbers(own.parameters),
            "buffers": self.numbers(own.buffers),
            "input": self.numbers(loop.inputs),
            "gradients": set[int](),
            "optimizer_state": set[int](),
        }
        self.saved: list[Saved] = []

    def begin(self, iteration: int, phase: str, loss: Tensor | None) -> None:
        """Between two phases of the loop."""
        if loss is not None and not iteration:
            self.saved = saved_for_backward(loss, self.ledger.number, self.caller)
        self.kinds["gradients"] |= self.numbers(self.loop.gradients)
        self.kinds["optimizer_state"] |= self.numbers(self.loop.state)
        self.ledger.begin(phase, iteration)

    def numbers(self, tensors: Iterable[Tensor]) -> set[int]:
        """The allocations behind the tensors."""
        found = (self.ledger.number(tensor) for tensor in tensors)
        return {number for number in found if number is not None}

    def result(self, optimizer: str, modules: Iterable[nn.Module]) -> TrainingRun:
        """All figures, from the trace."""
        trace = self.ledger.close()
        self.kinds["activations"] = {n for iteration in range(ITERATIONS) for n in activations(trace, iteration)}
        kinds = tuple(
            next((kind for kind, numbers in self.kinds.items() if n in numbers), "temporary") for n in range(len(trace.allocations))
        )
        forward = trace.span(0, "forward", "loss")
        saved = {one.allocation for one in self.saved if kinds[one.allocation] == "activations"}
        highest = peak(trace, trace.span(ITERATIONS - 1))
        training = Training(
            optimizer=optimizer,
            loss=self.loop.loss,
            saved_bytes=bytes_of(trace, saved),
            live_after_forward=Split(**split(trace, forward.stop - 1, kinds)),
            loss_bytes=bytes_of(trace, activations(trace, 0, "loss")),
            first_backward_peak_bytes=peak(trace, trace.span(0, "forward", "loss", "backward")).bytes,
            first_peak_bytes=peak(trace, trace.span(0)).bytes,
            peak=highest,
            at_peak=Split(**split(trace, highest.event, kinds)),
            deviations=deviations(modules, trace),
        )
        return TrainingRun(training, trace, kinds, tuple(self.saved))


def activations(trace: Trace, iteration: int, *phases: str) -> list[int]:
    """The allocations of an iteration's forward pass and loss, or of one of these phases, that live when the backward begins."""
    until = trace.span(iteration, "forward", "loss").stop
    made = {trace.events[event] for event in trace.span(iteration, *(phases or ("forward", "loss")))}
    return [n for n in alive(trace, until - 1) if n in made]


def _message(recorder: Recorder, error: Exception) -> str:
    module = recorder.running
    where = f"{recorder.paths.get(module, '') or type(module).__name__} ({module})" if module is not None else "the network"
    return f"cannot train {where} without data: {str(error).strip() or type(error).__name__}"
