"""Every module of the table, and what else a module can be: compiled, scripted, wrapped, on a GPU, a lower bound."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from module_pieces import Case, LoRALinear, Of, StandardizedConv2d, param
from module_table import CASES
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.utils import parametrizations
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

import cnnprof

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),  # torch's compiler uses it too
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning"),  # in torch's own run of a checkpoint
]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def is_shape(inputs: Any) -> bool:
    return isinstance(inputs, tuple) and all(isinstance(size, int) for size in inputs)


@every_case
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_products_and_params(case: Case, device: str) -> None:
    with torch.device(device):
        module = case.make()
    found = cnnprof.profile(module, case.inputs)
    assert (found.products, found.params) == (case.products, case.params)
    assert found.complete
    assert sum(layer.products for layer in found.layers) == case.products
    assert sum(layer.params for layer in found.layers) == case.params


@pytest.mark.parametrize("case", [case for case in CASES if is_shape(case.inputs)], ids=lambda case: case.name)
def test_a_batch(case: Case) -> None:
    with torch.device("meta"):
        module = case.make()
    found = cnnprof.profile(module, case.inputs, batch=3)
    assert found.products == 3 * (case.products - case.fixed) + case.fixed
    assert found.params == case.params


@every_case
def test_torchs_counter_says_the_same(case: Case) -> None:
    with torch.device("meta"):
        module = case.make()
    args, kwargs = on_meta(case)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        try:
            module.eval()(*args, **kwargs)
        except RuntimeError:
            assert case.torch_differs
            return
    assert (counter.get_total_flops() != 2 * case.products) == bool(case.torch_differs)


def on_meta(case: Case) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the case's module is given, by position and by name."""
    inputs = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), case.inputs)
    if is_shape(inputs):
        dtype = next((p.dtype for p in case.make().parameters() if p.is_floating_point()), None)
        return (torch.empty(1, *inputs, device="meta", dtype=dtype),), {}
    if isinstance(inputs, dict):
        return (), inputs
    if isinstance(inputs, list):
        return tuple(torch.empty(1, *shape, device="meta") for shape in inputs), {}
    return inputs if isinstance(inputs, tuple) else (inputs,), {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu() -> None:
    for case in CASES:
        if any(parameter.is_meta for parameter in case.make().parameters()):
            continue
        module = case.make().to("cuda")
        before = torch.cuda.memory_allocated()
        found = cnnprof.profile(module, case.inputs)
        assert (found.products, found.params, found.complete) == (case.products, case.params, True), case.name
        assert torch.cuda.memory_allocated() == before, case.name


LOWER_BOUNDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int, set[str]]] = {
    # What is known: the 5x5 base times the 5x4 weight, and the layer itself.
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(4, 5)), (4,), 100 + 20, {"linalg_householder_product"}),
    "orthogonal, square": (lambda: parametrizations.orthogonal(nn.Linear(4, 4)), (4,), 64 + 16, {"linalg_matrix_exp"}),
    "distances": (lambda: Of(lambda m, x: m.l(torch.cdist(x, x)), l=nn.Linear(5, 2)), (5, 4), 50, {"_cdist_forward"}),
    "Fourier transform": (lambda: Of(lambda m, x: torch.fft.rfft(m.l(x)).real, l=nn.Linear(4, 8)), (4,), 32, {"_fft_r2c"}),
    "solver": (lambda: Of(lambda m, x: torch.linalg.solve(m.w, x), w=param(4, 4)), (4, 2), 0, {"_linalg_solve_ex"}),
    "decomposition": (lambda: Of(lambda m, x: torch.linalg.svd(m.l(x))[1], l=nn.Linear(4, 4)), (4, 4), 64, {"_linalg_svd"}),
}


@pytest.mark.parametrize("name", LOWER_BOUNDS)
def test_what_is_unknown_makes_a_lower_bound(name: str) -> None:
    make, shape, products, unknown = LOWER_BOUNDS[name]
    found = cnnprof.profile(make(), shape)
    assert not found.complete
    assert found.products == products
    assert unknown <= set(found.cost.unknown)
    assert [layer.cost.complete for layer in found.layers].count(False) == 1
    assert f"{products:,}" in str(found)
    assert any(line.startswith("TOTAL") and (">= " in line or "≥ " in line) for line in str(found).splitlines())


def convs() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(144, 5)))


CONVS = (4 * 36 * 27 + 5 * 144, 4 * 28 + 8 + 5 * 145)


def test_what_is_compiled_runs_as_it_was_written() -> None:
    compiled: Any = torch.compile(convs(), fullgraph=True)
    inside, in_place = nn.Sequential(convs(), nn.ReLU()), convs()
    setattr(inside, "0", torch.compile(inside[0]))
    in_place.compile()
    counters = torch._dynamo.utils.counters
    counters.clear()
    for module in (compiled, inside, in_place):
        found = cnnprof.profile(module, (3, 8, 8))
        assert (found.products, found.params) == CONVS
        assert [layer.kind for layer in found.layers][:5] == ["Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear"]
    assert not counters["frames"]


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd"}], ids=["inference", "training"])
@pytest.mark.parametrize("mode", [True, False])
def test_what_is_compiled_stays_in_its_mode(mode: bool, options: Any) -> None:
    """The module that torch compiles says of itself what the one in it says."""
    dropout: Any = torch.compile(nn.Dropout())
    inside: Any = nn.Sequential(nn.Linear(4, 4), dropout)
    made: tuple[Any, ...] = (torch.compile(inside), inside, torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.Dropout())))
    for module in made:
        module.train(mode)
        modes = [part.training for part in module.modules()]
        assert cnnprof.profile(module, (4,), **options).products == 16
        assert [part.training for part in module.modules()] == modes


def test_a_frozen_script() -> None:
    frozen: Any = torch.jit.freeze(torch.jit.script(convs().eval()))
    assert cnnprof.profile(frozen, (3, 8, 8)).products == CONVS[0]


@pytest.mark.parametrize("device", ["cpu", None], ids=["on the CPU", "without data"])
def test_a_transformer_with_a_causal_mask(device: Any) -> None:
    """Which it looks at, to find out whether it is one."""

    def forward(m: Any, x: Tensor, y: Tensor) -> Any:
        return m.t(x, y, tgt_mask=nn.Transformer.generate_square_subsequent_mask(y.shape[1], device=device or y.device))

    module = Of(forward, t=nn.Transformer(16, 4, 1, 1, 32, batch_first=True))
    found = cnnprof.profile(module, (torch.zeros(2, 7, 16), torch.zeros(2, 5, 16)), optimizer="sgd")
    attention = {(n, m): 2 * (2 * n * 16 * 16 + 2 * m * 16 * 16 + 2 * n * m * 16) for n, m in ((7, 7), (5, 5), (5, 7))}
    assert found.products == sum(attention.values()) + 2 * (7 + 5) * 2 * 16 * 32
    assert found.training is not None


def transformed(take: Callable[[Any, Tensor], Any]) -> Any:
    def forward(m: Any, x: Tensor) -> Any:
        return take(lambda row: m.linear(row).tanh(), x[0])

    return Of(forward, linear=nn.Linear(5, 5))


TRANSFORMS: dict[str, Callable[[Any, Tensor], Any]] = {
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "vmap of jacfwd": lambda f, x: torch.func.vmap(torch.func.jacfwd(f))(x[None]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_of_functions(name: str) -> None:
    """They give tensors dimensions that no operator made: the receptive field is not known then, all else is."""
    module = transformed(TRANSFORMS[name])
    with FlopCounterMode(display=False) as counter:
        module(torch.ones(1, 5))
    found = cnnprof.profile(module, (5,))
    assert (2 * found.products, found.complete) == (counter.get_total_flops(), True)


def test_the_derivative_of_a_derivative() -> None:
    """For each product of the forward pass there is one in the backward pass. Torch's counter does not take it."""
    first = cnnprof.profile(transformed(TRANSFORMS["jacfwd"]), (5,))
    second = cnnprof.profile(transformed(lambda f, x: torch.func.hessian(lambda row: f(row).sum())(x)), (5,))
    assert (second.products, second.complete) == (2 * first.products, True)


def test_what_is_scripted_is_one_row() -> None:
    module = convs().eval()
    scripted = torch.jit.script(module)
    traced = torch.jit.trace(module, torch.zeros(1, 3, 8, 8))
    for made in (scripted, traced, nn.Sequential(scripted)):
        state = {name: (tensor.data_ptr(), tensor.device) for name, tensor in made.state_dict().items()}
        found = cnnprof.profile(made, (3, 8, 8))
        assert (found.products, found.params) == CONVS
        assert found.complete
        assert len(found.layers) == 1
        assert {name: (tensor.data_ptr(), tensor.device) for name, tensor in made.state_dict().items()} == state


def test_a_scripted_function() -> None:
    script: Any = torch.jit.script(product_then_relu)
    found = cnnprof.profile(Of(lambda m, x: script(x, m.w), w=param(8, 4)), (8,))
    assert (found.products, found.params, found.complete) == (32, 32, True)


def product_then_relu(x: Tensor, w: Tensor) -> Tensor:
    return torch.relu(x @ w)


def test_a_graph_of_torch_fx() -> None:
    found = cnnprof.profile(torch.fx.symbolic_trace(convs()), (3, 8, 8))
    assert (found.products, found.params) == CONVS


def test_an_exported_program() -> None:
    exported = torch.export.export(convs().eval(), (torch.zeros(2, 3, 8, 8),)).module()
    found = cnnprof.profile(exported, torch.zeros(2, 3, 8, 8))
    assert (found.products, found.params) == (2 * CONVS[0], CONVS[1])


@pytest.mark.parametrize("devices", [[], [0, 1]])
def test_data_parallel_is_what_it_holds(devices: list[int]) -> None:
    outside, inside = nn.DataParallel(convs()), nn.DataParallel(convs())
    outside.device_ids, inside.device_ids = devices, devices  # as on a machine with two GPUs
    for module in (outside, nn.Sequential(inside)):
        found = cnnprof.profile(module, (3, 8, 8))
        assert (found.products, found.params) == CONVS
    assert inside.device_ids == devices


def test_hooks_that_compute_are_counted() -> None:
    """Also those of the network itself, which run when its call is over."""
    for index in (0, 1):
        net = nn.Sequential(nn.Linear(8, 4))
        list(net.modules())[index].register_forward_hook(lambda m, args, y: y @ torch.ones(4, 3))
        assert cnnprof.profile(net, (8,)).products == 32 + 12


def test_a_module_that_is_called_without_hooks() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 4)

        def __call__(self, x: Tensor) -> Any:
            return self.linear(x).matmul(torch.ones(4, 3))

    found = cnnprof.profile(Bare(), (8,))
    assert (found.products, found.params) == (32 + 12, 36)


class Shown(nn.Module):
    """Calls things in all the ways in which one writes them."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.w = param(12, 12)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.stage(x))
        x = torch.flatten(x, 1)
        x = x.view(-1, 3, 12)[:, :2]
        y = F.scaled_dot_product_attention(x, x, x, is_causal=True)
        y = -(x + y) * 2 / (1 - y**2)
        y = torch.where((y > 0) & ~(y == 1), y, 0)
        y = y @ self.w.T
        y += torch.einsum("bij,jk->bik", x, self.w)
        y = y.mean(dim=1).split(6, -1)[0]
        return F.dropout(y, 0.5, self.training)


class Stage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Any:
        return F.max_pool2d(self.conv(x).sigmoid(), 1)


def test_functions_are_rows_in_their_place() -> None:
    found = cnnprof.profile(Shown(), (1, 3, 3))
    assert [(layer.kind, layer.arguments) for layer in found.layers] == [
        ("Parameter", ""),
        ("Conv2d", "1, 4, kernel_size=3, padding=1"),
        ("x.sigmoid", ""),
        ("F.max_pool2d", "., kernel_size=1"),
        ("F.relu", "."),
        ("torch.flatten", "., 1"),
        ("x.view", "-1, 3, 12"),
        ("[]", ""),
        ("F.scaled_dot_product_attention", "., ., ., is_causal=True"),
        ("+", ""),
        ("-", ""),
        ("*", ""),
        ("**", ""),
        ("-", ""),
        ("/", ""),
        (">", ""),
        ("==", ""),
        ("~", ""),
        ("&", ""),
        ("torch.where", "., ., 0"),
        ("x.T", ""),
        ("@", ""),
        ("torch.einsum", "'bij,jk->bik', ., ."),
        ("+=", ""),
        ("x.mean", "dim=1"),
        ("x.split", "split_size=6, dim=-1"),
    ]
    assert [layer.path for layer in found.layers if layer.path.startswith("stage")] == [
        "stage.conv",
        "stage.sigmoid",
        "stage.max_pool2d",
    ]
    # 2 elements attend to 2, with 12 channels each.
    assert found.products == 4 * 9 * 9 + 2 * 2 * 2 * 12 + 2 * 12 * 12 + 2 * 12 * 12


def test_one_row_for_each_call() -> None:
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    found = cnnprof.profile(Of(lambda m, x: m.block(m.block(x)), block=block, idle=nn.Linear(3, 2)), (8,))
    assert [(layer.path, layer.params, layer.products, layer.note) for layer in found.layers] == [
        ("block.0", 72, 64, ""),
        ("block.1", 0, 0, ""),
        ("block.0", 0, 64, "recursive"),
        ("block.1", 0, 0, "recursive"),
        ("idle", 8, 0, "not called"),
    ]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: parametrizations.weight_norm(nn.Linear(8, 4)), (8,)),
        (lambda: parametrizations.spectral_norm(nn.Linear(8, 4)), (8,)),
        (lambda: StandardizedConv2d(3, 4, 3), (3, 8, 8)),
        (lambda: LoRALinear(8, 4, 2), (8,)),
        (lambda: nn.MultiheadAttention(8, 2), (5, 8)),
    ],
)
def test_a_layer_that_computes_its_weights_is_one_row(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    layer = make()
    inputs = (torch.zeros(1, *shape),) * (3 if isinstance(layer, nn.MultiheadAttention) else 1)
    found = cnnprof.profile(Of(lambda m, *xs: m.layer(*xs), layer=layer), inputs)
    assert [row.path for row in found.layers] == ["layer"]
    assert found.layers[0].params == sum(p.numel() for p in layer.parameters())


def test_trainable_and_frozen() -> None:
    found = cnnprof.profile(LoRALinear(8, 4, 2), (8,))
    assert (found.params, found.trainable_params) == (36 + 16 + 8, 16 + 8)


def test_buffers_are_no_parameters() -> None:
    found = cnnprof.profile(nn.BatchNorm2d(8), (8, 5, 5))
    assert (found.cost.param_bytes, found.cost.buffer_bytes) == (2 * 8 * 4, 2 * 8 * 4 + 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision(dtype: torch.dtype) -> None:
    found = cnnprof.profile(convs().to(dtype), (3, 8, 8))
    assert (found.products, found.params) == CONVS
    assert found.dtype == str(dtype).removeprefix("torch.")
    assert found.cost.param_bytes == CONVS[1] * dtype.itemsize
    assert found.layers[0].output_bytes == 4 * 36 * dtype.itemsize


def test_within_inference_mode() -> None:
    with torch.inference_mode():
        found = cnnprof.profile(convs(), (3, 8, 8))
    assert (found.products, found.params) == CONVS
    assert [layer.kind for layer in found.layers] == ["Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear"]


def test_a_layer_that_answers_for_itself() -> None:
    named: Any = nn.Softplus()
    named._get_name = lambda: "Mine"
    for layers, kinds in (([named, nn.Softplus()], ["Mine", "Softplus"]), ([nn.Softplus()], ["Softplus"])):
        assert [layer.kind for layer in cnnprof.profile(nn.Sequential(*layers), (4, 8, 8)).layers] == kinds


def test_a_forward_that_copies_a_layer() -> None:
    module = Of(lambda m, x: copy.deepcopy(m.conv)(x), conv=nn.Conv2d(4, 4, 3))
    assert cnnprof.profile(module, (4, 8, 8)).products == 4 * 6 * 6 * 4 * 9


def test_where_an_argument_lies_is_not_shown() -> None:
    def forward(m: Any, x: Tensor) -> Any:
        return copy.deepcopy(x) + x

    first, again = (cnnprof.profile(Of(forward), (4, 8, 8)).layers for _ in range(2))
    assert [layer.arguments for layer in first] == ["dict", ""]
    assert first == again


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
@pytest.mark.parametrize("sparse", [Tensor.to_sparse, Tensor.to_sparse_csr, Tensor.to_sparse_csc])
def test_a_sparse_buffer(sparse: Callable[[Tensor], Tensor]) -> None:
    """Its bytes are those of its 5 values and of where they are, as `torch.save` keeps them."""
    module = nn.Linear(3, 4)
    module.register_buffer("adjacency", sparse(torch.eye(5)))
    found = cnnprof.profile(module, (5, 3), retained=True)
    places = 2 * 5 if sparse is Tensor.to_sparse else 5 + 6
    assert (found.params, found.root.cost.buffer_bytes) == (16, 5 * 4 + places * 8)
    assert found.untrained.startswith("adjacency is sparse_")
    with pytest.raises(cnnprof.CnnprofError, match="a training pass needs dense tensors"):
        cnnprof.profile(module, (5, 3), optimizer="sgd")


def test_a_sparse_tensor_that_is_no_buffer() -> None:
    module = Of(lambda m, x: x * 2)
    module.adjacency = torch.eye(5).to_sparse()
    assert cnnprof.profile(module, (5, 3)).products == 0
