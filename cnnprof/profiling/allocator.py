"""What the allocator of the CPU really hands out during training, as torch's profiler reports it."""

from __future__ import annotations

from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.profiler import ProfilerActivity, profile

from cnnprof.profiling.conditions import in_mode
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.loop import Loop
from cnnprof.profiling.standins import materialized, stand_ins
from cnnprof.profiling.trace import tensors_in
from cnnprof.profiling.training import ITERATIONS
from cnnprof.profiling.untouched import untouched


def allocated_peak(
    module: nn.Module, inputs: Inputs | Given, *, batch: int = 1, optimizer: str = "sgd", dtype: torch.dtype | None = None
) -> int:
    """The highest sum of allocated bytes over an iteration that is not the first, on the CPU, workspace of kernels included.

    The loop is that of `cnnprof.profiling.training.train`, on numbers, and nothing but the profiler looks on. The module is left as
    it was.
    """
    cpu = torch.device("cpu")
    modules = {part: path for path, part in module.named_modules()}
    with untouched(modules), in_mode(modules, training=True), torch.enable_grad():
        own = stand_ins(modules, cpu)
        given = materialized(inputs_for(inputs, batch, dtype or own.dtype), cpu)
        network = partial(functional_call, module, dict(own.named), given.args, dict(given.kwargs), tie_weights=False)
        loop = Loop(network, own.parameters, tensors_in((given.args, dict(given.kwargs))), optimizer)
        for _ in range(ITERATIONS):
            loop.run(_nothing)
        before = {
            tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes()
            for tensor in (*own.parameters, *own.buffers, *loop.inputs, *loop.state)
        }
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            loop.run(_nothing)
    assert profiled.profiler is not None
    results = profiled.profiler.kineto_results
    assert results is not None
    changes = [event.nbytes() for event in results.events() if event.name() == "[memory]"]
    return sum(before.values()) + max(accumulate(changes), default=0)


def _nothing(phase: str, loss: Tensor | None) -> None:
    """Nobody is told of the phases."""
