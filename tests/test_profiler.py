"""What one pass sees: rows, owners of parameters, bytes, and the modules it leaves as they were."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from bundled import built
from module_pieces import Of
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import cnnprof
from cnnprof.profiling.describe import arguments_of
from cnnprof.profiling.inputs import of_sample
from cnnprof.spec import library

META = torch.device("meta")


def counted_by_torch(module: nn.Module, shape: tuple[int, ...], batch: int = 1) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.empty(batch, *shape, device="meta"))
    assert counter.get_total_flops() % 2 == 0
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("name", [entry.name for entry in library.entries().values()])
def test_products_and_shapes_are_torchs(name: str) -> None:
    net = built(name)
    found = cnnprof.profile(net.module, net.input_shape, batch=2)
    assert found.products == counted_by_torch(net.module, net.input_shape, 2)
    assert found.complete
    assert found.params == sum(p.numel() for p in net.module.parameters())
    assert found.model_bytes == sum(t.numel() * t.element_size() for t in net.module.state_dict().values())
    with torch.no_grad():
        output = net.module.eval()(torch.empty(2, *net.input_shape, device="meta"))
    assert found.root.output_shape == tuple(output.shape[1:])


@pytest.mark.parametrize("name", ["lenet", "alexnet", "resnet18", "googlenet", "efficientnet_b0"])
def test_batch_and_dtype_scale(name: str) -> None:
    net = built(name)
    one, many = (cnnprof.profile(net.module, net.input_shape, batch=n) for n in (1, 7))
    assert many.products == 7 * one.products
    assert many.output_bytes == 7 * one.output_bytes
    assert many.params == one.params
    half = built(name, dtype=torch.float16)
    small = cnnprof.profile(half.module, half.input_shape)
    assert small.dtype == "float16"
    assert small.cost.param_bytes * 2 == one.cost.param_bytes
    assert small.output_bytes * 2 == one.output_bytes


def test_the_rows_add_up() -> None:
    found = cnnprof.profile(cnnprof.load("googlenet_bn"), (3, 224, 224))
    for figure in ("params", "products", "output_bytes", "param_bytes", "buffer_bytes"):
        assert sum(getattr(layer.cost, figure) for layer in found.layers) == getattr(found.cost, figure)


def test_outputs_are_what_is_written() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.MaxPool1d(2))
    found = cnnprof.profile(net, (3, 8, 8), batch=2)
    map_bytes = 2 * 4 * 6 * 6 * 4
    # The in-place ReLU, the view and the dropout (the identity in eval) write nothing; the pool's int64 indices are not returned.
    assert [layer.output_bytes for layer in found.layers] == [map_bytes, 0, map_bytes, 0, 0, map_bytes // 2]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8, bias=False)
        self.second = nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        self.unused = nn.Linear(3, 3)
        self.too = nn.Sequential(self.unused)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(self.first(x))) * self.scale
        return y


def test_ties_calls_and_strays() -> None:
    found = cnnprof.profile(Tied(), (8,))
    rows = [(layer.path, layer.kind, layer.params, layer.products, layer.note) for layer in found.layers]
    assert rows == [
        ("scale", "Parameter", 8, 0, ""),
        ("first", "Linear", 64, 64, ""),
        ("first", "Linear", 0, 64, "recursive"),
        ("second", "Linear", 0, 64, ""),
        ("mul", "*", 0, 0, ""),
        ("unused", "Linear", 12, 0, "not called"),
    ]
    assert found.params == 64 + 12 + 8


def test_what_layers_share_cannot_be_changed() -> None:
    net = nn.Sequential(*(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3)))
    cost: Any = cnnprof.profile(net, (8, 4, 4)).layers[0].cost
    with pytest.raises(FrozenInstanceError):
        cost.products *= 2
    assert cnnprof.profile(net, (8, 4, 4)).products == 3 * 8 * 4 * 4 * 8 * 3 * 3


def test_frozen_parameters() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    found = cnnprof.profile(net, (4,))
    assert (found.params, found.trainable_params) == (30, 10)


def test_a_layer_alone() -> None:
    found = cnnprof.profile(nn.Linear(256, 200), (256,))
    assert (found.params, found.products) == (51_400, 51_200)
    assert found.layers == (found.root,)


def test_a_module_on_the_cpu_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()).train()
    net[2].eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    found = cnnprof.profile(net, (1, 8, 8))
    assert found.products == 2 * 36 * 9
    assert [module.training for module in net] == [True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not net[0]._forward_hooks
    assert not net[0]._forward_pre_hooks
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in net.parameters())


def test_an_error_names_the_layer_and_restores_the_mode() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3)).train()
    with pytest.raises(cnnprof.CnnprofError, match=r"1 \(Conv2d"):
        cnnprof.profile(net, (3, 8, 8))
    assert all(module.training for module in net.modules())
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_an_unknown_operator_makes_a_lower_bound() -> None:
    class Cholesky(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.linalg.cholesky(x)
            return y

    found = cnnprof.profile(nn.Sequential(nn.Linear(4, 4), Cholesky()), (4, 4))
    assert not found.complete
    assert found.products == 64
    assert "linalg_cholesky_ex" in found.layers[1].cost.unknown


def test_a_layer_of_10_to_the_12_parameters() -> None:
    found = cnnprof.profile(nn.Linear(10**6, 10**6, device="meta"), (10**6,))
    assert (found.params, found.products) == (10**12 + 10**6, 10**12)


def test_the_batch_is_left_out_wherever_it_stands() -> None:
    lstm = nn.LSTM(16, 64, num_layers=2, bidirectional=True, batch_first=True)
    for batch in (1, 8):
        (row,) = cnnprof.profile(lstm, (12, 16), batch=batch).layers
        assert row.output_shapes == ((12, 128), (4, 64), (4, 64))


def test_a_batch_that_is_taken_for_a_sequence_is_told() -> None:
    told = "with batch_first=False the first axis is the sequence, of 8 steps here: in "
    assert cnnprof.profile(nn.LSTM(16, 4), (12, 16), batch=8).caveats == (told + "(LSTM)",)
    layer = nn.TransformerEncoderLayer(16, 2)
    assert cnnprof.profile(layer, (12, 16), batch=8).caveats == (told + "self_attn (MultiheadAttention)",)
    assert cnnprof.profile(nn.LSTM(16, 4, batch_first=True), (12, 16), batch=8).caveats == ()
    assert cnnprof.profile(Of(lambda m, x: m.lstm(x.transpose(0, 1)), lstm=nn.LSTM(16, 4)), (12, 16), batch=8).caveats == ()


def test_a_network_of_indices_has_the_dtype_of_its_weights() -> None:
    assert cnnprof.profile(nn.Embedding(10, 4).half(), torch.zeros(2, 3, dtype=torch.int64)).dtype == "float16"


@pytest.mark.parametrize(
    ("layer", "arguments"),
    [
        (nn.Conv2d(8, 8, 3, padding=(1, 1)), "8, 8, kernel_size=3, padding=1"),
        (nn.Conv2d(8, 8, (3, 5), bias=False), "8, 8, kernel_size=(3, 5), bias=False"),
        (nn.MaxPool2d(2, (2, 2)), "kernel_size=2"),
        (nn.LayerNorm(16), "normalized_shape=16"),
        (nn.LayerNorm((16, 16), bias=False), "normalized_shape=(16, 16), bias=False"),
        (nn.Unflatten(1, (4, 4)), "dim=1, unflattened_size=(4, 4)"),
        (nn.ReLU6(), ""),
        (nn.Hardtanh(-2, 2), "min_val=-2, max_val=2"),
        (nn.LSTM(3, 4, bidirectional=True), "3, 4, bidirectional=True"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_a_layer_is_written_as_one_would_make_it(layer: nn.Module, arguments: str) -> None:
    assert arguments_of(layer) == arguments


def test_an_extra_repr_that_reads_a_value() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), device="meta"))

        def extra_repr(self) -> str:
            return f"scale={self.scale.item():.3f}"

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    found = cnnprof.profile(nn.Sequential(Scaled(), nn.ReLU()), (4,))
    assert [(layer.kind, layer.arguments) for layer in found.layers] == [("Scaled", ""), ("ReLU", "")]


def test_a_written_profile_says_the_same() -> None:
    """Of numbers, which have no axes, and of containers that call themselves."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, x: Tensor, again: bool = True) -> Tensor:
            made: Tensor = self(self.linear(x), False).sum() if again else self.linear(x)
            return made

    found = cnnprof.profile(nn.Sequential(Twice()), (4,))
    assert found.root.output_shapes == ((),)
    assert "recursive" in str(found)
    read = cnnprof.Profile.from_json(found.to_json())
    assert (read, str(read)) == (found, str(found))


def test_the_shape_of_one_sample() -> None:
    assert of_sample((8, 3, 5), 8) == (3, 5)
    assert of_sample((3, 8, 4, 5), 8) == (3, 4, 5)  # queries, keys and values before it
    assert of_sample((32, 8, 4, 5), 8) == (32, 8, 4, 5)  # four windows of each sample, eight heads
    assert of_sample((128, 64), 2) == (128, 64)  # a table of positions
    assert of_sample((197, 768), 8) == (197, 768)  # no samples at all
    assert of_sample((), 8) == ()
    assert of_sample((5, 0), 0) == (5,)
    assert of_sample((1, 3, 5), 1) == (3, 5)
    assert of_sample((3, 1, 5), 1) == (3, 5)
    assert of_sample((12, 3, 5), 1) == (12, 3, 5)
