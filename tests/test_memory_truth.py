"""The figures against a loop that is written out here and a mode that only adds up: nothing of it is the package's.

It also holds what the package takes for granted: that the third iteration of a loop takes what the second takes, and that torch's
own kernel of BatchNorm on meta makes room in `eval()` mode that the kernel of the CPU does not make.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from memory_networks import ResNet
from torch import Tensor, UntypedStorage, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.optim import SGD, Adam, AdamW
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from written_networks import NETWORKS

import cnnprof
from cnnprof.profiling.profile import leaves
from cnnprof.profiling.training import retained_by_layer, train

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda parameters: SGD(parameters, 0.01),
    "momentum": lambda parameters: SGD(parameters, 0.01, 0.9),
    "adam": Adam,
    "adamw": AdamW,
}


class Live(TorchDispatchMode):
    """Adds up the bytes of the storages that operators return, and takes off what is gone."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch left it untyped
        self.now = self.highest = 0
        self.known: set[int] = set()
        self.where = ""
        self.by_place: Counter[str] = Counter()
        """What lives now, by what `where` was when it was made."""

    def see(self, value: Any) -> None:
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                size = storage.nbytes()
                if size and id(storage) not in self.known:
                    self.known.add(id(storage))
                    self.now += size
                    self.highest = max(self.highest, self.now)
                    self.by_place[self.where] += size
                    weakref.finalize(storage, self.gone, id(storage), size, self.where)

    def gone(self, storage: int, size: int, where: str) -> None:
        self.known.discard(storage)
        self.now -= size
        self.by_place[where] -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.see(output)
        return output


@contextmanager
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass
class Loop:
    """What was seen of an ordinary training loop on the CPU."""

    before: int = 0
    live_after_forward: int = 0
    first_backward_peak: int = 0
    peaks: list[int] = field(default_factory=list)
    """Of each iteration."""
    saved: int = 0


def target_for(output: Any) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    return (F.cross_entropy, torch.zeros(len(output), dtype=torch.int64)) if output.dim() == 2 else (F.mse_loss, output * 0)


def looped(make: Callable[[], nn.Module], x: Tensor, optimizer: str, iterations: int = 3) -> Loop:
    """An ordinary loop over that many iterations."""
    net = make().train()
    criterion, target = target_for(net(x).detach())
    net = make().train()
    for parameter in net.parameters():
        parameter.grad = None
    seen, live = Loop(), Live()
    optim = OPTIMIZERS[optimizer]([parameter for parameter in net.parameters() if parameter.requires_grad])
    with no_collections():
        live.see([list(net.parameters()), list(net.buffers()), x, target])
        seen.before = live.now
        with live:
            for iteration in range(iterations):
                live.highest = live.now
                output = net(x)
                loss = criterion(output, target)
                if not iteration:
                    seen.live_after_forward = live.now
                loss.backward()
                if not iteration:
                    seen.first_backward_peak = live.highest
                optim.step()
                optim.zero_grad()
                seen.peaks.append(live.highest)
    seen.saved = saved(make().train(), x, target, criterion)
    return seen


def saved(net: nn.Module, x: Tensor, target: Tensor, criterion: Callable[[Tensor, Tensor], Tensor]) -> int:
    """The distinct storages that autograd says it saves, without parameters, buffers, input and target."""
    packed: dict[int, int] = {}
    apart = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers(), x, target)}

    def pack(tensor: Tensor) -> Tensor:
        storage: UntypedStorage = tensor.untyped_storage()
        packed[storage.data_ptr()] = storage.nbytes()
        return tensor  # which the graph keeps, so that no other storage gets the address

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = criterion(net(x), target)
    assert loss.grad_fn is not None
    return sum(size for address, size in packed.items() if address not in apart)


def small(name: str) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    """A bundled network that is given a small image."""
    shape = {"lenet": (1, 28, 28), "resnet18": (3, 32, 32), "googlenet": (3, 32, 32), "efficientnet_b0": (3, 32, 32)}[name]
    return lambda: cnnprof.load(name, input_shape=shape, device="cpu"), shape


def written(name: str) -> tuple[Callable[[], nn.Module], tuple[int, ...]]:
    make, shapes = NETWORKS[name]
    ((shape, _),) = shapes.values()
    return make, shape


class Checkpointed(nn.Module):
    """Three stages, of which the first two are computed again in the backward pass."""

    def __init__(self, again: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.stages = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU()) for _ in range(3))
        self.again = again

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        for stage in self.stages[:2]:
            x = checkpoint(stage, x, use_reentrant=False) if self.again else stage(x)
        return self.stages[2](x)


def partly_frozen() -> nn.Module:
    net = Checkpointed(again=False)
    net.stem.requires_grad_(False)
    net.stages[0].requires_grad_(False)
    return net


LOOPS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet": small("lenet"),
    "resnet18": small("resnet18"),
    "bottlenecks": (lambda: ResNet((1, 1, 1, 1), classes=10), (3, 32, 32)),
    **{name: written(name) for name in ("lenet in order", "tree", "u-net", "mobilenet", "densenet", "generator")},
    "checkpointed": (Checkpointed, (3, 12, 12)),
    "partly frozen": (partly_frozen, (3, 12, 12)),
}


LONG = {"resnet18", "bottlenecks"}
"""Of which each takes a second: there sgd and adam have to do."""


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [(name, optimizer) for name in LOOPS for optimizer in (("sgd", "adam") if name in LONG else OPTIMIZERS)],
)
def test_an_ordinary_loop_on_the_cpu(name: str, optimizer: str) -> None:
    make, shape = LOOPS[name]
    seen = looped(make, torch.zeros(3, *shape), optimizer)
    found = train(make(), shape, batch=3, optimizer=optimizer).training
    before = found.live_after_forward
    assert before.parameters + before.buffers + before.input == seen.before
    assert found.saved_bytes == seen.saved
    assert before.total == seen.live_after_forward
    assert found.first_backward_peak_bytes == seen.first_backward_peak
    first, *later = seen.peaks
    assert found.first_peak_bytes == first
    assert [found.peak_bytes] * 2 == later, "the second iteration is like all that follow"


def inferred(net: nn.Module, x: Tensor) -> int:
    live = Live()
    with no_collections(), torch.no_grad():
        live.see([list(net.parameters()), list(net.buffers())])
        live.now = live.highest = 0  # which are not part of it
        live.see(x)
        with live:
            net.eval()(x)
    return live.highest


@pytest.mark.parametrize("name", LOOPS)
def test_inference_on_the_cpu(name: str) -> None:
    make, shape = LOOPS[name]
    found = cnnprof.profile(make(), shape, batch=3).inference_peak
    assert found is not None
    assert found.bytes == inferred(make(), torch.zeros(3, *shape))


def test_meta_kernels_of_batch_norm_make_room_that_others_do_not() -> None:
    """Torch's meta kernel would have 2 · 256 statistics more live in ResNet-50 than its kernel on the CPU, 10,438,656 bytes: the
    9.96 MiB that one measures on meta. Ours are those of the CPU, 10,436,608."""
    x = torch.empty(1, 3, 224, 224)
    on_cpu = inferred(ResNet(), x) - x.nbytes
    with torch.device("meta"):
        on_meta = inferred(ResNet(), x.to("meta")) - x.nbytes
        ours = cnnprof.profile(ResNet(), (3, 224, 224)).inference_peak
    assert ours is not None
    assert (on_cpu, on_meta) == (10_436_608, 10_436_608 + 2 * 256 * 4)
    assert ours.bytes - x.nbytes == on_cpu


def kept_by_leaf(net: nn.Module, x: Tensor) -> tuple[dict[str, int], Any]:
    """By the leaf module that made it, what lives after a forward pass."""
    live, stack = Live(), [""]

    def enter(name: str) -> Callable[..., None]:
        def hook(*args: Any) -> None:
            stack.append(name)
            live.where = name

        return hook

    def leave(*args: Any) -> None:
        stack.pop()
        live.where = stack[-1]

    for name, part in net.named_modules():
        if not list(part.children()):
            part.register_forward_pre_hook(enter(name))
            part.register_forward_hook(leave)
    with no_collections():
        live.see([list(net.parameters()), list(net.buffers()), x])
        live.by_place.clear()
        with live:
            output = net.train()(x)
        kept = dict(live.by_place)
    return {name: size for name, size in kept.items() if size}, output


@pytest.mark.parametrize("name", ["lenet", "googlenet", "efficientnet_b0", "lenet in order", "generator"])
def test_what_each_layer_retains_on_the_cpu(name: str) -> None:
    """In networks that compute in modules only: then a row is a module."""
    make, shape = LOOPS[name] if name in LOOPS else small(name)
    net = make()
    expected, output = kept_by_leaf(make(), torch.zeros(2, *shape))
    assert output is not None
    found: Counter[str] = Counter()
    for row in leaves(retained_by_layer(net, shape, batch=2)):
        found[row.path] += row.cost.retained_bytes
    # Branches that are joined are added by the module that holds them, in a row of its own below it.
    modules = dict(net.named_modules())
    by_module = Counter({path if path in modules else "": 0 for path in found})
    for path, size in found.items():
        by_module[path if path in modules and not list(modules[path].children()) else ""] += size
    assert {path: size for path, size in by_module.items() if size} == expected
