"""THE table: for each operator how its output is made and which products it costs.

`OUTPUTS` goes by overload, `add.Tensor`, since overloads differ in their arguments. `PRODUCTS` and `FREE` go by name,
which stands for all overloads and for the operator in place. An operator that is in neither of these two is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from cnnprof.operators import arranging, backward, contractions, convolutions, products, windows
from cnnprof.operators.elementwise import binary, binary_, glu, itself, prelu, same, twice, where
from cnnprof.operators.free import FREE
from cnnprof.profiling.profile import Term

_F = TypeVar("_F")


def _all(names: str, rule: _F) -> dict[str, _F]:
    return dict.fromkeys(names.split(), rule)


OUTPUTS: dict[str, Callable[..., Any]] = {
    "convolution": convolutions.convolution,
    "native_batch_norm": contractions.batch_norm,
    "native_layer_norm": contractions.layer_norm,
    "native_group_norm": contractions.group_norm,
    **_all(
        """abs clamp_max clamp_min cos elu erf exp hardshrink hardsigmoid hardswish hardtanh leaky_relu log mish neg reciprocal
        relu rrelu_with_noise rsqrt sgn sigmoid sign silu sin softplus sqrt tanh threshold
        add.Scalar div.Scalar mul.Scalar pow.Tensor_Scalar rsub.Scalar sub.Scalar""",
        same,
    ),
    **_all(
        """abs_ clamp_max_ clamp_min_ elu_ erfinv_ exp_ hardsigmoid_ hardswish_ hardtanh_ leaky_relu_ mish_ neg_ reciprocal_ relu_
        rrelu_with_noise_ rsqrt_ sigmoid_ silu_ sqrt_ tanh_ threshold_ zero_
        add_.Scalar div_.Scalar fill_.Scalar mul_.Scalar pow_.Scalar sub_.Scalar""",
        itself,
    ),
    "celu": where(lambda alpha=1.0: alpha != 0, same),
    "celu_": where(lambda alpha=1.0: alpha != 0, itself),
    "clamp": where(lambda low=None, high=None: low is not None or high is not None, same),
    "clamp_": where(lambda low=None, high=None: low is not None or high is not None, itself),
    "gelu": where(lambda approximate="none": approximate in ("none", "tanh"), same),
    "softshrink": where(lambda limit=0.5: limit >= 0, same),
    "normal_": where(lambda mean=0, std=1, generator=None: std >= 0, itself),
    "uniform_": where(lambda low=0, high=1, generator=None: low <= high, itself),
    "add.Tensor": binary("add"),
    "sub.Tensor": binary("subtract"),
    "mul.Tensor": binary("multiply"),
    "div.Tensor": binary("divide"),
    "maximum": binary("compare"),
    "minimum": binary("compare"),
    "_prelu_kernel": prelu,
    "add_.Tensor": binary_("add"),
    "sub_.Tensor": binary_("subtract"),
    "mul_.Tensor": binary_("multiply"),
    "div_.Tensor": binary_("divide", integers=False),
    "glu": glu,
    "log_sigmoid_forward": twice,
    **_all("empty.memory_format zeros ones rand randn", arranging.created),
    **_all("empty_like zeros_like ones_like rand_like randn_like", arranging.created_like),
    "cat": arranging.cat,
    "stack": arranging.stack,
    "repeat": arranging.repeat,
    "channel_shuffle": arranging.channel_shuffle,
    "pixel_shuffle": arranging.pixel_shuffle,
    "pixel_unshuffle": arranging.pixel_unshuffle,
    "embedding": arranging.embedding,
    "addmm": contractions.addmm,
    "mm": contractions.mm,
    "bmm": contractions.bmm,
    "baddbmm": contractions.baddbmm,
    **_all("mean mean.dim sum sum.dim_IntList amax", contractions.reduced),
    **_all("_softmax _log_softmax", contractions.softmax),
    "_safe_softmax": contractions.safe_softmax,
    "max_pool2d_with_indices": windows.max_pool(2),
    "max_pool3d_with_indices": windows.max_pool(3),
    "avg_pool2d": windows.avg_pool(2),
    "avg_pool3d": windows.avg_pool(3),
    "_adaptive_avg_pool2d": windows.adaptive_avg_pool(2),
    "_adaptive_avg_pool3d": windows.adaptive_avg_pool(3),
    "adaptive_max_pool2d": windows.adaptive_max_pool(2),
    "adaptive_max_pool3d": windows.adaptive_max_pool(3),
    "fractional_max_pool2d": windows.fractional_max_pool(2),
    "fractional_max_pool3d": windows.fractional_max_pool(3),
    "im2col": windows.im2col,
    "col2im": windows.col2im,
    "reflection_pad1d": windows.reflection_pad(1),
    "reflection_pad2d": windows.reflection_pad(2),
    "reflection_pad3d": windows.reflection_pad(3),
    "replication_pad1d": windows.replication_pad(1),
    "replication_pad2d": windows.replication_pad(2),
    "replication_pad3d": windows.replication_pad(3),
    **_all("upsample_nearest1d upsample_linear1d _upsample_nearest_exact1d", windows.resized(1)),
    **_all(
        """upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d _upsample_bilinear2d_aa
        _upsample_bicubic2d_aa""",
        windows.resized(2),
    ),
    **_all("upsample_nearest3d upsample_trilinear3d _upsample_nearest_exact3d", windows.resized(3)),
    "convolution_backward": backward.convolution,
    "native_batch_norm_backward": backward.batch_norm,
    "native_layer_norm_backward": backward.layer_norm,
    "native_group_norm_backward": backward.group_norm,
    "_prelu_kernel_backward": backward.prelu,
    **_all(
        """gelu_backward hardshrink_backward hardsigmoid_backward hardswish_backward hardtanh_backward sigmoid_backward
        silu_backward softplus_backward softshrink_backward tanh_backward""",
        backward.gradient(0, 1),
    ),
    **_all("leaky_relu_backward threshold_backward rrelu_with_noise_backward", backward.gradient(1, 0)),
    "elu_backward": backward.gradient(0, 5),
    **_all(
        """_adaptive_avg_pool2d_backward _adaptive_avg_pool3d_backward _log_softmax_backward_data _softmax_backward_data
        adaptive_max_pool2d_backward adaptive_max_pool3d_backward avg_pool2d_backward avg_pool3d_backward
        fractional_max_pool2d_backward fractional_max_pool3d_backward glu_backward log_sigmoid_backward
        max_pool2d_with_indices_backward max_pool3d_with_indices_backward
        reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
        replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward""",
        backward.of_input,
    ),
    **_all(
        """upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward upsample_linear1d_backward
        upsample_bilinear2d_backward upsample_bicubic2d_backward upsample_trilinear3d_backward""",
        backward.resized,
    ),
    **_all("select_backward slice_backward", backward.of_part),
    "constant_pad_nd": backward.constant_pad,
    "mse_loss": backward.mse_loss,
    "mse_loss_backward": backward.mse_loss_backward,
    "nll_loss_forward": backward.nll_loss,
    "nll_loss_backward": backward.nll_loss_backward,
    **_all("addcmul_ addcdiv_", backward.with_two),
    "lerp_.Scalar": backward.towards,
}
"""How the output is made, for the operators whose kernel in torch is slow on meta."""

PRODUCTS: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Any], tuple[Term, ...]]] = {
    **_all("mm _int_mm _scaled_mm", products.mm),
    **_all("addmm _addmm_activation", products.addmm),
    "bmm": products.bmm,
    **_all("baddbmm addbmm", products.baddbmm),
    **_all("mv dot vdot", products.mv),
    "addmv": products.addmv,
    "addr": products.addr,
    "_trilinear": products.trilinear,
    "affine_grid_generator": products.affine_grid,
    **_all("convolution _convolution convolution_overrideable", products.convolution),
    **_all(
        """_slow_conv2d_forward slow_conv3d_forward slow_conv_dilated2d slow_conv_dilated3d _conv_depthwise2d
        conv_depthwise3d cudnn_convolution cudnn_convolution_relu cudnn_convolution_add_relu mkldnn_convolution
        miopen_convolution miopen_convolution_relu miopen_convolution_add_relu miopen_depthwise_convolution
        _mps_convolution _nnpack_spatial_convolution""",
        products.direct_convolution,
    ),
    **_all(
        """slow_conv_transpose2d slow_conv_transpose3d cudnn_convolution_transpose miopen_convolution_transpose
        _mps_convolution_transpose""",
        products.transposed_convolution,
    ),
    "conv_tbc": products.conv_tbc,
    "convolution_backward": products.convolution_backward,
    **_all(
        """_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu
        _scaled_dot_product_cudnn_attention _scaled_dot_product_efficient_attention
        _scaled_dot_product_fused_attention_overrideable _scaled_dot_product_attention_math_for_mps flex_attention""",
        products.attention,
    ),
    **_all(
        """_scaled_dot_product_flash_attention_backward _scaled_dot_product_flash_attention_for_cpu_backward
        _scaled_dot_product_cudnn_attention_backward _scaled_dot_product_efficient_attention_backward
        _scaled_dot_product_fused_attention_overrideable_backward""",
        products.attention_backward,
    ),
    "flex_attention_backward": products.flex_attention_backward,
    "_flash_attention_forward": products.flash_attention,
    "_flash_attention_backward": products.flash_attention_backward,
    "_efficient_attention_forward": products.efficient_attention,
    "_efficient_attention_backward": products.efficient_attention_backward,
    "_native_multi_head_attention": products.self_attention,
    "_transformer_encoder_layer_fwd": products.encoder_layer,
    "mkldnn_rnn_layer": products.recurrent_layer,
}
"""The scalar multiplications of the operators that have any."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is known of an operator."""

    output: Callable[..., Any] | None = None
    """Makes the output from the operator's arguments; where it is or returns None, torch's kernel does."""
    products: Callable[[Sequence[Any], Mapping[str, Any], Any], tuple[Term, ...]] | None = None
    """The terms of its products from arguments, keyword arguments and output; None: none, by definition."""
    composed: bool = False
    """Whether torch composes it of others, which cost what it costs, as `conv2d` of `convolution`. Autograd takes such
    operators apart before a mode sees them; only in `torch.inference_mode()` a mode meets them whole."""
    writes: bool = False
    """Whether it returns new storage: it is no view, works not in place and is not composed of others that do."""


class _Rules(dict[Any, "Rule | None"]):
    """The rules by operator, each looked up by name when it is first asked for: all of aten would take 0.1 s."""

    def __missing__(self, func: Any) -> Rule | None:
        space, _, overload = func.name().rpartition("::")
        # A higher-order operator, such as flex_attention, has no namespace before its name. Those of prims are what torch's own
        # decompositions are made of, with the names of aten.
        found = _named(overload, func) if space in ("aten", "prims", "") else None
        self[func] = found
        return found


RULES = _Rules()


def _named(overload: str, func: Any) -> Rule | None:
    name = overload.partition(".")[0]
    if name not in PRODUCTS and name not in FREE and not name.endswith("__"):
        name = name.removesuffix("_")
    if name in PRODUCTS or name in FREE:
        return Rule(OUTPUTS.get(overload), PRODUCTS.get(name), writes=name not in _SHARING and _returns_new(func))
    return Rule(composed=True) if _is_composed(func) else None


def rule(func: Any) -> Rule | None:
    """What is known of an operator; None where it is in no table, so that its products are unknown."""
    return RULES[func]


def products_of(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> tuple[Term, ...] | None:
    """The terms of an operator's products, empty where it costs none; None where the operator is unknown."""
    known = RULES[func]
    if known is None:
        return None
    return known.products(args, kwargs, output) if known.products else ()


def writes(func: Any) -> bool:
    """Whether an operator returns new storage; of one that is unknown, its schema tells."""
    known = RULES[func]
    return _returns_new(func) if known is None else known.writes


def _returns_new(func: Any) -> bool:
    schema = getattr(func, "_schema", None)
    return schema is None or not any(result.alias_info for result in schema.returns)


def _is_composed(func: Any) -> bool:
    composite = torch._C.DispatchKey.CompositeImplicitAutograd
    return isinstance(func, torch._ops.OpOverload) and func.has_kernel_for_dispatch_key(composite)


_SHARING = frozenset(["_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "lift", "lift_fresh"])
"""Operators that return views without saying so in their schema."""
