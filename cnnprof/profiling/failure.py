"""What is said of a pass that failed."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

from cnnprof.nets.blame import line_of
from cnnprof.profiling.describe import kind_of
from cnnprof.profiling.trace import Failure, Trace


def message(verb: str, error: Exception, trace: Trace, paths: Mapping[nn.Module, str]) -> str:
    """Where the pass stopped and why: the module, the line of the user's file, what torch said, and what to do."""
    failure = trace.failure if trace.failure.error == id(error) else Failure()
    module = failure.module or trace.top.callee
    assert isinstance(module, nn.Module)
    where = paths.get(module, "")
    what = f"{where} ({kind_of(module)})" if where else kind_of(module)
    line = line_of(error)
    reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
    advice = next((text for sign, text in _ADVICE.items() if sign in reason), "")
    if advice is _DATA:
        operator = re.search(r"(?:aten::|torch\.|Tensor\.)(\w+)", reason)
        reason = f"{_called(failure.function) or (operator and operator[1]) or reason} cannot run without data"
    return f"cannot {verb} {what}{f' at {line}' if line else ''}: {reason}{f'; {advice}' if advice else ''}"


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
