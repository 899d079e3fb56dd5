"""Asks independent sources what a network costs: torch's own counter, fvcore, a pass with real numbers, and what was published.

Each of them counts in its own way on its own run. Where that is known to give another number, the amount by which it has to be
another one is worked out layer by layer, and only what fits exactly is explained.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from cnnprof.errors import UsageError
from cnnprof.nets.code import module_of
from cnnprof.profiling.profile import Profile
from cnnprof.profiling.profiler import bare, inference, run
from cnnprof.profiling.resolve import Conditions, Subject, plain, subject_of
from cnnprof.profiling.rows import layers_of
from cnnprof.profiling.witness import Witness, operations_by_module
from cnnprof.published import figures, is_bundled
from cnnprof.render.quantities import shape, size
from cnnprof.second_opinions import Account, Real, by_fvcore, by_torch, by_torch_on_the_cpu, emptied
from cnnprof.spec.target import CodeTarget, SpecTarget, Target
from cnnprof.verification import Difference, Opinion, Verdict, Verification, params_differ

LIMIT = 4 * 2**30
"""Bytes that a pass with real numbers may take."""

Notify = Callable[[str], None]


def verify(target: Target, conditions: Conditions, notify: Notify = lambda step: None, limit: int = LIMIT) -> Verification:
    """What all sources say of a target. `notify` is told what happens next, `limit` is what a pass with real numbers may take.

    Raises UsageError where the target has no module, and where no source has an opinion.
    """
    subject = subject_of(target, conditions)
    notify("profiling")
    account, profile = _account(subject)
    opinions: list[Opinion] = []
    notify("counting with torch's FLOP counter")
    opinions.append(by_torch(account))
    source = _reality(target, conditions, account, profile, limit)
    if isinstance(source, str):
        opinions += [Opinion("fvcore", note=source), Opinion("a pass on the CPU", note=source)]
    else:
        notify("making the network on the CPU")
        real = source()
        notify("running it on the CPU")
        opinions.append(by_torch_on_the_cpu(account, real))
        notify("counting with fvcore")
        opinions.insert(1, by_fvcore(account, real))
    opinions += _published(target, conditions, profile)
    if all(opinion.verdict is Verdict.NONE for opinion in opinions):
        raise UsageError(f"no source has an opinion of {subject.name}: {'; '.join(opinion.note for opinion in opinions)}")
    cost = profile.cost
    return Verification(
        subject.name, profile.input_shapes, profile.batch, profile.dtype, cost.params, cost.products, cost.complete, tuple(opinions)
    )


def _account(subject: Subject) -> tuple[Account, Profile]:
    """What cnnprof itself says, by layer and in sum."""
    module = bare(subject.module)
    trace = Witness(module)
    with inference(module) as paths:
        run(trace, subject.given, paths)
        root = layers_of(trace.top, trace.called, paths)
    given = subject.given
    profile = Profile(subject.name, given.shapes, given.batch, given.dtype, root)
    return Account(module, given, paths, trace, list(operations_by_module(trace.top, paths)), profile.params), profile


def _reality(target: Target, conditions: Conditions, account: Account, profile: Profile, limit: int) -> Callable[[], Real] | str:
    """Makes the network with real numbers, or says why it cannot be."""
    devices = {tensor.device.type for tensor in (*account.module.parameters(), *account.module.buffers())}
    if devices - {"cpu", "meta"}:
        return f"the network is on {', '.join(sorted(devices - {'cpu', 'meta'}))}, and is not moved"
    given = sum(tensor.numel() * tensor.element_size() for tensor in account.tensors)
    needed = given + profile.output_bytes + (profile.model_bytes if "meta" in devices else 0)
    if needed > limit:
        return f"a pass with real numbers takes up to {size(needed)}, the limit is {size(limit)}"
    if "meta" not in devices:
        return lambda: Real(account.module)
    if isinstance(target, CodeTarget):
        settings = {name: plain(argument) for name, argument in conditions.settings.items()}
        dtype: torch.dtype = getattr(torch, conditions.dtype)
        return lambda: Real(_with_data(bare(module_of(target, settings, "cpu")).to(dtype)))
    return lambda: Real(emptied(account.module))


def _with_data(module: nn.Module) -> nn.Module:
    """The module, or a copy with zeros where its own code made it without data."""
    return emptied(module) if any(tensor.is_meta for tensor in module.state_dict().values()) else module


def _published(target: Target, conditions: Conditions, profile: Profile) -> list[Opinion]:
    """The row of the reference table, for a bundled network that is in it."""
    if not isinstance(target, SpecTarget) or not is_bundled(target):
        return []
    source = "published figures"
    known = figures().get(target.name)
    if known is None:
        return [Opinion(source, note="the reference table does not have this network")]
    if conditions.settings:
        return [Opinion(source, note="--set makes another network of it than was published")]
    if shape(profile.input_shapes[0]) != known.input:
        return [Opinion(source, note=f"the reference table has it for an input of {known.input}")]
    products = known.products * profile.batch
    differences = params_differ(profile.params, known.params)
    if products != profile.products:
        differences += (Difference("", "products", f"{profile.products:,}", f"{products:,}"),)
    return [Opinion(source, known.params, products, differences=differences, note=known.source)]
