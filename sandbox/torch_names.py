"""The part of torch that a scoring function may name: functions of tensors.

None of it reaches files, processes, compilers or the interpreter.
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


TORCH_FUNCTIONS = _names(
    """
    abs absolute acos acosh add addcdiv addcmul addmm addmv addr all allclose amax amin aminmax
    angle any arange arccos arccosh arcsin arcsinh arctan arctan2 arctanh argmax argmin argsort
    argwhere as_tensor asin asinh atan atan2 atanh atleast_1d atleast_2d atleast_3d baddbmm
    bincount bitwise_and bitwise_not bitwise_or bitwise_xor block_diag bmm broadcast_tensors
    broadcast_to bucketize cartesian_prod cat cdist ceil chain_matmul chunk clamp clamp_max
    clamp_min clip clone column_stack combinations complex concat concatenate conj copysign
    corrcoef cos cosh count_nonzero cov cross cummax cummin cumprod cumsum
    cumulative_trapezoid deg2rad diag diag_embed diagflat diagonal diff digamma dist div divide
    dot dsplit dstack einsum empty empty_like eq equal erf erfc erfinv exp exp2 expand_copy expm1
    eye finfo flatten flip fliplr flipud float_power floor floor_divide fmax fmin fmod frac frexp
    full full_like gather ge geqrf gradient greater greater_equal gt heaviside histc histogram
    hsplit hstack hypot i0 iinfo imag index_add index_copy index_fill index_select inner inverse
    is_complex is_floating_point is_nonzero is_tensor isclose isfinite isin isinf isnan isneginf
    isposinf isreal kron kthvalue ldexp le lerp less less_equal lgamma linspace log log10 log1p
    log2 log_softmax logaddexp logaddexp2 logcumsumexp logdet logical_and logical_not logical_or
    logical_xor logit logspace logsumexp lt manual_seed masked_fill masked_select matmul
    matrix_exp matrix_power max maximum mean median meshgrid min minimum mm mode moveaxis
    movedim msort mul multinomial multiply mv mvlgamma nan_to_num nanmean nanmedian nanquantile
    nansum narrow ne neg negative nextafter no_grad nonzero norm normal not_equal numel ones
    ones_like outer permute pinverse polar polygamma positive pow prod quantile rad2deg rand
    rand_like randint randn randn_like randperm range ravel real reciprocal relu remainder
    renorm repeat_interleave reshape roll rot90 round rsqrt scatter scatter_add scatter_reduce
    searchsorted select sgn sigmoid sign signbit sin sinc sinh slogdet softmax sort split sqrt
    square squeeze stack std std_mean sub subtract sum svd swapaxes swapdims t take
    take_along_dim tan tanh tensor tensor_split tensordot tile topk trace transpose trapezoid
    trapz tril tril_indices triu triu_indices true_divide trunc unbind unflatten unique
    unique_consecutive unravel_index unsqueeze vander var var_mean vdot view_as_complex
    view_as_real vsplit vstack where xlogy zeros zeros_like
    Tensor Size Generator dtype device float float16 float32 float64 double half bfloat16 int
    int8 int16 int32 int64 long short bool uint8 cfloat complex64 inf nan pi e strided
    """
)

SUBMODULES: dict[str, frozenset[str]] = {
    "linalg": _names(
        """
        cholesky cond cross det diagonal eig eigh eigvals eigvalsh inv lstsq lu lu_factor
        matrix_exp matrix_norm matrix_power matrix_rank multi_dot norm pinv qr slogdet solve
        solve_triangular svd svdvals vander vecdot vector_norm
        """
    ),
    "fft": _names("fft ifft rfft irfft fft2 ifft2 rfft2 irfft2 fftshift ifftshift"),
    "special": _names(
        """
        digamma entr erf erfc erfcx erfinv exp2 expit expm1 gammaln i0 i0e i1 i1e log1p
        log_ndtr log_softmax logit logsumexp ndtr ndtri psi round sinc softmax xlog1py xlogy zeta
        """
    ),
    "nn": frozenset({"functional"}),
    "functional": _names(
        """
        avg_pool1d avg_pool2d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d
        adaptive_max_pool2d celu conv1d conv2d cosine_similarity elu fold gelu glu hardsigmoid
        hardswish hardtanh huber_loss interpolate kl_div l1_loss layer_norm leaky_relu log_softmax
        logsigmoid max_pool1d max_pool2d mish mse_loss normalize one_hot pad pairwise_distance
        relu relu6 rms_norm selu sigmoid silu smooth_l1_loss softmax softmin softplus softshrink
        softsign tanh tanhshrink threshold unfold
        """
    ),
}

# What sandbox/worker/toolbox.py offers; a test keeps the two in sync.
TOOLBOX = _names(
    """
    adam damped descend descend_block inverse_cholesky n_m not_worse output_error parts quantiles
    relative_error solve_rows topk
    """
)

MATH_NAMES = _names(
    """
    acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist e erf
    erfc exp exp2 expm1 fabs factorial floor fmod frexp fsum gamma gcd hypot inf isclose isfinite
    isinf isnan isqrt lcm ldexp lgamma log log10 log1p log2 modf nan nextafter perm pi pow prod
    radians remainder sin sinh sqrt tan tanh tau trunc ulp
    """
)

BUILTINS = _names(
    """
    abs all any bool dict divmod enumerate filter float frozenset int isinstance len list map max
    min next pow print range repr reversed round set slice sorted str sum tuple type zip
    True False None ValueError TypeError ArithmeticError ZeroDivisionError KeyError RuntimeError
    Exception IndexError AssertionError NotImplementedError
    """
)

# Attributes of tensors and other objects that have no place in a formula.
FORBIDDEN_ATTRIBUTES = _names(
    """
    numpy tofile tobytes dump dumps data_ptr storage untyped_storage storage_type set_ resize_
    share_memory_ is_shared register_hook register_post_accumulate_grad_hook retain_grad backward
    apply_ map_ map2_ new storage_offset as_strided as_strided_ as_subclass format format_map
    mro cuda to_mkldnn pin_memory record_stream module_load type requires_grad_ grad_fn
    gi_frame gi_code gi_yieldfrom cr_frame cr_code ag_frame ag_code tb_frame tb_next f_back
    f_globals f_locals f_builtins f_code co_code func_globals with_traceback
    """
)
