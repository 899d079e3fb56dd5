"""After `train` and `retained_by_layer` a module is as it was, also where it cannot be trained; on meta and on the CPU."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from module_pieces import MadeAtFirst, Of
from module_table import CASES
from test_memory_truth import Checkpointed
from test_untouched import assert_untouched, failing, marked, same
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from written_networks import GPT, NETWORKS, MobileNet, Recurrent

import cnnprof
from cnnprof.profiling import measured
from cnnprof.profiling.loop import OPTIMIZERS, TrainingError
from cnnprof.profiling.training import retained_by_layer, train

pytestmark = pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")

PASSES: dict[str, Callable[[nn.Module, Any], object]] = {
    "train": train,
    "train on the cpu": lambda module, inputs: train(module, inputs, optimizer="adam", device="cpu"),
    "retained": retained_by_layer,
    "profile": lambda module, inputs: cnnprof.profile(module, inputs, optimizer="momentum", retained=True),
}


def inputs_of(name: str) -> dict[str, Tensor]:
    return {key: torch.ones((2, *shape), dtype=dtype) for key, (shape, dtype) in NETWORKS[name][1].items()}


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"mixer"}))
@pytest.mark.parametrize("way", PASSES)
def test_networks_in_the_middle_of_training(name: str, way: str) -> None:
    module, inputs = marked(NETWORKS[name][0]()), inputs_of(name)
    assert_untouched(module, lambda: PASSES[way](module, inputs))
    assert all(same(tensor, torch.ones_like(tensor)) for tensor in inputs.values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_each_optimizer(optimizer: str) -> None:
    module = marked(MobileNet())
    for device in ("meta", "cpu"):
        assert_untouched(module, lambda device=device: train(module, (3, 32, 32), batch=2, optimizer=optimizer, device=device))  # type: ignore[misc]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_modules_of_all_kinds(case: Any) -> None:
    """Whether they can be trained or not."""
    module = case.make()

    def run() -> None:
        try:
            train(module, case.inputs)
        except cnnprof.CnnprofError:
            return

    assert_untouched(module, run)


@pytest.mark.parametrize("way", ["allocated inference", "allocated training", "inference"])
def test_real_passes(way: str) -> None:
    passes: dict[str, Callable[..., object]] = {
        "allocated inference": measured.allocated_inference_peak,
        "allocated training": measured.allocated_training_peak,
        "inference": measured.inference_peak,
    }
    module = marked(MobileNet())
    assert_untouched(module, lambda: passes[way](module, (3, 32, 32), batch=2))


@pytest.mark.parametrize("device", ["meta", "cpu"])
@pytest.mark.parametrize("place", ["error", "data", "shape"])
def test_where_forward_fails(place: str, device: str) -> None:
    module = failing(place)

    def run() -> None:
        with pytest.raises(TrainingError):
            train(module, (3, 32, 32), batch=2, device=device)

    if (place, device) == ("data", "cpu"):  # there its values can be looked at
        assert_untouched(module, lambda: train(module, (3, 32, 32), batch=2, device=device))
    else:
        assert_untouched(module, run)


def test_an_error_in_the_backward_pass() -> None:
    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            raise ValueError("no way back")

    refuse: Callable[[Tensor], Tensor] = Refusing.apply
    module = marked(Of(lambda m, x: refuse(m.conv(x)), conv=nn.Conv2d(3, 4, 3)))
    module.train()

    def run() -> None:
        with pytest.raises(TrainingError, match="no way back"):
            train(module, (3, 8, 8))

    assert_untouched(module, run)


def test_random_numbers_that_forward_draws() -> None:
    def draw(m: Any, x: Tensor) -> Any:
        random.random()
        np.random.rand()
        return m.dropout(m.linear(x) * torch.rand(()) + torch.randn(4, device=x.device))

    module = Of(draw, linear=nn.Linear(4, 4), dropout=nn.Dropout())
    for way in PASSES.values():
        assert_untouched(module, lambda way=way: way(module, (4,)))  # type: ignore[misc]
        torch.manual_seed(3)
        drawn = torch.rand(3)
        torch.manual_seed(3)
        way(module, (4,))
        assert torch.equal(torch.rand(3), drawn)


def test_a_cache_holds_no_tensor_of_the_pass() -> None:
    for way in PASSES.values():
        module = MadeAtFirst()
        way(module, (8,))
        assert module.positions is None
        assert not module.cache
        assert module.calls.item() == 0
        assert module(torch.ones(2, 8)).shape == (2, 8)


@pytest.mark.parametrize("name", ["mobilenet", "gpt", "recurrent convolutions"])
def test_it_trains_as_before(name: str) -> None:
    """Outputs, gradients and statistics do not depend on whether it was traced in between."""
    outcomes = []
    for traced in (False, True):
        torch.manual_seed(0)
        module, inputs = NETWORKS[name][0](), inputs_of(name)
        torch.manual_seed(1)
        if traced:
            train(module, inputs, optimizer="adam")
            train(module, inputs, optimizer="adam", device="cpu")
        flat = torch.utils._pytree.tree_leaves(module.train()(**inputs))
        torch.stack([leaf.square().sum() for leaf in flat if isinstance(leaf, Tensor)]).sum().backward()
        outcomes.append([*(p.grad for p in module.parameters()), *module.buffers()])
    assert same(*outcomes)


def test_parametrizations_and_hooks_that_set_weights() -> None:
    for make in (parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.weight_norm, nn.utils.spectral_norm):
        for way in PASSES.values():
            module = make(nn.Linear(4, 5)).train()
            assert_untouched(module, lambda module=module, way=way: way(module, (4,)))  # type: ignore[misc]


def test_a_module_on_meta_is_untouched_too() -> None:
    with torch.device("meta"):
        nets = [Recurrent(), GPT(), MobileNet()]
    inputs: list[Any] = [(3, 21, 21), torch.zeros(1, 16, dtype=torch.int64), (3, 32, 32)]
    for net, given in zip(nets, inputs, strict=True):
        for way in PASSES.values():
            assert_untouched(net, lambda net=net, given=given, way=way: way(net, given))  # type: ignore[misc]


def test_within_the_modes_of_others() -> None:
    module = MobileNet()
    init, enter = torch.autocast.__init__, torch.autocast.__enter__
    for way in PASSES.values():
        for mode in (torch.enable_grad, torch.no_grad, lambda: torch.device("meta")):
            with mode():
                assert_untouched(module, lambda way=way: way(module, (3, 32, 32)))  # type: ignore[misc]
    assert (torch.autocast.__init__, torch.autocast.__enter__) == (init, enter)


@pytest.mark.parametrize("on", [True, False])
def test_the_garbage_collector(on: bool) -> None:
    """It is off during a trace, and afterwards as it was, also after an error."""
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        train(nn.Linear(3, 3), (3,))
        assert gc.isenabled() == on
        with pytest.raises(TrainingError):
            train(nn.ReLU(), (3,))
        assert gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize("home", ["cpu", "meta"])
def test_checkpoints(home: str) -> None:
    """The statistics of the module's own BatchNorm would change in the backward pass."""
    with torch.device(home):
        module = Checkpointed()
    assert_untouched(module, lambda: train(module, (3, 12, 12), batch=2, device=home))
