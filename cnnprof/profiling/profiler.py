"""`profile`: from a module and the shape of its input to what it costs."""

from __future__ import annotations

import gc
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from cnnprof.errors import CnnprofError, UsageError
from cnnprof.profiling.counting import Counting, products_of_call
from cnnprof.profiling.describe import kind_of
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.profile import PRODUCTS, Profile
from cnnprof.profiling.rows import layers_of
from cnnprof.profiling.trace import Failure, Trace, stand_ins_of
from cnnprof.profiling.untouched import untouched


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
) -> Profile:
    """A `Profile` of what `module` costs for those inputs.

    `inputs` is a shape without the batch dimension, `(3, 224, 224)`; several of them, `[(3, 64, 64), (3, 64, 64)]`; or an example:
    a tensor with its batch dimension, a tuple of what `forward` takes by position, a dict of what it takes by name.

    The pass runs on the meta device, where tensors have shapes and no data, in `eval()` mode and without gradients. The module is
    neither moved nor copied, and is afterwards as it was before. Raises `ProfileError` where the module cannot be run so.

    `convention` counts as others do, "flops", "mac+bias", "fvcore", "thop" or "ptflops": the `products` are theirs then.

    >>> import cnnprof, torch
    >>> prof = cnnprof.profile(torch.nn.Linear(256, 200), (256,))
    >>> prof.params, prof.products
    (51400, 51200)
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"a torch.nn.Module is profiled, not {module!r}; cnnprof.load(name) makes one of a spec")
    module = bare(module)
    paths = {part: path for path, part in module.named_modules()}
    given = inputs_for(inputs, batch, dtype or _dtype(paths))
    trace, counting = _counted(module, convention)
    with inference(paths):
        run(trace, given, paths)
        root = layers_of(trace, paths, counting)
    return Profile(name or kind_of(module), given.shapes, given.batch, given.dtype, root, convention)


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
        trace.run(given.args, given.kwargs, stand_ins_of(paths))
    except Exception as error:
        raise ProfileError(_message(error, trace, paths)) from error


@contextmanager
def inference(modules: Iterable[nn.Module]) -> Iterator[None]:
    """The conditions of a pass: `eval()`, no gradients, nothing compiled. Afterwards the modules are as they were."""
    with torch.no_grad(), _collector_off(), untouched(modules), _evaluating(modules), _eagerly():
        yield


def _dtype(modules: Iterable[nn.Module]) -> torch.dtype:
    """That of the first parameter with fractions, torch's default where there is none."""
    parameters = (parameter for module in modules for parameter in module._parameters.values() if parameter is not None)
    return next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), torch.get_default_dtype())


@contextmanager
def _evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """`eval()`, on one device. `untouched` puts back what is an attribute in Python."""
    scripted: list[nn.Module] = []
    for module in modules:
        attributes = module.__dict__
        if attributes.get("training"):
            attributes["training"] = False  # `__setattr__` of a module takes ten times as long
        elif module.training:
            module.training = False
            scripted.append(module)
        if isinstance(module, nn.DataParallel):
            module.device_ids = []
    try:
        yield
    finally:
        for module in scripted:
            module.training = True


@contextmanager
def _collector_off() -> Iterator[None]:
    """A collection in the middle of the pass costs more than the pass; reference counts free the tensors."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _eagerly() -> Iterator[None]:
    """Runs what is written: nothing that `torch.compile` makes of it, which would compile the profiler too, nor attention that
    looks at its mask to leave out what is padding."""
    mha = torch.backends.mha
    fast = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            for message in _IRRELEVANT:
                warnings.filterwarnings("ignore", message)
            if "torch._dynamo" in sys.modules:
                with torch.compiler.set_stance("force_eager"):
                    yield
            else:
                yield
    finally:
        mha.set_fastpath_enabled(fast)


_IRRELEVANT = (
    r"Using `torch.compile\(module\)` when there are global hooks",
    "None of the inputs have requires_grad=True",  # a checkpoint, without gradients
)


def _message(error: Exception, trace: Trace, paths: Mapping[nn.Module, str]) -> str:
    """Where the pass stopped and why: the module, the line of the user's file, what torch said, and what to do."""
    failure = trace.failure if trace.failure.error is error else Failure()
    module = failure.module or trace.top.callee
    assert isinstance(module, nn.Module)
    where = paths.get(module, "")
    what = f"{where} ({kind_of(module)})" if where else kind_of(module)
    line = _user_line(error.__traceback__)
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    advice = next((text for sign, text in _ADVICE.items() if sign in reason), "")
    if advice is _DATA:
        operator = re.search(r"(?:aten::|torch\.|Tensor\.)(\w+)", reason)
        reason = f"{_called(failure.function) or (operator and operator[1]) or reason} cannot run without data"
    return f"cannot run {what}{f' at {line}' if line else ''}: {reason}{f'; {advice}' if advice else ''}"


def _called(function: str) -> str:
    """`x.item()`; an operator as it is, `[]`."""
    return f"{function}()" if "." in function and "(" not in function else function


_DATA = "put what depends on values outside `forward`, or profile the branches as modules of their own"
_KERNEL = "give the operator a kernel for tensors without data: torch.library.register_fake"
_DEVICE = "make it on the device of the input, `device=x.device`"
_ADVICE = {
    "aten::": _DATA,
    "on meta tensors": _DATA,
    "register_meta function": _DATA,
    "data-dependent": _DATA,
    "out of meta tensor": _DATA,
    "unallocated storage": _DATA,
    "a meta tensor without output_size": _DATA,
    "meta device type tensor": _DATA,
    "passed to Tensor.__format__": _DATA,
    "fake impl": _KERNEL,
    "writes the network's values into a tensor on": _DEVICE,
    "not at the same device": _DEVICE,
    "autocast device_type 'meta'": "name the device type as text, or leave autocast to the caller",
}
"""What to do about an error, by a piece of torch's message, the first that is in it."""


def _user_line(traceback: TracebackType | None) -> str:
    """`net.py:12`: the innermost line that is neither torch's nor ours."""
    found = ""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
    while traceback:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith((*ours, "<")):
            found = f"{Path(code.co_filename).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return found
