"""THE table: for each operator of aten the rule of what its outputs depend on. An operator that is not in it makes what is unknown.

A key is an overload, `max.other`, or a name that stands for all overloads and for the operator in place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cnnprof.fields import reading, viewing
from cnnprof.fields.reach import cubic, linear, smoothed
from cnnprof.fields.reading import elementwise

Rule = Callable[..., viewing.Found]


def _all(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, Rule] = {
    **_all(
        """abs acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh ceil clamp clamp_max clamp_min conj_physical
        copysign cos cosh deg2rad digamma div erf erfc erfinv exp exp2 expm1 floor floor_divide fmax fmin fmod frac frexp gcd
        heaviside hypot i0 lcm ldexp lerp lgamma log log10 log1p log2 logaddexp logaddexp2 logit maximum minimum mul mvlgamma
        nan_to_num neg nextafter polygamma pow rad2deg reciprocal remainder round rsqrt rsub sgn sign sin sinc sinh sqrt sub tan
        trunc xlogy max.other min.other""",
        elementwise,
    ),
    **_all(
        """bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor eq ge gt isinf isnan isneginf
        isposinf le logical_and logical_not logical_or logical_xor lt ne signbit __lshift__ __rshift__""",
        elementwise,
    ),
    **_all(
        """celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu log_sigmoid_forward mish relu rrelu_with_noise sigmoid
        silu softplus softshrink tanh threshold _prelu_kernel""",
        elementwise,
    ),
    **_all("alias bernoulli clone detach masked_fill native_dropout where _to_copy lift_fresh _conj _neg_view", elementwise),
    **_all(
        """empty_like full_like ones_like rand_like randint_like randn_like zeros_like new_empty new_empty_strided new_full
        new_ones new_zeros bernoulli.p bernoulli_.float cauchy_ exponential_ fill_.Scalar geometric_ log_normal_
        normal_ random_ uniform_ zero zero_""",
        reading.constant,
    ),
    **_all("copy_ fill_.Tensor", reading.copied),
    "glu": reading.glu,
    # views and other moves
    **_all("view view_copy _unsafe_view _reshape_alias", viewing.view),
    "permute": viewing.permute,
    **_all("transpose t", viewing.transpose),
    "unsqueeze": viewing.unsqueeze,
    "squeeze": viewing.squeeze,
    "expand": viewing.expand,
    "select": viewing.select,
    "slice": viewing.slice_,
    **_all("split split_with_sizes unsafe_split unsafe_split_with_sizes", viewing.split),
    "unbind": viewing.unbind,
    "unfold": viewing.unfold,
    "cat": viewing.cat,
    "stack": viewing.stack,
    "repeat": viewing.repeat,
    "constant_pad_nd": viewing.constant_pad,
    **_all(
        """reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d""",
        viewing.border_pad,
    ),
    "flip": viewing.flip,
    "roll": viewing.roll,
    "pixel_shuffle": viewing.pixel_shuffle,
    "pixel_unshuffle": viewing.pixel_unshuffle,
    "channel_shuffle": viewing.channel_shuffle,
    "im2col": viewing.im2col,
    "index_select": viewing.index_select,
    "index": viewing.index,
    "embedding": viewing.embedding,
    # sums
    **_all(
        """all amax amin aminmax any argmax argmin logsumexp max mean median min nansum prod std std_mean sum var var_mean""",
        reading.reduced,
    ),
    "linalg_vector_norm": reading.norm,
    **_all("sort _softmax _log_softmax _safe_softmax", reading.along),
    "topk": reading.top_k,
    **_all("cumsum cumprod cummax cummin logcumsumexp", reading.cumulative),
    **_all("mm bmm", reading.matmul),
    **_all("addmm baddbmm", reading.added_matmul),
    **_all(
        """_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention
        _scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable""",
        reading.attention,
    ),
    "native_batch_norm": reading.batch_norm,
    "native_layer_norm": reading.layer_norm,
    "native_group_norm": reading.group_norm,
    # windows
    "convolution": reading.convolution,
    "max_pool2d_with_indices": reading.pool(2),
    "max_pool3d_with_indices": reading.pool(3),
    "avg_pool2d": reading.avg_pool(2),
    "avg_pool3d": reading.avg_pool(3),
    **_all("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d", reading.adaptive_pool),
    # resizing
    **_all("upsample_nearest1d upsample_nearest2d upsample_nearest3d", reading.nearest_of(exact=False)),
    **_all("_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d", reading.nearest_of(exact=True)),
    **_all("upsample_linear1d upsample_bilinear2d upsample_trilinear3d", reading.interpolated(linear)),
    "upsample_bicubic2d": reading.interpolated(cubic),
    "_upsample_bilinear2d_aa": reading.interpolated(partial(smoothed, radius=1)),
    "_upsample_bicubic2d_aa": reading.interpolated(partial(smoothed, radius=2)),
}

_UNKNOWN = frozenset(["view.dtype", "std", "std_mean", "var", "var_mean", "bernoulli.Tensor", "bernoulli_.Tensor"])
"""Overloads that do not do what their name says or take their arguments in another way. Without a suffix it is that alone."""


def rule(name: str) -> Rule | None:
    """The rule of an overload, `add_.Tensor`; None if there is none. Those that name dimensions by words have none."""
    base, _, overload = name.partition(".")
    if name in _UNKNOWN or "name" in overload.lower():
        return None
    for key in (name, base, f"{base.removesuffix('_')}.{overload}", base.removesuffix("_")):
        if key in RULES:
            return RULES[key]
    return None
