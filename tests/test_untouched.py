"""After `profile` a module is as it was before, also where its forward fails; and hardly any memory was used."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from module_pieces import MadeAtFirst, Of
from module_table import CASES
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.nn.utils import parametrizations
from written_networks import GPT, NETWORKS, MobileNet, Recurrent

import cnnprof

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")


def tensor_state(tensor: Tensor) -> tuple[Any, ...]:
    """All that a tensor is: the object, its version, where its values lie, the values, and what training has put there."""
    data = None if tensor.is_meta else (tensor.data_ptr(), tensor.detach().clone())
    grad = None if not tensor.is_leaf or tensor.grad is None else (id(tensor.grad), tensor.grad.clone())
    layout = tensor.shape, tensor.stride(), tensor.dtype, tensor.device, type(tensor)
    return id(tensor), tensor._version, tensor.requires_grad, tensor.is_leaf, layout, data, grad


def state(module: nn.Module) -> dict[str, Any]:
    """All that can be seen of a module, by path."""
    seen: dict[str, Any] = {"state_dict": list(module.state_dict())}
    for path, part in module.named_modules():
        seen[f"{path}:module"] = id(part), part.training, type(part)
        for name, value in part.__dict__.items():
            seen[f"{path}:{name}"] = tensor_state(value) if isinstance(value, Tensor) else (id(value), content(value))
    return seen


def content(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, tensor_state(item) if isinstance(item, Tensor) else id(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [tensor_state(item) if isinstance(item, Tensor) else id(item) for item in value]
    return repr(value) if not isinstance(value, nn.Module) else None


def generators() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()
    return random.getstate(), torch.random.get_rng_state().tolist(), kind, list(keys), rest


def around() -> tuple[Any, ...]:
    """What is global in torch."""
    return (
        list(module_hooks._global_forward_hooks),
        list(module_hooks._global_forward_pre_hooks),
        list(module_hooks._global_forward_hooks_always_called),
        list(module_hooks._global_forward_hooks_with_kwargs),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.backends.mha.get_fastpath_enabled(),
        torch.overrides._get_current_function_mode_stack(),
        torch.utils._python_dispatch._get_current_dispatch_mode_stack(),
    )


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def assert_untouched(module: nn.Module, run: Callable[[], object]) -> None:
    before, drawn, outside = state(module), generators(), around()
    run()
    after = state(module)
    assert list(after) == list(before)
    for name, seen in before.items():
        assert same(after[name], seen), name
    assert same(generators(), drawn)
    assert same(around(), outside)


def marked(module: nn.Module) -> nn.Module:
    """In parts in training and frozen, with gradients and hooks, and statistics that are not those of a new one."""
    parts = list(module.modules())
    for number, part in enumerate(parts):
        part.training = number % 3 != 1
        for name, buffer in part.named_buffers(recurse=False):
            if "running" in name:
                buffer.add_(0.5)
    for number, parameter in enumerate(module.parameters()):
        if number % 4 == 1:
            parameter.requires_grad_(False)
        elif number % 4 == 2:
            parameter.grad = torch.full_like(parameter, 0.25)
    module.register_forward_hook(lambda *args: None)
    parts[-1].register_forward_pre_hook(lambda *args: None)
    parts[-1].register_full_backward_hook(lambda *args: None)
    return module


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_modules(case: Any) -> None:
    module = case.make()
    assert_untouched(module, lambda: cnnprof.profile(module, case.inputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_in_the_middle_of_training(name: str) -> None:
    make, shapes = NETWORKS[name]
    module = marked(make())
    inputs = {key: torch.ones((2, *shape), dtype=dtype) for key, (shape, dtype) in shapes.items()}
    assert_untouched(module, lambda: cnnprof.profile(module, inputs))
    assert all(same(tensor, torch.ones_like(tensor)) for tensor in inputs.values())


@pytest.mark.parametrize("name", ["mobilenet", "gpt", "recurrent convolutions"])
def test_it_works_as_before(name: str) -> None:
    """The outputs and gradients of a module do not depend on whether it was profiled in between."""
    make, shapes = NETWORKS[name]
    module = make()
    inputs = {key: torch.ones((2, *shape), dtype=dtype) for key, (shape, dtype) in shapes.items()}

    def step() -> list[Tensor | None]:
        module.zero_grad()
        torch.manual_seed(1)
        flat = torch.utils._pytree.tree_leaves(module.eval()(**inputs))
        torch.stack([leaf.sum() for leaf in flat if isinstance(leaf, Tensor)]).sum().backward()
        return [parameter.grad for parameter in module.parameters()]

    before = step()
    cnnprof.profile(module, inputs)
    assert same(step(), before)


def failing(place: str) -> nn.Module:
    class Failing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = marked(MobileNet() if place != "shape" else nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 5)))
            self.seen: list[Tensor] = []

        def forward(self, x: Tensor) -> Any:
            self.seen.append(x)
            self.last = x * torch.rand(3, 1, 1) * random.random()
            y = self.net(self.last)
            if place == "error":
                raise KeyError("nothing is right")
            if place == "data" and y.sum() > 0:
                return y
            return y

    return Failing()


@pytest.mark.parametrize("place", ["error", "data", "shape"])
def test_where_forward_fails(place: str) -> None:
    module = failing(place)

    def run() -> None:
        with pytest.raises(cnnprof.CnnprofError):
            cnnprof.profile(module, (3, 32, 32))

    assert_untouched(module, run)


def test_random_numbers_that_forward_draws() -> None:
    def draw(m: Any, x: Tensor) -> Tensor:
        random.random()
        np.random.rand()
        return x * torch.rand(4) + torch.randn(4, device="cpu") + nn.Linear(4, 4, device="cpu").bias

    module = Of(draw)
    assert_untouched(module, lambda: cnnprof.profile(module, (4,)))
    torch.manual_seed(3)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    cnnprof.profile(module, (4,))
    assert torch.equal(torch.rand(3), drawn)


def test_a_cache_holds_no_tensor_without_data() -> None:
    """The next forward pass on numbers would fail, or worse."""
    module = MadeAtFirst()
    cnnprof.profile(module, (8,))
    assert module.positions is None
    assert not module.cache
    assert module.calls.item() == 0
    assert module(torch.ones(2, 8)).shape == (2, 8)
    before = module.positions
    cnnprof.profile(module, (8,))
    assert module.positions is before
    assert [tensor.device.type for tensor in module.cache.values()] == ["cpu"]
    assert module.calls.item() == 1


class Cache:
    """As people write one for keys and values."""

    def __init__(self) -> None:
        self.last: Tensor | None = None
        self.steps = 0
        self.layers: list[Any] = [{"sum": torch.zeros(2)}]
        self.itself = self


class Caching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.by_name: dict[str, Any] = {"block": {}}
        self.deep: list[Any] = [[[{}]]]
        self.deep.append(self.deep)
        self.object = Cache()
        self.plain: Any = SimpleNamespace(steps=0, seen=[])
        self.counter: Counter[str] = Counter()
        self.listed: list[Any] = [torch.zeros(3), 1]
        self.same = self.listed[0]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x)
        block = self.by_name["block"]
        block["keys"] = torch.cat([block["keys"], y], 1) if "keys" in block else y
        self.deep[0][0][0]["y"] = y
        self.object.last, self.object.steps = y, self.object.steps + 1
        self.object.layers[0]["sum"] += 1
        self.object.layers.append(y)
        self.plain.steps += 1
        self.plain.seen.append(y)
        self.counter["steps"] += 1
        self.listed[0] += 1
        assert self.same is self.listed[0]
        made: Tensor = y @ block["keys"].transpose(1, 2)
        return made


def test_caches_in_containers_and_objects() -> None:
    module: Any = Caching()
    listed = module.listed[0]
    assert [cnnprof.profile(module, (3, 4)).products for _ in range(3)] == [3 * 4 * 4 + 3 * 3 * 4] * 3
    assert cnnprof.profile(module, (3, 4), retained=True).retained
    assert module.by_name == {"block": {}}
    assert module.deep[0] == [[{}]]
    assert (module.object.last, module.object.steps, len(module.object.layers)) == (None, 0, 1)
    assert module.plain == SimpleNamespace(steps=0, seen=[])
    assert not module.counter
    assert module.listed[0] is module.same is listed
    assert not listed.any()
    assert not module.object.layers[0]["sum"].any()
    assert module(torch.ones(2, 3, 4)).shape == (2, 3, 3)


def test_containers_that_are_large_and_deep() -> None:
    """A cache may stand beside a data set."""

    def forward(m: Any, x: Tensor) -> Tensor:
        m.items.append(x)
        m.nested[0].append(x)
        m.log.append(x)
        made: Tensor = m.linear(x)
        return made

    module: Any = Of(forward, linear=nn.Linear(4, 4))
    module.items = [[] for _ in range(20_000)]
    nested = module.nested = [[]]
    for _ in range(20_000):
        nested[0].append([])
        nested = nested[0]
    module.log = [1]
    assert cnnprof.profile(module, (4,)).products == 16
    assert module.log == [1]
    assert len(module.items) == 20_000
    assert len(module.nested[0]) == 1


def test_buffers_that_forward_changes() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
            self.register_buffer("mean", torch.zeros(4))
            self.steps: Tensor
            self.mean: Tensor

        def forward(self, x: Tensor) -> Tensor:
            self.steps += 1
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            self.mean.clamp_(min=0)
            return x - self.mean

    module = Counting()
    assert_untouched(module, lambda: cnnprof.profile(module, (4,)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_a_forward_gives_to_a_layer_of_torchs(device: str) -> None:
    def forward(m: Any, x: Tensor) -> Tensor:
        m.conv.register_buffer("mask", torch.ones_like(x))
        m.conv.weight = nn.Parameter(m.conv.weight * 2)
        m.norm.running_mean = x[0, :, 0, 0]
        m.conv.add_module("more", nn.ReLU())
        del m.act.inplace, m.norm.bias
        made: Tensor = m.conv(x)
        return made

    with torch.device(device):
        module = Of(forward, conv=nn.Conv2d(4, 4, 3), norm=nn.BatchNorm2d(4), act=nn.ReLU())
    assert_untouched(module, lambda: cnnprof.profile(module, (4, 8, 8)))


def test_parametrizations_and_hooks_that_set_weights() -> None:
    for make in (parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm):
        module = make(nn.Linear(4, 5)).train()
        assert_untouched(module, lambda module=module: cnnprof.profile(module, (4,)))  # type: ignore[misc]
        assert isinstance(module, nn.Linear)
        assert module.weight.device.type == "cpu"


def test_a_module_on_meta_is_untouched_too() -> None:
    with torch.device("meta"):
        module = MadeAtFirst()
        nets = [Recurrent(), GPT()]
    assert_untouched(module, lambda: cnnprof.profile(module, (8,)))
    assert_untouched(nets[0], lambda: cnnprof.profile(nets[0], (3, 21, 21)))
    assert_untouched(nets[1], lambda: cnnprof.profile(nets[1], torch.zeros(1, 16, dtype=torch.int64)))


def test_within_the_modes_of_others() -> None:
    """Gradients, a default device, a default type: what is on stays on."""
    module = MobileNet()
    with torch.enable_grad():
        assert_untouched(module, lambda: cnnprof.profile(module, (3, 32, 32)))
    with torch.device("meta"):
        assert_untouched(module, lambda: cnnprof.profile(module, (3, 32, 32)))
    with torch.inference_mode():
        assert_untouched(module, lambda: cnnprof.profile(module, (3, 32, 32)))


MEMORY = """
import resource, sys
import torch
from torch import nn
import cnnprof

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(*(
            layer for _ in range(10) for layer in (nn.Conv2d(1024, 1024, 3, padding=1), nn.BatchNorm2d(1024), nn.ReLU())
        ))
        self.attention = nn.MultiheadAttention(1024, 8, batch_first=True)
        self.fc = nn.Linear(1024 * 16, 1000)
        self.register_buffer("table", torch.ones(20_000_000))

    def forward(self, x):
        x = self.convs(x) + self.table[0]
        y = x.flatten(2).transpose(1, 2)
        return self.fc(torch.flatten(self.attention(y, y, y)[0], 1))

net = Net().train()
held = sum(t.numel() * t.element_size() for t in (*net.parameters(), *net.buffers()))
cnnprof.profile(nn.Linear(4, 4), (4,))
before = peak()
found = cnnprof.profile(net, (1024, 4, 4))
print(held, peak() - before, found.params == sum(p.numel() for p in net.parameters()))
"""


def test_a_module_of_500_mb_takes_less_than_20_mb() -> None:
    """The peak of the process: parameters that are copied, or activations that are computed, would show."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True, timeout=120
    )
    held, added, right = run.stdout.split()
    assert int(held) > 500_000_000
    assert int(added) < 20_000_000
    assert right == "True"


def test_hooks_that_a_forward_registers() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        m.conv.register_forward_hook(lambda *args: None)
        m.conv.register_forward_pre_hook(lambda *args: None)
        m.register_forward_hook(lambda *args: None)
        return m.conv(x)

    conv = nn.Conv2d(3, 4, 3)
    module = Of(forward, conv=conv)
    own = conv.register_forward_hook(lambda *args: None)
    cnnprof.profile(module, (3, 8, 8))
    assert list(conv._forward_hooks) == [own.id]
    assert not conv._forward_pre_hooks
    assert not module._forward_hooks
