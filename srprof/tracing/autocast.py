"""`torch.autocast("cuda")` on tensors that are on no GPU.

torch casts in kernels that stand before autograd and take CUDA tensors only; a meta tensor gets
past them. The kernels here do the same by the same rules, under a dispatch key that belongs to a
device nobody has (Graphcore's IPU) and that is switched on for the length of a run. So they see
each call at the same place as torch's own would: a composite function that is on no list, and the
listed calls that it makes inside.

Rules and lists are those of torch's `aten/src/ATen/autocast_mode.h`; tests hold them against the
CUDA kernels of the installed torch, which run on fake tensors without a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from srprof.running import replaced

NOTE = "torch.autocast for CUDA is emulated: its casts follow CUDA's lists"

Policy = Literal["lower", "float32", "float32_result", "float32_norm", "promote", "banned"]

#: Every call with a kernel of CUDA's autocast, by `name` or `name.overload`.
_CALLS: dict[Policy, str] = {
    "lower": """
        _convolution _convolution.deprecated conv1d conv2d conv3d conv_tbc conv_transpose1d
        conv_transpose2d.input conv_transpose3d.input convolution cudnn_convolution
        cudnn_convolution_transpose prelu addmm addmv addr matmul einsum mm mv linalg_vecdot linear
        addbmm baddbmm bmm chain_matmul linalg_multi_dot _thnn_fused_lstm_cell _thnn_fused_gru_cell
        lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell _scaled_dot_product_flash_attention
        scaled_dot_product_attention""",
    "float32": """
        acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan
        pow.Tensor_Scalar pow.Tensor_Tensor pow.Scalar softplus layer_norm native_layer_norm
        rms_norm group_norm frobenius_norm.dim nuclear_norm nuclear_norm.dim cosine_similarity
        poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div
        l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss multilabel_margin_loss
        soft_margin_loss triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits dist
        pdist cdist renorm logsumexp upsample_nearest1d _upsample_nearest_exact1d upsample_nearest2d
        _upsample_nearest_exact2d upsample_nearest3d _upsample_nearest_exact3d upsample_linear1d
        upsample_bilinear2d _upsample_bilinear2d_aa upsample_trilinear3d upsample_bicubic2d
        _upsample_bicubic2d_aa""",
    "float32_result": """
        prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm
        linalg_matrix_norm linalg_matrix_norm.str_ord sum sum.dim_IntList""",
    "float32_norm": "norm.Scalar norm.ScalarOpt_dim",
    "promote": """
        addcdiv addcmul atan2 bilinear cross dot vdot grid_sampler index_put tensordot
        scatter_add""",
    "banned": "binary_cross_entropy",
}
CUDA_POLICIES: Mapping[str, Policy] = {
    name: policy for policy, names in _CALLS.items() for name in names.split()
}

_KEY_NAME = "AutocastIPU"
_KEY = getattr(torch._C.DispatchKey, _KEY_NAME)
_KEYS = torch._C.DispatchKeySet(_KEY)
_aten = torch.ops.aten
#: What `norm` becomes, so that its result can be float32.
_WITH_DTYPE = {
    _aten.norm.Scalar: _aten.norm.ScalarOpt_dtype,
    _aten.norm.ScalarOpt_dim: _aten.norm.ScalarOpt_dim_dtype,
}
#: CUDA's softmax reads half precision and writes float32 at once.
_HALF_TO_FLOAT = {
    getattr(_aten, name).int: getattr(_aten, f"_{name}").default
    for name in ("softmax", "log_softmax")
}

#: The emulation that is active; the registered kernels ask it.
_active: Emulation | None = None
#: Calls that have a kernel under our key, and what keeps the kernels registered.
_registered: set[str] = set()
_libraries: list[torch.library.Library] = []


class Emulation:
    """Autocast for the tensors of one device type, while its regions for CUDA are on.

    Args:
        device: type of the device whose tensors are cast.
        policies: what is done with which call.

    Attributes:
        used: whether a tensor was cast.
    """

    def __init__(self, device: str, policies: Mapping[str, Policy] = CUDA_POLICIES) -> None:
        self.device = device
        self.policies = policies
        self.used = False
        self._on = False  # torch's own flag reads as off inside dispatch modes
        self._inside = False
        self._copies: dict[int, tuple[weakref.ref[Tensor], Tensor]] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Switch the kernels on; regions work from here on as they do for CUDA tensors."""
        global _active  # noqa: PLW0603  (kernels are registered once for the process)
        _register(self.policies)
        outer, _active = _active, self
        clear, enable = torch.clear_autocast_cache, torch.set_autocast_enabled

        def clear_both() -> None:
            self._copies.clear()
            clear()

        def enable_both(*args: Any) -> None:
            enable(*args)
            self._on = torch.is_autocast_enabled("cuda")

        functions = {"clear_autocast_cache": clear_both, "set_autocast_enabled": enable_both}
        self._on = torch.is_autocast_enabled("cuda")
        try:
            with replaced((torch, *item) for item in functions.items()), _switched_on():
                yield
        finally:
            self._copies.clear()
            _active = outer

    def resumed(self) -> AbstractContextManager[None]:
        """Inside a dispatch mode, which switches autocast off: on again for the calls in a call.

        Not if that call was cast itself; then torch makes its inner calls as they are.
        """
        return nullcontext() if self._inside else _switched_on()

    def call(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, object]) -> Any:
        """A listed call, with its operands cast if a region is on."""
        policy = self.policies.get(name)
        if policy is None or self._inside or not self._on:
            return func(*args, **kwargs)
        self._inside = True
        try:
            func, args, kwargs = self._cast_call(policy, func, args, kwargs)
            return func(*args, **kwargs)
        finally:
            self._inside = False

    def cast_to_lower(self, *values: Any) -> tuple[Any, ...]:
        """Operands as the calls of the lower precision get them."""
        if not self._on:
            return values
        return tuple(self._cast(value, torch.get_autocast_dtype("cuda")) for value in values)

    def _cast_call(
        self, policy: Policy, func: Any, args: tuple[Any, ...], kwargs: dict[str, object]
    ) -> tuple[Any, tuple[Any, ...], dict[str, object]]:
        if policy == "banned":
            raise RuntimeError(
                f"{func.name()} is unsafe to autocast: take the form with logits, as torch says"
            )
        if policy == "float32_norm":
            dtype = torch.float32 if self._eligible(args[0]) else args[0].dtype
            left_out = [argument.default_value for argument in func._schema.arguments[len(args) :]]
            return _WITH_DTYPE[func], (*args, *left_out), {"dtype": dtype}
        if policy == "float32_result":
            return self._with_float32_result(func, args, kwargs)
        dtype = torch.float32 if policy == "float32" else torch.get_autocast_dtype("cuda")
        if policy == "promote":
            dtype = self._widest((args, kwargs), dtype)
        # as the C++ of torch's Linux wheels has it, which goes through a call's operands backwards
        cast_kwargs = {key: self._cast(kwargs[key], dtype) for key in reversed(kwargs)}
        return func, tuple(self._cast(value, dtype) for value in reversed(args))[::-1], cast_kwargs

    def _with_float32_result(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, object]
    ) -> tuple[Any, tuple[Any, ...], dict[str, object]]:
        """Ask for a float32 result where the caller asked for no dtype."""
        names = [argument.name for argument in func._schema.arguments]
        given = dict(zip(names, args, strict=False)) | kwargs
        if not self._eligible(args[0]) or given.get("dtype") is not None:
            return func, args, kwargs
        self.used = True
        fused = _HALF_TO_FLOAT.get(func)
        if fused is not None and args[0].dtype is torch.float16:
            return fused, (args[0], given["dim"], True), {}
        args = args[: names.index("dtype")]
        return func, args, {**kwargs, "dtype": torch.float32}

    def _eligible(self, value: Any) -> bool:
        return (
            isinstance(value, Tensor)
            and value.device.type == self.device
            and value.is_floating_point()
            and value.dtype is not torch.float64
        )

    def _widest(self, values: Any, lower: torch.dtype) -> torch.dtype:
        """The dtype of a call that promotes: float32 from the first operand on that has it."""
        dtypes: list[torch.dtype] = [t.dtype for t in tree_leaves(values) if self._eligible(t)]
        for dtype in dtypes:
            if dtype is torch.float32:
                return dtype
            if dtype != lower:
                raise RuntimeError("Unexpected floating ScalarType in at::autocast::prioritize")
        return lower

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(self._cast(item, dtype) for item in value)
        if not self._eligible(value) or value.dtype is dtype:
            return value
        self.used = True
        keeps = (
            dtype is torch.get_autocast_dtype("cuda")
            and value.dtype is torch.float32
            and value.requires_grad
            and value.is_leaf
            and not value._is_view()
            and torch.is_autocast_cache_enabled()
        )
        if not keeps:
            return value.to(dtype)
        source, copy = self._copies.get(id(value), (None, None))
        if source is None or source() is not value:
            with torch.enable_grad():  # the copy outlives a `no_grad` that it is made in
                copy = value.to(dtype)
            self._copies[id(value)] = weakref.ref(value), copy
        return copy


def emulation() -> Emulation | None:
    """The emulation that is active, if one is."""
    return _active


def overload(name: str) -> Any:
    """The ATen call `name` or `name.overload`."""
    packet, _, which = name.partition(".")
    return getattr(getattr(_aten, packet), which or "default")


def _register(policies: Mapping[str, Policy]) -> None:
    """Give each call a kernel under our key, once for the process; torch's own stay as they are."""
    if not _libraries:
        library = torch.library.Library("_", "IMPL", _KEY_NAME)
        library.fallback(torch.library.fallthrough_kernel)
        calls = torch.library.Library("aten", "IMPL", _KEY_NAME)
        _libraries.extend((library, calls))
    for name in policies.keys() - _registered:
        func = overload(name)
        _libraries[1].impl(func, partial(_kernel, func, name))
        _registered.add(name)


def _kernel(func: Callable[..., Any], name: str, *args: Any, **kwargs: Any) -> Any:
    with torch._C._ExcludeDispatchKeyGuard(_KEYS):
        if _active is None:
            return func(*args, **kwargs)
        return _active.call(func, name, args, kwargs)


@contextmanager
def _switched_on() -> Iterator[None]:
    """Calls pass our kernels first, whatever device their tensors are on."""
    with torch._C._IncludeDispatchKeyGuard(_KEY), torch._C._SetExcludeDispatchKeyGuard(_KEY, False):
        yield
