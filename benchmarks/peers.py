"""The tools people use today, each called as its own documentation shows it, and cnnprof among them."""

from __future__ import annotations

import inspect
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.trouble import GaveUpError

Device = Literal["cpu", "meta"]


@dataclass(frozen=True, slots=True)
class Figures:
    """What a tool says of a module; None for what it does not tell."""

    params: int | None
    products: int | None
    """In the unit of this project: what the tool prints, divided by what its unit is of ours."""


@dataclass(frozen=True, slots=True)
class Example:
    """What a module is given."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, ...] | None:
        """The sizes, batch included, where they say all: one tensor of single precision. None otherwise."""
        if self.kwargs or len(self.args) != 1 or not isinstance(self.args[0], Tensor) or self.args[0].dtype != torch.float32:
            return None
        return tuple(self.args[0].shape)

    @property
    def by_position(self) -> tuple[Any, ...]:
        """The arguments for a tool that cannot name them. Raises GaveUpError where they have names."""
        if self.kwargs:
            raise GaveUpError("takes inputs by position only")
        return self.args


Ask = Callable[[nn.Module, Example], Figures]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool, and how to get its numbers."""

    name: str
    package: str
    """What pip calls it."""
    module: str
    """What Python calls it."""
    devices: tuple[Device, ...]
    """Where its documentation has the module, first; then where it can have it too."""
    unit: str
    """What its number is, and how that becomes products."""
    ask: Ask
    script: str
    """The lines a user writes to see the figures of `net`, given an image of 3x224x224."""

    @property
    def installed(self) -> str | None:
        """Its version; None where it is not installed or cannot be imported."""
        try:
            found = version(self.package)
            import_module(self.module)
        except (PackageNotFoundError, ImportError):
            return None
        return found


def _by_cnnprof(module: nn.Module, example: Example) -> Figures:
    given: Any = dict(example.kwargs) or example.args
    if example.size is not None and example.size[0] == 1 and len(example.size) > 1:
        given = example.size[1:]
    found = import_module("cnnprof").profile(module, given)
    return Figures(found.params, found.products)


def _by_torch(module: nn.Module, example: Example) -> Figures:
    with FlopCounterMode(display=False) as counter:
        module(*example.args, **example.kwargs)
    return Figures(None, counter.get_total_flops() // 2)


def _by_torchinfo(module: nn.Module, example: Example) -> Figures:
    given: dict[str, Any] = {"input_size": example.size}
    if example.size is None:
        given = {"input_data": dict(example.kwargs) or list(example.args)}
    found = import_module("torchinfo").summary(module, **given, device=_device(module, example), verbose=0)
    return Figures(found.total_params, found.total_mult_adds)


def _device(module: nn.Module, example: Example) -> str:
    tensors = [*module.parameters(), *(arg for arg in example.args if isinstance(arg, Tensor))]
    return next((tensor.device.type for tensor in tensors), "cpu")


def _by_torchsummary(module: nn.Module, example: Example) -> Figures:
    sizes = [tuple(arg.shape[1:]) for arg in example.by_position]
    printed = io.StringIO()
    with redirect_stdout(printed):
        import_module("torchsummary").summary(module, sizes if len(sizes) > 1 else sizes[0], device="cpu")
    print(printed.getvalue(), end="")
    told = re.search(r"^Total params: ([\d,]+)$", printed.getvalue(), re.MULTILINE)
    if told is None:
        raise GaveUpError("prints no total")
    return Figures(int(told[1].replace(",", "")), None)


def _by_fvcore(module: nn.Module, example: Example) -> Figures:
    fvcore = import_module("fvcore.nn")
    flops = fvcore.FlopCountAnalysis(module, example.by_position)
    return Figures(fvcore.parameter_count(module)[""], _whole(flops.total()))


def _by_ptflops(backend: str) -> Ask:
    def ask(module: nn.Module, example: Example) -> Figures:
        given: dict[str, Any] = {}
        if example.size is None or example.size[0] != 1:  # its own inputs are a batch of one
            given = {"input_constructor": lambda _: _for_ptflops(module, example)}
        macs, params = import_module("ptflops").get_model_complexity_info(
            module,
            (example.size or (1, 1))[1:] or (1,),
            as_strings=False,
            print_per_layer_stat=False,
            backend=backend,
            **given,
        )
        if macs is None:
            raise GaveUpError("prints a traceback and returns None")
        return Figures(params, _whole(macs))

    return ask


def _for_ptflops(module: nn.Module, example: Example) -> Any:
    """One tensor, or inputs by name. Raises GaveUpError where `forward` has no names for them."""
    if example.kwargs:
        return dict(example.kwargs)
    if len(example.args) == 1 and isinstance(example.args[0], Tensor):
        return example.args[0]
    bound = inspect.signature(module.forward).bind(*example.args).arguments
    if len(bound) != len(example.args):
        raise GaveUpError("takes several inputs by name only")
    return dict(bound)


def _by_thop(module: nn.Module, example: Example) -> Figures:
    macs, params = import_module("thop").profile(module, inputs=example.by_position, verbose=False)
    return Figures(_whole(params), _whole(macs))


def _by_calflops(module: nn.Module, example: Example) -> Figures:
    given: dict[str, Any] = {"input_shape": example.size}
    if example.size is None:
        given = {"args": list(example.args), "kwargs": dict(example.kwargs)}
    _, macs, params = import_module("calflops").calculate_flops(module, **given, output_as_string=False, print_results=False)
    return Figures(_whole(params), _whole(macs))


def _whole(number: float) -> int:
    return round(float(number))


def _script(*lines: str) -> str:
    return "\n".join(lines) + "\n"


SIZE = "(1, 3, 224, 224)"
# A script of its own would go on with None.
_PTFLOPS_CHECK = 'if macs is None:\n    raise SystemExit("prints a traceback and returns None")'
_PTFLOPS = "from ptflops import get_model_complexity_info"

CNNPROF = Tool(
    "cnnprof",
    "cnnprof",
    "cnnprof.profiling.profiler",  # what `from cnnprof import profile` imports
    ("meta", "cpu"),
    "products",
    _by_cnnprof,
    _script("import cnnprof", "print(cnnprof.profile(net, (3, 224, 224)))"),
)
TORCH = Tool(
    "FlopCounterMode",
    "torch",
    "torch.utils.flop_counter",
    ("cpu", "meta"),
    "FLOPs, 2 for a product; no parameters",
    _by_torch,
    _script(
        "from torch.utils.flop_counter import FlopCounterMode", "with FlopCounterMode():", f"    net(torch.zeros{SIZE}.to(device))"
    ),
)
PEERS: Sequence[Tool] = [
    Tool(
        "torchinfo",
        "torchinfo",
        "torchinfo",
        ("cpu", "meta"),
        "mult-adds, 1 for a product; biases and norms count too",
        _by_torchinfo,
        _script("from torchinfo import summary", f"summary(net, input_size={SIZE}, device=device)"),
    ),
    Tool(
        "torchsummary",
        "torchsummary",
        "torchsummary",
        ("cpu",),
        "parameters only",
        _by_torchsummary,
        _script("from torchsummary import summary", 'summary(net, (3, 224, 224), device="cpu")'),
    ),
    Tool(
        "fvcore",
        "fvcore",
        "fvcore.nn",
        ("cpu",),
        "flops, which it defines as 1 for a product; norms count too",
        _by_fvcore,
        _script(
            "from fvcore.nn import FlopCountAnalysis, flop_count_table",
            f"print(flop_count_table(FlopCountAnalysis(net, torch.zeros{SIZE})))",
        ),
    ),
    Tool(
        "ptflops",
        "ptflops",
        "ptflops",
        ("cpu", "meta"),
        "MACs, 1 for a product; biases, norms and activations count too",
        _by_ptflops("pytorch"),
        _script(_PTFLOPS, "macs, params = get_model_complexity_info(net, (3, 224, 224))", _PTFLOPS_CHECK),
    ),
    Tool(
        "ptflops aten",
        "ptflops",
        "ptflops",
        ("cpu", "meta"),
        "MACs, 1 for a product; biases count too",
        _by_ptflops("aten"),
        _script(_PTFLOPS, 'macs, params = get_model_complexity_info(net, (3, 224, 224), backend="aten")', _PTFLOPS_CHECK),
    ),
    Tool(
        "thop",
        "thop",
        "thop",
        ("cpu", "meta"),
        "MACs, 1 for a product; norms count too",
        _by_thop,
        _script("from thop import profile", f"print(profile(net, inputs=(torch.zeros{SIZE}.to(device),)))"),
    ),
    Tool(
        "calflops",
        "calflops",
        "calflops",
        ("cpu", "meta"),
        "MACs, 1 for a product, beside its FLOPs",
        _by_calflops,
        _script("from calflops import calculate_flops", f"calculate_flops(net, input_shape={SIZE})"),
    ),
    TORCH,
]


@dataclass(frozen=True, slots=True)
class Side:
    """A tool, and where the module is that it gets."""

    tool: Tool
    device: Device

    @property
    def name(self) -> str:
        """The tool, and the device where that is not the one that its documentation has."""
        return self.tool.name if self.device == self.tool.devices[0] else f"{self.tool.name} ({self.device})"


def installed(tools: Sequence[Tool]) -> tuple[list[Tool], list[str]]:
    """The tools that are there, and a line for each one that is not."""
    there = [tool for tool in tools if tool.installed]
    return there, [f"{tool.name} is not installed: left out" for tool in tools if tool not in there]


def sides(tools: Sequence[Tool]) -> list[Side]:
    """Each tool on each device on which it can be."""
    return [Side(tool, device) for tool in tools for device in tool.devices]


@contextmanager
def quiet() -> Iterator[None]:
    """A context in which what a tool prints, logs and warns of goes nowhere."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        yield
