"""The ordinary training loop, with torch's own optimizers and losses.

    for input, target in data:
        output = network(input)
        loss = criterion(output, target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

Input, target, output and loss live as long as these variables do, which counts: they are part of every peak.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer

from cnnprof.errors import CnnprofError
from cnnprof.operators import MetaMode
from cnnprof.profiling.tensors import tensors_in


class TrainingError(CnnprofError):
    """A module that cannot be trained without data. The message names the layer at which it stopped."""


def _plain(optimizer: type[Optimizer]) -> Any:
    """The optimizer without the wrappers in which torch imports its compiler, for a second."""
    wrapped = ("add_param_group", "step", "zero_grad")
    return type(optimizer.__name__, (optimizer,), {name: inspect.unwrap(getattr(optimizer, name)) for name in wrapped})


OPTIMIZERS: Mapping[str, Callable[[Sequence[Tensor]], Optimizer]] = MappingProxyType(
    {
        "sgd": partial(_plain(SGD), lr=0.01),
        "momentum": partial(_plain(SGD), lr=0.01, momentum=0.9),
        "adam": _plain(Adam),
        "adamw": _plain(AdamW),
    }
)
"""By the names of the command line. On meta torch chooses the implementation that it chooses on the CPU: parameter by parameter."""


class Loop:
    """Iterations over one batch."""

    def __init__(
        self,
        network: Callable[[], Any],
        parameters: Sequence[nn.Parameter],
        inputs: Sequence[Tensor],
        optimizer: str,
        keep_output: bool = True,
        mode: MetaMode | None = None,
    ) -> None:
        """`network` runs on `inputs`, at first once under `mode`. `keep_output`: see `cnnprof.profiling.training.train`.

        Raises TrainingError.
        """
        if optimizer not in OPTIMIZERS:
            raise TrainingError(f"the optimizer is one of {', '.join(OPTIMIZERS)}, not {optimizer}")
        self.network = network
        self.parameters = parameters
        self.keep_output = keep_output
        self.optimizer = OPTIMIZERS[optimizer](learning(parameters))
        with mode or MetaMode(), torch.no_grad():
            output = network()
            self.loss, self.criterion, target = _criterion(first_output(output))
            self.outputs = sum(tensor.is_floating_point() for tensor in tensors_in(output))
            """How many could have a loss."""
            del output
        self.inputs = (*inputs, target)
        """The batch, the targets last."""

    def run(self, begin: Callable[[str, Tensor | None], None]) -> None:
        """One iteration. Tells the name of each phase before it begins, and before the backward pass the loss."""
        begin("forward", None)
        output = self.network()
        begin("loss", None)
        loss = self.criterion(first_output(output), self.inputs[-1])
        if not self.keep_output:
            del output
        if loss.grad_fn is None:
            raise TrainingError("there is nothing to train: the output depends on no parameter that requires a gradient")
        begin("backward", loss)
        loss.backward()
        if not self.keep_output:
            del loss
        begin("step", None)
        with torch.no_grad():
            self.optimizer.step()
        begin("zero_grad", None)
        self.optimizer.zero_grad()

    @property
    def gradients(self) -> list[Tensor]:
        """Of the parameters that have one now."""
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    @property
    def state(self) -> list[Tensor]:
        """What the optimizer remembers."""
        return [value for state in self.optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]


def learning(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those that require a gradient. Raises TrainingError where there are none."""
    found = [parameter for parameter in parameters if parameter.requires_grad]
    if not found:
        raise TrainingError("there is nothing to train: no parameter requires a gradient")
    return found


def first_output(output: Any) -> Tensor:
    """The first tensor of what a network returned, of which the loss is. Raises TrainingError where it has no fractions."""
    tensor = next(iter(tensors_in(output)), None)
    if tensor is None or not tensor.is_floating_point():
        raise TrainingError("the first output is no floating point tensor, so it has no loss")
    return tensor


def _criterion(output: Tensor) -> tuple[str, Callable[[Tensor, Tensor], Tensor], Tensor]:
    """A loss for that output: its name, how it is computed, and a target."""
    if output.dim() == 2:
        classes = torch.zeros(len(output), dtype=torch.int64, device=output.device)
        return "cross entropy", functional.cross_entropy, classes
    return "mean square", functional.mse_loss, torch.zeros(output.shape, dtype=output.dtype, device=output.device)
