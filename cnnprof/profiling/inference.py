"""The memory of an inference pass: its trace. On meta nothing is allocated."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call

from cnnprof.profiling.conditions import collector_off, honest_on, in_mode
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.ledger import Ledger, Trace
from cnnprof.profiling.recorder import Recorder, tensors_in
from cnnprof.profiling.standins import materialized, stand_ins
from cnnprof.profiling.untouched import untouched


def trace_inference(
    module: nn.Module,
    inputs: Inputs | Given,
    *,
    batch: int = 1,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "meta",
) -> Trace:
    """The trace of one pass in `eval()` mode and without gradients: the input and what the operators allocate, no parameters.

    `inputs` are given as to `profile`. The module is left as it was. `device="cpu"` runs the same pass on numbers.
    """
    where = torch.device(device)
    modules = {part: path for path, part in module.named_modules()}
    ledger = Ledger()
    recorder = Recorder(modules, ledger)
    with untouched(modules), in_mode(modules, training=False), torch.no_grad(), collector_off(), honest_on(where):
        own = stand_ins(modules, where)
        given = materialized(inputs_for(inputs, batch, dtype or own.dtype), where)
        ledger.adopt(tensors_in((given.args, dict(given.kwargs))))
        ledger.begin("forward")
        with recorder.hooked(), recorder:
            output = functional_call(module, dict(own.named), given.args, dict(given.kwargs), tie_weights=False)
        trace = ledger.close()
        del output
    return trace
