"""The operators of aten that cost no products by definition. One that is neither here nor in the table is unknown.

A name stands for all of its overloads and for the operator in place, which has an underscore after it. What torch
composes of other operators is not here, for those are what is seen. Left out on purpose, for they hide products:
Fourier transforms, decompositions and solvers, distances between all pairs, quantized and sparse kernels, recurrent
layers of a vendor's library.
"""

from __future__ import annotations

_CREATION = """
    arange bartlett_window blackman_window empty empty_like empty_permuted empty_strided eye fill full full_like
    hamming_window hann_window kaiser_window lift lift_fresh lift_fresh_copy linspace logspace new_empty
    new_empty_strided new_full new_ones new_zeros ones ones_like range scalar_tensor tril_indices triu_indices zero
    zeros zeros_like _efficientzerotensor
"""

_RANDOM = """
    bernoulli binomial cauchy exponential geometric log_normal multinomial native_dropout native_dropout_backward
    normal normal_functional poisson rand rand_like randint randint_like randn randn_like random randperm uniform
    _fused_dropout _masked_scale
"""

_VIEWS = """
    alias as_strided detach diagonal expand permute select slice split split_with_sizes squeeze t transpose unbind
    unfold unsafe_split unsafe_split_with_sizes unsqueeze view view_as_complex view_as_real _conj _neg_view
    _reshape_alias _unsafe_view alias_copy as_strided_copy detach_copy diagonal_copy expand_copy permute_copy
    select_copy slice_copy split_copy split_with_sizes_copy squeeze_copy t_copy transpose_copy unbind_copy unfold_copy
    unsqueeze_copy view_copy as_strided_scatter diagonal_scatter select_scatter slice_scatter diagonal_backward
    select_backward slice_backward slice_inverse unfold_backward
"""

_COPIES = """
    block_diag cat channel_shuffle clone complex constant_pad_nd copy diag_embed flip narrow_copy pixel_shuffle
    pixel_unshuffle polar reflection_pad1d reflection_pad1d_backward reflection_pad2d reflection_pad2d_backward
    reflection_pad3d reflection_pad3d_backward repeat repeat_interleave replication_pad1d replication_pad1d_backward
    replication_pad2d replication_pad2d_backward replication_pad3d replication_pad3d_backward resize resize_as roll
    rot90 set stack tril triu _lazy_clone _pack_padded_sequence _pin_memory _reshape_copy _resize_output _stack
    _to_copy
"""

_INDEXING = """
    bincount bucketize embedding embedding_dense_backward embedding_renorm gather index index_add index_copy
    index_fill index_put index_reduce index_select isin masked_fill masked_scatter masked_scatter_backward
    masked_select nonzero nonzero_static put scatter scatter_add scatter_reduce searchsorted take where _embedding_bag
    _embedding_bag_backward _embedding_bag_dense_backward _embedding_bag_forward_only
    _embedding_bag_per_sample_weights_backward _index_put_impl _unsafe_index _unsafe_index_put _unsafe_masked_index
    _unsafe_masked_index_put_accumulate
"""

_ARITHMETIC = """
    abs acos acosh add addcdiv addcmul angle asin asinh atan atan2 atanh ceil clamp clamp_max clamp_min conj_physical
    copysign cos cosh deg2rad digamma div erf erfc erfinv exp exp2 expm1 floor floor_divide fmax fmin fmod frac frexp
    gcd heaviside hypot i0 igamma igammac lcm ldexp lerp lgamma log log10 log1p log2 logaddexp logaddexp2 logit
    logit_backward maximum minimum mul mvlgamma nan_to_num neg nextafter polygamma pow rad2deg reciprocal remainder
    round rsqrt rsub sgn sign sin sinc sinh sqrt sub tan trunc xlogy special_entr special_erfcx special_i0e special_i1
    special_i1e special_log_ndtr special_ndtri special_xlog1py special_zeta _add_relu _conj_physical linalg_cross
"""

_LOGIC = """
    all allclose any bitwise_and bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor eq equal ge
    gt isinf isnan isneginf isposinf is_same_size le logical_and logical_not logical_or logical_xor lt ne signbit
    __lshift__ __rshift__ __ilshift__ __irshift__ _assert_async _assert_scalar _assert_tensor_metadata
    _functional_assert_async _has_same_storage_numel _is_all_true _is_any_true _local_scalar_dense
"""

_ACTIVATIONS = """
    celu elu elu_backward gelu gelu_backward glu glu_backward hardshrink hardshrink_backward hardsigmoid
    hardsigmoid_backward hardswish hardswish_backward hardtanh hardtanh_backward leaky_relu leaky_relu_backward
    log_sigmoid_backward log_sigmoid_forward mish relu rrelu_with_noise rrelu_with_noise_backward
    rrelu_with_noise_functional sigmoid sigmoid_backward silu silu_backward softplus softplus_backward softshrink
    softshrink_backward tanh tanh_backward threshold threshold_backward _log_softmax _log_softmax_backward_data
    _masked_softmax _masked_softmax_backward _prelu_kernel _prelu_kernel_backward _safe_softmax _softmax
    _softmax_backward_data
"""

_REDUCTIONS = """
    amax amin aminmax argmax argmin count_nonzero cummax cummin cumprod cumsum dist hash_tensor histc kthvalue
    linalg_vector_norm logcumsumexp logsumexp max mean median min mode nanmedian nansum norm prod renorm
    segment_reduce sort std std_mean sum topk trace unique_consecutive unique_dim unique_dim_consecutive var var_mean
    _aminmax _cummax_helper _cummin_helper _logcumsumexp _segment_reduce_backward _unique _unique2
"""

_NORMALISATION = """
    batch_norm_backward batch_norm_backward_elemt batch_norm_backward_reduce batch_norm_elemt batch_norm_gather_stats
    batch_norm_gather_stats_with_counts batch_norm_stats batch_norm_update_stats cudnn_batch_norm
    cudnn_batch_norm_backward miopen_batch_norm miopen_batch_norm_backward native_batch_norm
    native_batch_norm_backward native_group_norm native_group_norm_backward native_layer_norm
    native_layer_norm_backward native_norm _batch_norm_no_update _batch_norm_with_update
    _batch_norm_with_update_functional _fused_rms_norm _fused_rms_norm_backward _native_batch_norm_legit
    _native_batch_norm_legit_functional _native_batch_norm_legit_no_training _weight_norm_interface
    _weight_norm_interface_backward
"""

_WINDOWS = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_avg_pool3d_backward adaptive_max_pool2d
    adaptive_max_pool2d_backward adaptive_max_pool3d adaptive_max_pool3d_backward avg_pool1d avg_pool2d
    avg_pool2d_backward avg_pool3d avg_pool3d_backward col2im fractional_max_pool2d fractional_max_pool2d_backward
    fractional_max_pool3d fractional_max_pool3d_backward im2col max_pool2d_backward max_pool2d_with_indices
    max_pool2d_with_indices_backward max_pool3d_with_indices max_pool3d_with_indices_backward max_unpool2d
    max_unpool3d _adaptive_avg_pool2d _adaptive_avg_pool2d_backward _adaptive_avg_pool3d _adaptive_avg_pool3d_backward
"""

_RESIZING = """
    cudnn_grid_sampler cudnn_grid_sampler_backward grid_sampler_2d grid_sampler_2d_backward grid_sampler_3d
    grid_sampler_3d_backward upsample_bicubic2d upsample_bicubic2d_backward upsample_bilinear2d
    upsample_bilinear2d_backward upsample_linear1d upsample_linear1d_backward upsample_nearest1d
    upsample_nearest1d_backward upsample_nearest2d upsample_nearest2d_backward upsample_nearest3d
    upsample_nearest3d_backward upsample_trilinear3d upsample_trilinear3d_backward _upsample_bicubic2d_aa
    _upsample_bicubic2d_aa_backward _upsample_bilinear2d_aa _upsample_bilinear2d_aa_backward _upsample_lanczos2d_aa
    _upsample_lanczos2d_aa_backward _upsample_nearest_exact1d _upsample_nearest_exact1d_backward
    _upsample_nearest_exact2d _upsample_nearest_exact2d_backward _upsample_nearest_exact3d
    _upsample_nearest_exact3d_backward _grid_sampler_2d_cpu_fallback _grid_sampler_2d_cpu_fallback_backward
"""

_RECURRENT_CELLS_AFTER_THEIR_PRODUCTS = """
    _thnn_fused_gru_cell _thnn_fused_gru_cell_backward _thnn_fused_lstm_cell _thnn_fused_lstm_cell_backward_impl
"""

_ATTENTION_WITHOUT_ITS_PRODUCTS = """
    _fill_mem_eff_dropout_mask _fused_sdp_choice _transform_bias_rescale_qkv
"""

_LOSSES = """
    binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits huber_loss huber_loss_backward
    mse_loss mse_loss_backward multi_margin_loss multi_margin_loss_backward multilabel_margin_loss_backward
    multilabel_margin_loss_forward nll_loss2d_backward nll_loss2d_forward nll_loss_backward nll_loss_forward
    smooth_l1_loss smooth_l1_loss_backward soft_margin_loss soft_margin_loss_backward _ctc_loss _ctc_loss_backward
    _cudnn_ctc_loss _use_cudnn_ctc_loss
"""

_OPTIMIZERS = """
    _amp_foreach_non_finite_check_and_unscale _amp_update_scale _foreach_abs _foreach_acos _foreach_add
    _foreach_addcdiv _foreach_addcmul _foreach_asin _foreach_atan _foreach_ceil _foreach_clamp_max _foreach_clamp_min
    _foreach_clone _foreach_copy _foreach_cos _foreach_cosh _foreach_div _foreach_erf _foreach_erfc _foreach_exp
    _foreach_expm1 _foreach_floor _foreach_frac _foreach_lerp _foreach_lgamma _foreach_log _foreach_log10
    _foreach_log1p _foreach_log2 _foreach_max _foreach_maximum _foreach_minimum _foreach_mul _foreach_neg
    _foreach_norm _foreach_pow _foreach_powsum _foreach_reciprocal _foreach_round _foreach_rsqrt _foreach_sigmoid
    _foreach_sign _foreach_sin _foreach_sinh _foreach_sqrt _foreach_sub _foreach_tan _foreach_tanh _foreach_trunc
    _foreach_zero _fused_adagrad _fused_adam _fused_adamw _fused_sgd
"""

FREE = frozenset(
    " ".join(
        (
            _CREATION,
            _RANDOM,
            _VIEWS,
            _COPIES,
            _INDEXING,
            _ARITHMETIC,
            _LOGIC,
            _ACTIVATIONS,
            _REDUCTIONS,
            _NORMALISATION,
            _WINDOWS,
            _RESIZING,
            _RECURRENT_CELLS_AFTER_THEIR_PRODUCTS,
            _ATTENTION_WITHOUT_ITS_PRODUCTS,
            _LOSSES,
            _OPTIMIZERS,
        )
    ).split()
)
