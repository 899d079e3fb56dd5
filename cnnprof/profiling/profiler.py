"""`profile`: from a module and the shape of its input to what it costs."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

from cnnprof.errors import CnnprofError
from cnnprof.profiling.describe import kind_of
from cnnprof.profiling.inputs import Given, Inputs, inputs_for
from cnnprof.profiling.profile import Profile
from cnnprof.profiling.rows import layers_of
from cnnprof.profiling.trace import Trace, stand_ins_of


class ProfileError(CnnprofError):
    """A module that cannot be run without data. The message names the layer at which it stopped, and the line of its file."""


def profile(
    module: nn.Module, inputs: Inputs | Given, *, batch: int = 1, name: str = "", dtype: torch.dtype | None = None
) -> Profile:
    """A `Profile` of what `module` costs for those inputs.

    `inputs` is a shape without the batch dimension, `(3, 224, 224)`; several of them, `[(3, 64, 64), (3, 64, 64)]`; or an example:
    a tensor with its batch dimension, a tuple of what `forward` takes by position, a dict of what it takes by name.

    The pass runs on the meta device, where tensors have shapes and no data, in `eval()` mode and without gradients. The module is
    neither moved nor copied, and its modes are restored. Raises `ProfileError` where the module cannot be run so.

    >>> import cnnprof, torch
    >>> prof = cnnprof.profile(torch.nn.Linear(256, 200), (256,))
    >>> prof.params, prof.products
    (51400, 51200)
    """
    paths = {part: path for path, part in module.named_modules()}
    given = inputs_for(inputs, batch, dtype or _dtype(paths))
    trace = Trace(module)
    with torch.no_grad(), _evaluating(paths), _collector_off():
        try:
            trace.run(given.args, given.kwargs, stand_ins_of(paths))
        except Exception as error:
            raise ProfileError(_message(error, trace, paths)) from error
        root = layers_of(trace, paths)
    return Profile(name or kind_of(module), given.shapes, given.batch, given.dtype, root)


def _dtype(modules: Iterable[nn.Module]) -> torch.dtype:
    """That of the first parameter with fractions, torch's default where there is none."""
    parameters = (parameter for module in modules for parameter in module._parameters.values() if parameter is not None)
    return next((parameter.dtype for parameter in parameters if parameter.is_floating_point()), torch.get_default_dtype())


@contextmanager
def _evaluating(modules: Iterable[nn.Module]) -> Iterator[None]:
    """`eval()`, and each module's own mode again afterwards."""
    in_training = [module for module in modules if module.training]
    for module in in_training:
        module.training = False
    try:
        yield
    finally:
        for module in in_training:
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


def _message(error: Exception, trace: Trace, paths: dict[nn.Module, str]) -> str:
    """Where the pass stopped and why: the module, the line of the user's file, what torch said, and what to do."""
    module = next((call.callee for call in reversed(trace.stack) if isinstance(call.callee, nn.Module)), None)
    where = paths.get(module, "") if module else ""
    what = f"{where} ({kind_of(module)})" if where and module else kind_of(module) if module else "the module"
    line = _user_line(error.__traceback__)
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    advice = next((text for sign, text in _ADVICE.items() if sign in str(error)), "")
    return f"cannot run {what}{f' at {line}' if line else ''}: {reason}{f'; {advice}' if advice else ''}"


_DATA = (
    "there is no data to decide by: put what depends on values outside `forward`, or profile the branches as modules of their own"
)
_ADVICE = {
    "on meta tensors": _DATA,
    "aten::_local_scalar_dense": _DATA,
    "aten::nonzero": _DATA,
    "data-dependent": _DATA,
    "meta tensor": _DATA,
}
"""What to do about an error, by a piece of torch's message."""


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
