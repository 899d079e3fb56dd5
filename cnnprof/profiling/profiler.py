"""`profile`: from a module and the shape of its input to what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from cnnprof.collector import collector_off
from cnnprof.errors import CnnprofError, UsageError
from cnnprof.profiling.counting import Counting, products_of_call
from cnnprof.profiling.describe import kind_of
from cnnprof.profiling.direct import direct
from cnnprof.profiling.eager import eagerly
from cnnprof.profiling.failure import message
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.ledger import History, live_by_run, peak
from cnnprof.profiling.profile import PRODUCTS, Layer, Profile
from cnnprof.profiling.rows import layers_of
from cnnprof.profiling.standins import without_data
from cnnprof.profiling.trace import Trace
from cnnprof.profiling.untouched import untouched

if TYPE_CHECKING:
    from cnnprof.profiling.training import TrainingRun


AUTOCAST = "autocast does nothing on the meta device: all bytes are those of the full precision, the products are right"
THREADS = "it gives work to other threads, and what runs there is not counted"


class ProfileError(CnnprofError):
    """A module that cannot be run without data. The message names the layer at which it stopped, and the line of its file."""


def profile(
    module: nn.Module,
    inputs: Inputs | Given,
    *,
    batch: int = 1,
    name: str = "",
    dtype: torch.dtype | None = None,
    convention: str = PRODUCTS,
    retained: bool = False,
    optimizer: str | None = None,
) -> Profile:
    """A `Profile` of what `module` costs for those inputs.

    `inputs` is a shape without the batch dimension, `(3, 224, 224)`; several of them, `[(3, 64, 64), (3, 64, 64)]`; or an example:
    a tensor with its batch dimension, a tuple of what `forward` takes by position, a dict of what it takes by name.

    The pass runs on the meta device, where tensors have shapes and no data, in `eval()` mode and without gradients. The module is
    neither moved nor copied, and is afterwards as it was before. Raises `ProfileError` where the module cannot be run so.

    `batch` and `dtype` are those of the inputs that are given as shapes; the dtype is that of the module unless it is given. `name`
    is what the profile calls the network, by default its class.

    `convention` counts as others do, "flops", "mac+bias", "fvcore", "thop" or "ptflops": the `products` are theirs then.

    With `retained` a second pass, in `train()` mode, tells what each layer keeps for a backward pass; where it cannot be trained,
    `untrained` says why. With an optimizer, "sgd", "momentum", "adam" or "adamw", two iterations of a training loop run, still
    without data, and `training` has their memory. Raises `TrainingError` where the module cannot be trained, `SparseError` where
    it has sparse parameters or buffers, `UntraceableError` where it uses autocast.

    >>> import cnnprof, torch
    >>> prof = cnnprof.profile(torch.nn.Linear(256, 200), (256,))
    >>> prof.params, prof.products
    (51400, 51200)
    """
    return measure(
        module,
        inputs,
        batch=batch,
        name=name,
        dtype=dtype,
        convention=convention,
        retained=retained,
        optimizer=optimizer,
    ).profile


@dataclass(frozen=True, slots=True)
class Measured:
    """A profile, and what happened meanwhile."""

    profile: Profile
    inference: History
    """What was allocated in the inference pass."""
    run: TrainingRun | None = None
    """The training loop; None where no optimizer was given."""


def measure(
    module: nn.Module,
    inputs: Inputs | Given,
    *,
    batch: int = 1,
    name: str = "",
    dtype: torch.dtype | None = None,
    convention: str = PRODUCTS,
    retained: bool = False,
    optimizer: str | None = None,
) -> Measured:
    """As `profile`, with what happened meanwhile."""
    if not isinstance(module, nn.Module):
        raise UsageError(f"a torch.nn.Module is profiled, not {module!r}; cnnprof.load(name) makes one of a spec")
    module = bare(module)
    with inference(module) as paths:
        given = inputs_for(inputs, batch, dtype or _dtype(paths))
        root, history, caveats = _traced(module, given, paths, convention)
    named = name or kind_of(module), given.shapes, given.batch, given.dtype
    made = Profile(*named, root, convention, peak(history), caveats=caveats)
    if not retained and optimizer is None:
        return Measured(made, history)
    from cnnprof.profiling.retained import with_retained  # of all this a plain profile needs nothing
    from cnnprof.profiling.training import UNTRAINABLE, retained_by_layer, train

    if optimizer is not None:
        run = train(module, given, optimizer=optimizer)
        told = (*caveats, *run.caveats)
        made = replace(made, root=with_retained(root, run.root), retained=True, training=run.training, caveats=told)
        return Measured(made, history, run)
    try:
        training = retained_by_layer(module, given)
    except UNTRAINABLE as error:
        return Measured(replace(made, untrained=str(error)), history)
    return Measured(replace(made, root=with_retained(root, training), retained=True), history)


def _traced(
    module: nn.Module, given: Given, paths: Mapping[nn.Module, str], convention: str
) -> tuple[Layer, History, tuple[str, ...]]:
    """The layers, what was allocated, and the caveats. The trace is gone when it returns, before garbage is collected again."""
    trace, counting = _counted(module, convention)
    run(trace, given, paths)
    history = trace.history(paths)
    root = layers_of(trace.top, trace.called, paths, counting, live=live_by_run(history))
    return root, history, _caveats(trace, paths)


def _caveats(trace: Trace, paths: Mapping[nn.Module, str]) -> tuple[str, ...]:
    """What the reader has to know of the figures."""
    found = [text for text, holds in ((AUTOCAST, trace.autocast), (THREADS, trace.shares)) if holds]
    misread = dict.fromkeys(f"{paths.get(module, '')} ({kind_of(module)})".lstrip() for module in trace.misread)
    if misread:
        named = ", ".join(misread)
        found.append(f"with batch_first=False the first axis is the sequence, of {trace.batch:,} steps here: in {named}")
    return tuple(found)


def _counted(module: nn.Module, convention: str) -> tuple[Trace, Counting]:
    """A trace that has not run yet, and what counts its rows. Raises UsageError where there is no such convention."""
    if convention == PRODUCTS:
        return Trace(module), products_of_call
    from cnnprof.profiling.conventions import find  # of which a plain profile needs nothing

    chosen = find(convention)
    trace = chosen.trace(module)
    return trace, chosen.count(trace, module)


def bare(module: nn.Module) -> nn.Module:
    """The module in a wrapper that only leads the way to several devices and back."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    return module


def run(trace: Trace, given: Given, paths: Mapping[nn.Module, str]) -> None:
    """Traces one pass, in `inference`. Raises `ProfileError` where the module cannot be run without data."""
    try:
        with without_data(paths), direct(trace):
            trace.run(given.args, given.kwargs, given.batch)
    except Exception as error:
        raise ProfileError(message("run", error, trace, paths) + _batch_in_shape(given)) from error


def _batch_in_shape(given: Given) -> str:
    """What to say of a shape that looks as if it had a batch dimension."""
    one = next((shape for shape in given.shapes if len(shape) >= _RANK_WITH_BATCH and shape[0] == 1), None)
    return f"; a shape has no batch dimension: {'x'.join(map(str, one[1:]))}, not {'x'.join(map(str, one))}" if one else ""


_RANK_WITH_BATCH = 4


@contextmanager
def inference(module: nn.Module) -> Iterator[dict[nn.Module, str]]:
    """The modules with their paths, and the conditions of a pass: `eval()`, no gradients, nothing compiled. Afterwards they are as
    they were."""
    with torch.no_grad(), collector_off(), untouched(module, training=False) as paths, eagerly():
        yield paths


def _dtype(modules: Iterable[nn.Module]) -> torch.dtype:
    """That of the first parameter with fractions, torch's default where there is none."""
    parameters = (parameter for module in modules for parameter in module._parameters.values() if parameter is not None)
    return next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), torch.get_default_dtype())
