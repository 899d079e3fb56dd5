"""What a real pass takes: the same passes on tensors with data, and what the allocators hand out meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

from cnnprof.collector import collector_off
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.ledger import peak
from cnnprof.profiling.loop import Loop
from cnnprof.profiling.memory import Peak
from cnnprof.profiling.standins import in_place_of, materialized, stand_ins
from cnnprof.profiling.tensors import tensors_in
from cnnprof.profiling.trace import Trace
from cnnprof.profiling.training import ITERATIONS
from cnnprof.profiling.untouched import untouched

CPU = torch.device("cpu")


class _Ready(NamedTuple):
    """A network on a device, with zeros where it has no values of its own."""

    network: Callable[[], Any]
    given: list[Tensor]
    parameters: tuple[nn.Parameter, ...]
    buffers: tuple[Tensor, ...]
    paths: dict[nn.Module, str]


@contextmanager
def _ready(
    module: nn.Module, inputs: Inputs | Given, batch: int, dtype: torch.dtype | None, device: torch.device, training: bool
) -> Iterator[_Ready]:
    """The network in one of its modes. The module is left as it was."""
    with untouched(module, training) as paths, torch.set_grad_enabled(training), collector_off():
        own = stand_ins(paths, device)
        given = materialized(inputs_for(inputs, batch, dtype or own.dtype), device)
        tensors = tensors_in((given.args, dict(given.kwargs)))
        with in_place_of(paths, own.named):
            yield _Ready(partial(module, *given.args, **given.kwargs), tensors, own.parameters, own.buffers, paths)


def inference_peak(
    module: nn.Module,
    inputs: Inputs | Given,
    *,
    batch: int = 1,
    dtype: torch.dtype | None = None,
    device: torch.device = CPU,
) -> Peak:
    """The inference peak of a pass on real tensors, operator by operator, as `profile` has it for tensors without data."""
    with _ready(module, inputs, batch, dtype, device, training=False) as ready:
        trace = Trace(module)
        trace.on_meta = False
        trace.ledger.adopt(ready.given)
        trace.ledger.begin("forward")
        with trace.hooked(), trace:
            ready.network()
        return peak(trace.history(ready.paths))


def allocated_inference_peak(module: nn.Module, inputs: Inputs | Given, *, batch: int = 1, dtype: torch.dtype | None = None) -> int:
    """The highest sum of bytes that the CPU's allocator hands out in one pass, the input and the workspace of kernels included."""
    with _ready(module, inputs, batch, dtype, CPU, training=False) as ready:
        ready.network()  # what a kernel makes once it keeps
        return _bytes(ready.given) + _allocated(ready.network)


def allocated_training_peak(
    module: nn.Module,
    inputs: Inputs | Given,
    *,
    batch: int = 1,
    optimizer: str = "sgd",
    dtype: torch.dtype | None = None,
) -> int:
    """The same over an iteration of `cnnprof.profiling.training.train` that is not the first, parameters and all included."""
    with _ready(module, inputs, batch, dtype, CPU, training=True) as ready:
        loop = Loop(ready.network, ready.parameters, ready.given, optimizer)
        for _ in range(ITERATIONS):
            loop.run(_nothing)
        before = _bytes([*ready.parameters, *ready.buffers, *loop.inputs, *loop.state])
        return before + _allocated(partial(loop.run, _nothing))


def cuda_peaks(
    module: nn.Module,
    inputs: Inputs | Given,
    *,
    batch: int = 1,
    optimizer: str = "sgd",
    dtype: torch.dtype | None = None,
    device: torch.device,
) -> tuple[int, int]:
    """The inference peak and the training peak of torch's allocator on a CUDA device: `max_memory_allocated`, with parameters."""
    peaks = []
    for training in (False, True):
        with _ready(module, inputs, batch, dtype, device, training) as ready:
            run = ready.network
            if training:
                loop = Loop(ready.network, ready.parameters, ready.given, optimizer)
                run = partial(loop.run, _nothing)
            for _ in range(ITERATIONS):
                run()
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            run()
            torch.cuda.synchronize(device)
            peaks.append(torch.cuda.max_memory_allocated(device))
    return peaks[0], peaks[1]


def _allocated(run: Callable[[], Any]) -> int:
    """The highest sum of what is allocated and not freed while something runs."""
    with torch_profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    assert profiled.profiler is not None
    results = profiled.profiler.kineto_results
    assert results is not None
    changes = [event.nbytes() for event in results.events() if event.name() == "[memory]"]
    return max(accumulate(changes), default=0)


def _bytes(tensors: list[Tensor]) -> int:
    """Of the distinct storages of the tensors."""
    return sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def _nothing(phase: str, loss: Tensor | None) -> None:
    """Nobody is told of the phases."""
