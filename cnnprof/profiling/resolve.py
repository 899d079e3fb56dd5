"""From a target, whatever it names, to the module and the input that are profiled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from cnnprof.errors import Span, UsageError
from cnnprof.nets.code import module_of
from cnnprof.nets.guest import guest
from cnnprof.nets.targets import network
from cnnprof.profiling.inputs import Given, given_for
from cnnprof.profiling.profile import PRODUCTS, Profile
from cnnprof.profiling.profiler import profile
from cnnprof.profiling.saved_profile import read_profile
from cnnprof.spec.expressions import evaluate
from cnnprof.spec.grammar import Argument
from cnnprof.spec.input import InputOption
from cnnprof.spec.target import CodeTarget, SavedTarget, SpecTarget, Target


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the user asked of a target: `--input`, `--batch`, `--set`, `--dtype`, `--convention` and `--training`."""

    inputs: Sequence[InputOption] = ()
    """None: the spec's own."""
    batch: int = 1
    settings: Mapping[str, Argument] = field(default_factory=dict)
    dtype: str = "float32"
    convention: str = PRODUCTS
    optimizer: str | None = None
    """That of `--training`; None without it."""
    retained: bool = False
    """Whether the command wants to know what each layer retains for training, too."""

    @property
    def untouched(self) -> bool:
        """Whether nothing was asked."""
        return replace(self, retained=False) == Conditions()


@dataclass(frozen=True, slots=True)
class Subject:
    """A module, and what it is given."""

    name: str
    module: nn.Module
    given: Given
    lines: Mapping[str, Span]
    """The place in its spec of each module, by path; empty where it comes from no spec."""

    def profile(self, conditions: Conditions) -> Profile:
        """What the module costs for what it is given."""
        return profile(
            self.module,
            self.given,
            name=self.name,
            convention=conditions.convention,
            retained=conditions.retained,
            optimizer=conditions.optimizer,
        )


def profile_of(target: Target, conditions: Conditions) -> Profile:
    """The profile of a target; a saved one is read and not measured. Raises UsageError where the conditions do not fit it."""
    if isinstance(target, SavedTarget):
        if not conditions.untouched:
            options = "--input, --batch, --set, --dtype, --convention, --training"
            raise UsageError(f'"{target.name}" is a saved profile: {options} cannot change it')
        return read_profile(target.source)
    with guest():
        return subject_of(target, conditions).profile(conditions)


def subject_of(target: Target, conditions: Conditions) -> Subject:
    """The module of a target, and its input. Raises UsageError for a saved profile: it has no module any more."""
    if isinstance(target, SavedTarget):
        raise UsageError(f'"{target.name}" is a saved profile: this needs the network itself')
    return _of_spec(target, conditions) if isinstance(target, SpecTarget) else _of_code(target, conditions)


def _of_spec(target: SpecTarget, conditions: Conditions) -> Subject:
    inputs = conditions.inputs
    if len(inputs) > 1 or any(option.name or option.dtype for option in inputs):
        raise UsageError(f"{target.name} is a spec, which has one input of floating point numbers: --input 3x224x224")
    dtype: torch.dtype = getattr(torch, conditions.dtype)
    built = network(target, conditions.settings, inputs[0].shape if inputs else None, dtype)
    given = given_for([InputOption(built.input_shape)], conditions.batch, dtype)
    return Subject(built.name, built.module, given, built.lines)


def _of_code(target: CodeTarget, conditions: Conditions) -> Subject:
    module = module_of(target, {name: plain(argument) for name, argument in conditions.settings.items()})
    if not conditions.inputs:
        raise UsageError(f"{target.text} does not say what it is given: --input 3x224x224")
    dtype: torch.dtype = getattr(torch, conditions.dtype)
    if dtype != torch.float32:
        module = module.to(dtype)
    return Subject(target.name, module, given_for(conditions.inputs, conditions.batch, dtype), {})


def plain(argument: Argument) -> Any:
    """The value of a setting as Python code takes it."""
    return [plain(item) for item in argument] if isinstance(argument, tuple) else evaluate(argument, {})
