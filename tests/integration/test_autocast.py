"""Regions of autocast for CUDA, held against torch's own kernels: CUDA's on fake tensors, and the
CPU's on real ones.

The CUDA kernels of `torch.autocast` are in every build of torch, and cast fake tensors that say
they are on a GPU. Only their weight cache cannot run there; the CPU's, which is the same, can.
"""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import srprof
from srprof.tracing.autocast import CUDA_POLICIES, NOTE, Emulation
from srprof.tracing.recorder import Recorder, call_model, recording
from tests.autocast_chains import SHAPE, STEPS, Chain
from tests.cpu_truth import live_bytes
from tests.random_networks import RandomNetwork, random_networks

many = settings(max_examples=60)


@contextlib.contextmanager
def cuda_regions() -> Iterator[None]:
    """torch lets `torch.autocast("cuda")` be entered without a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        yield


class Net(nn.Module):
    """Two convolutions, the first called twice, in a region that the test gives."""

    def __init__(self, region: Any = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.region = region or (lambda x: torch.autocast("cuda"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with self.region(x):
            x = self.first(torch.relu(self.first(x)))
            x = self.second(x)
        return torch.sigmoid(x)


def dtypes(trace: srprof.Trace) -> list[tuple[str, str]]:
    return [(node.op, node.outputs[0].dtype) for node in trace.nodes]


# -- lists --------------------------------------------------------------------------------------


def test_every_call_with_a_cuda_kernel_has_a_policy():
    """Those of the installed torch; a newer one that has more fails here."""
    registered = {
        name.removeprefix("aten::")
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("aten::")
        and torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastCUDA")
    }
    assert registered == set(CUDA_POLICIES)


def _tensors(device: str) -> dict[str, Any]:
    make = {"x": (2, 4), "y": (2, 4), "m": (4, 4), "v": (4,), "w": (4,), "b": (2, 4, 4)}
    make |= {"img": (1, 4, 6, 6), "k": (4, 4, 3, 3), "seq": (1, 4, 6), "k1": (4, 4, 3)}
    make |= {"vol": (1, 4, 6, 6, 6), "k3": (4, 4, 3, 3, 3), "q": (1, 2, 8, 16)}
    make |= {"v3": (2, 3), "tbc": (6, 1, 4)}
    # a fake GPU cannot make a tensor, only take one
    made = {name: torch.rand(shape).to(device) for name, shape in make.items()}
    made["target"] = torch.zeros(2, dtype=torch.long).to(device)
    made["target2d"] = torch.zeros(1, 6, 6, dtype=torch.long).to(device)
    made["ones"] = torch.ones(2).to(device)
    return made | {"torch": torch, "F": F, "aten": torch.ops.aten}


#: Stride, padding, dilation, transposed, output padding and groups.
_CONV = "[1, 1], [1, 1], [1, 1], False, [0, 0], 1"
#: A call of each, in terms of `_tensors`.
CALLS = {
    "_convolution": f"aten._convolution(img, k, v, {_CONV}, False, False, True, True)",
    "_convolution.deprecated": (
        f"aten._convolution.deprecated(img, k, v, {_CONV}, False, False, True)"
    ),
    "conv1d": "F.conv1d(seq, k1, v)",
    "conv2d": "F.conv2d(img, k, v)",
    "conv3d": "F.conv3d(vol, k3, v)",
    "conv_tbc": "torch.conv_tbc(tbc, k1.permute(2, 1, 0), v)",
    "conv_transpose1d": "F.conv_transpose1d(seq, k1, v)",
    "conv_transpose2d.input": "F.conv_transpose2d(img, k, v)",
    "conv_transpose3d.input": "F.conv_transpose3d(vol, k3, v)",
    "convolution": f"torch.convolution(img, k, v, {_CONV})",
    "prelu": "F.prelu(img, v)",
    "addmm": "torch.addmm(x, x, m)",
    "addmv": "torch.addmv(v, m, v)",
    "addr": "torch.addr(m, v, w)",
    "matmul": "b @ m",
    "einsum": "torch.einsum('bij,jk->bik', b, m)",
    "mm": "torch.mm(x, m)",
    "mv": "torch.mv(m, v)",
    "linalg_vecdot": "torch.linalg.vecdot(x, y)",
    "linear": "F.linear(b, m, v)",
    "addbmm": "torch.addbmm(m, b, b)",
    "baddbmm": "torch.baddbmm(b, b, b)",
    "bmm": "torch.bmm(b, b)",
    "chain_matmul": "torch.chain_matmul(x, m, m)",
    "linalg_multi_dot": "torch.linalg.multi_dot([x, m, m])",
    "rnn_tanh_cell": "torch.rnn_tanh_cell(x, x, m, m, v, v)",
    "rnn_relu_cell": "torch.rnn_relu_cell(x, x, m, m, v, v)",
    "_scaled_dot_product_flash_attention": "aten._scaled_dot_product_flash_attention(q, q, q)[0]",
    "scaled_dot_product_attention": "F.scaled_dot_product_attention(q, q, q)",
    **{
        name: f"torch.{name}(x)"
        for name in (
            "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan "
            "nuclear_norm prod sum"
        ).split()
    },
    "pow.Tensor_Scalar": "x ** 2",
    "pow.Tensor_Tensor": "x ** y",
    "pow.Scalar": "2 ** x",
    "softplus": "F.softplus(x)",
    "layer_norm": "F.layer_norm(x, (4,), v, w)",
    "native_layer_norm": "torch.native_layer_norm(x, (4,), v, w, 1e-5)[0]",
    "rms_norm": "F.rms_norm(x, (4,), v)",
    "group_norm": "F.group_norm(img, 2, v, w)",
    "frobenius_norm.dim": "torch.frobenius_norm(x, [0, 1])",
    "nuclear_norm.dim": "torch.nuclear_norm(x, [0, 1])",
    "cosine_similarity": "F.cosine_similarity(x, y)",
    "poisson_nll_loss": "F.poisson_nll_loss(x, y)",
    "cosine_embedding_loss": "F.cosine_embedding_loss(x, y, ones)",
    "nll_loss": "F.nll_loss(x, target)",
    "nll_loss2d": "aten.nll_loss2d(img, target2d)",
    "hinge_embedding_loss": "F.hinge_embedding_loss(x, y)",
    "kl_div": "F.kl_div(x, y, reduction='sum')",
    "l1_loss": "F.l1_loss(x, y)",
    "smooth_l1_loss": "F.smooth_l1_loss(x, y)",
    "huber_loss": "F.huber_loss(x, y)",
    "mse_loss": "F.mse_loss(x, y)",
    "margin_ranking_loss": "F.margin_ranking_loss(v, w, w)",
    "multilabel_margin_loss": "F.multilabel_margin_loss(v, target.new_zeros(4))",
    "soft_margin_loss": "F.soft_margin_loss(x, y)",
    "triplet_margin_loss": "F.triplet_margin_loss(x, y, y)",
    "multi_margin_loss": "F.multi_margin_loss(x, target)",
    "binary_cross_entropy_with_logits": "F.binary_cross_entropy_with_logits(x, y)",
    "dist": "torch.dist(x, y)",
    "pdist": "F.pdist(x)",
    "cdist": "torch.cdist(x, y)",
    "renorm": "torch.renorm(x, 2, 0, 1)",
    "logsumexp": "torch.logsumexp(x, 1)",
    "upsample_nearest1d": "F.interpolate(seq, 9)",
    "_upsample_nearest_exact1d": "F.interpolate(seq, 9, mode='nearest-exact')",
    "upsample_nearest2d": "F.interpolate(img, 9)",
    "_upsample_nearest_exact2d": "F.interpolate(img, 9, mode='nearest-exact')",
    "upsample_nearest3d": "F.interpolate(vol, 9)",
    "_upsample_nearest_exact3d": "F.interpolate(vol, 9, mode='nearest-exact')",
    "upsample_linear1d": "F.interpolate(seq, 9, mode='linear')",
    "upsample_bilinear2d": "F.interpolate(img, 9, mode='bilinear')",
    "_upsample_bilinear2d_aa": "F.interpolate(img, 9, mode='bilinear', antialias=True)",
    "upsample_trilinear3d": "F.interpolate(vol, 9, mode='trilinear')",
    "upsample_bicubic2d": "F.interpolate(img, 9, mode='bicubic')",
    "_upsample_bicubic2d_aa": "F.interpolate(img, 9, mode='bicubic', antialias=True)",
    "prod.dim_int": "x.prod(1)",
    "softmax.int": "x.softmax(1)",
    "log_softmax.int": "x.log_softmax(1)",
    "cumprod": "x.cumprod(1)",
    "cumsum": "x.cumsum(1)",
    "linalg_vector_norm": "torch.linalg.vector_norm(x)",
    "linalg_matrix_norm": "torch.linalg.matrix_norm(m, 1)",
    "linalg_matrix_norm.str_ord": "torch.linalg.matrix_norm(m, 'fro')",
    "sum.dim_IntList": "x.sum(1)",
    "norm.Scalar": "aten.norm.Scalar(x, 2)",
    "norm.ScalarOpt_dim": "aten.norm.ScalarOpt_dim(x, 2, [1], False)",
    "addcdiv": "torch.addcdiv(x, x, y)",
    "addcmul": "torch.addcmul(x, x, y)",
    "atan2": "torch.atan2(x, y)",
    "bilinear": "F.bilinear(x, y, b, ones)",
    "cross": "torch.cross(v3, v3, dim=1)",
    "dot": "torch.dot(v, w)",
    "vdot": "torch.vdot(v, w)",
    "index_put": "torch.index_put(x, (target,), y)",
    "tensordot": "torch.tensordot(x, m, 1)",
    "scatter_add": "torch.scatter_add(x, 0, target.view(2, 1), y)",
}  # fmt: skip
#: What needs CUDA's own code even for fake tensors, and what is refused.
NOT_CALLED = {
    "cudnn_convolution",
    "cudnn_convolution_transpose",
    "_thnn_fused_lstm_cell",
    "_thnn_fused_gru_cell",
    "lstm_cell",
    "gru_cell",
    "grid_sampler",
    "binary_cross_entropy",
}


class Casts(TorchDispatchMode):
    """The dtypes that casts go from and to, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[torch.dtype, torch.dtype]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.made.append((args[0].dtype, result.dtype))
        return result


def _outcome(call: str, device: str, some: torch.dtype, lower: torch.dtype) -> Any:
    """The casts of a call in a region and its result's dtype, or the error's type.

    Every second operand has another dtype than float32.
    """
    values = _tensors(device)
    for i, (name, value) in enumerate(values.items()):
        if isinstance(value, torch.Tensor) and value.is_floating_point() and i % 2:
            values[name] = value.to(some)
    casts = Casts()
    with cuda_regions(), torch.no_grad(), torch.autocast("cuda", dtype=lower), casts:
        try:
            result = eval(call, values)
        except RuntimeError as error:
            return type(error)
    return casts.made, result.dtype


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", sorted(CUDA_POLICIES.keys() - NOT_CALLED))
def test_a_call_casts_as_torchs_cuda_kernel_does(name: str):
    """With float32 operands alone, and with those of another dtype among them."""
    kinds = [(some, torch.float16) for some in (torch.float32, torch.float16, torch.float64)]
    kinds += [(torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float16)]
    for some, lower in kinds:
        with Emulation("meta").active():
            ours = _outcome(CALLS[name], "meta", some, lower)
        with FakeTensorMode(allow_non_fake_inputs=True):
            theirs = _outcome(CALLS[name], "cuda:0", some, lower)
        assert ours == theirs, (some, lower)


# -- random chains against CUDA's kernels ---------------------------------------------------------


#: Each takes an image of 4 channels and an older one, and gives an image like the first.
@many
@given(
    st.lists(st.sampled_from(STEPS), min_size=1, max_size=12),
    st.sampled_from([torch.float16, torch.bfloat16]),
)
def test_random_networks_make_the_calls_of_torchs_cuda_kernels(
    steps: list[str], lower: torch.dtype
):
    """The same calls, dtypes, casts and live bytes, in the same order."""
    model = Chain(steps, lower, cached=False)
    ours = srprof.trace(model, SHAPE, trace_on="meta")
    with cuda_regions():
        theirs = srprof.trace(model, SHAPE, trace_on="cuda-fake")
    assert [call(node) for node in ours.nodes] == [call(node) for node in theirs.nodes]


def call(node: srprof.records.Node) -> tuple[Any, ...]:
    operands = [(i.dtype, i.shape) for i in node.inputs]
    results = [(o.dtype, o.shape) for o in node.outputs]
    return node.op, operands, results, node.live


# -- the weight cache and real memory, against the CPU's kernels ----------------------------------

_CPU_LOWER = """
conv1d conv1d.padding conv2d conv2d.padding conv3d conv3d.padding bmm mm linalg_vecdot baddbmm
addmm _addmm_activation addbmm linear _convolution.deprecated matmul conv_tbc mkldnn_rnn_layer
conv_transpose1d conv_transpose2d.input conv_transpose3d.input prelu scaled_dot_product_attention
_native_multi_head_attention
"""
_CPU_PROMOTE = "stack cat index_copy index_copy.dimname"


def cpu_policies() -> dict[str, Any]:
    """The CPU's lists: what is neither lower nor promoted has a kernel that takes float32."""
    policies: dict[str, Any] = {
        name.removeprefix("aten::"): "float32"
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("aten::")
        and torch._C._dispatch_has_kernel_for_dispatch_key(name, "AutocastCPU")
    }
    policies |= dict.fromkeys(policies.keys() & set(_CPU_LOWER.split()), "lower")
    return policies | dict.fromkeys(policies.keys() & set(_CPU_PROMOTE.split()), "promote")


class InRegion(nn.Module):
    """A network called twice in one region."""

    def __init__(self, body: nn.Module, device: str) -> None:
        super().__init__()
        self.body, self.device = body, device

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast(self.device, dtype=torch.bfloat16):
            first = self.body(x)
            with torch.autocast(self.device, enabled=False):
                x = x * 2
            second = self.body(x)
        return first, second


def nodes_of(model: nn.Module, image: torch.Tensor) -> tuple[srprof.records.Node, ...]:
    """One real run on the CPU, recorded."""
    model.eval()
    recorder = Recorder(model, "cpu")
    recorder.add_inputs([image], {})
    gc.collect()
    gc.disable()
    try:
        with recording(recorder):
            result = call_model(model, [image], {})
        return recorder.finish(result)
    finally:
        gc.enable()


@settings(many, max_examples=25)
@given(random_networks())
def test_casts_and_the_weight_cache_take_what_the_cpu_allocator_says(network: RandomNetwork):
    """The emulation with the CPU's lists: its calls, dtypes and live bytes are torch's own."""
    image = torch.rand(network.shape)
    _, live = live_bytes(InRegion(network.build(), "cpu"), image)
    theirs = nodes_of(InRegion(network.build(), "cpu"), image.clone())
    with cuda_regions(), Emulation("cpu", cpu_policies()).active():
        ours = nodes_of(InRegion(network.build(), "cuda"), image.clone())
    assert [call(node) for node in ours] == [call(node) for node in theirs]
    assert [node.live - image.nbytes for node in ours] == live


# -- regions ------------------------------------------------------------------------------------


def traced(region: Callable[[torch.Tensor], Any], **options: Any) -> srprof.Trace:
    trace = srprof.trace(Net(region), SHAPE, **options)
    assert trace.device == options.get("trace_on", "meta")
    return trace


HALF_CALLS = [
    *[("_to_copy", "float16")] * 3,
    *[("convolution", "float16"), ("relu", "float16"), ("convolution", "float16")],
    *[("_to_copy", "float16")] * 2,
    *[("convolution", "float16"), ("sigmoid", "float16")],
]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.cuda.amp's own
@pytest.mark.parametrize(
    "region",
    [
        lambda x: torch.autocast("cuda"),
        lambda x: torch.autocast(device_type="cuda", dtype=torch.float16),
        lambda x: torch.amp.autocast("cuda"),
        lambda x: torch.cuda.amp.autocast(),
        lambda x: torch.autocast(x.device.type),
    ],
)
def test_each_way_to_write_a_region(region: Callable[[torch.Tensor], Any]):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trace = traced(region)
    assert dtypes(trace) == HALF_CALLS
    assert trace.notes == (NOTE,)


@pytest.mark.parametrize(
    "region",
    [
        lambda x: torch.autocast("cuda", enabled=False),
        lambda x: torch.autocast("cpu"),
        lambda x: contextlib.nullcontext(),
    ],
)
def test_a_region_that_does_not_cast_on_a_gpu(region: Callable[[torch.Tensor], Any]):
    trace = traced(region)
    assert {dtype for _, dtype in dtypes(trace)} == {"float32"}
    assert trace.notes == ()


DECORATED = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)

    @torch.autocast("cuda", dtype=torch.bfloat16)
    def forward(self, x):
        return self.body(x)
"""


def test_a_decorated_function(tmp_path: Any):
    """It is decorated when its file is imported, which the trace does."""
    file = tmp_path / "net.py"
    file.write_text(DECORATED)
    trace = srprof.trace(f"{file}:Net", (1, 3, 8, 8))
    assert dtypes(trace)[-1] == ("convolution", "bfloat16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch decorates as asked")
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_function_decorated_before_the_trace_says_that_nothing_was_cast():
    scope: dict[str, Any] = {}
    exec(DECORATED, scope)
    trace = srprof.trace(scope["Net"](), (1, 3, 8, 8))
    assert dtypes(trace) == [("convolution", "float32")]
    (note,) = trace.notes
    assert "file.py:Factory" in note


def test_copies_of_weights_live_until_the_outermost_region_ends():
    def nested(self: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cuda"):
            with torch.autocast("cuda"):
                x = self.conv(x)
            x = torch.relu(x)
        return torch.relu(x)

    trace = srprof.trace(Steps(nested), SHAPE)
    ops = [node.op for node in trace.nodes]
    assert ops == ["_to_copy", "_to_copy", "_to_copy", "convolution", "relu", "relu"]
    deaths = {s.nbytes: s.death for s in trace.storages if s.birth in (0, 1, 2)}
    assert deaths == {
        4 * 2: 5,  # bias: there at the end of the first relu, gone at that of the one outside
        4 * 4 * 9 * 2: 5,
        4 * 8 * 8 * 2: 4,  # the image: gone after the convolution
    }


class Steps(nn.Module):
    """One convolution, used as the test says."""

    def __init__(self, steps: Callable[[Any, torch.Tensor], Any], cached: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.steps = steps
        self.requires_grad_(cached)

    def forward(self, x: torch.Tensor) -> Any:
        return self.steps(self, x)


def casts(steps: Callable[[Any, torch.Tensor], Any], cached: bool = True) -> int:
    trace = srprof.trace(Steps(steps, cached), SHAPE)
    return sum(node.op == "_to_copy" for node in trace.nodes)


def twice(region: Any) -> Callable[[Any, torch.Tensor], Any]:
    def steps(self: Any, x: torch.Tensor) -> Any:
        with region():
            return self.conv(self.conv(x))

    return steps


def test_what_the_weight_cache_takes():
    """The image is cast once; weight and bias once or, without the cache, twice."""
    assert casts(twice(lambda: torch.autocast("cuda"))) == 3
    assert casts(twice(lambda: torch.autocast("cuda")), cached=False) == 5
    assert casts(twice(lambda: torch.autocast("cuda", cache_enabled=False))) == 5


def test_a_second_region_casts_anew():
    def steps(self: Any, x: torch.Tensor) -> Any:
        for _ in range(2):
            with torch.autocast("cuda"):
                x = self.conv(x)
        return x

    assert casts(steps) == 5


def test_inference_mode_makes_the_same_calls():
    def steps(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda"):
            x = self.conv(x)
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
            return torch.linalg.vector_norm(torch.einsum("bchw,bdhw->bdhw", x, x), dim=1)

    model = Steps(steps)
    plain = srprof.trace(model, SHAPE)
    model.steps = torch.inference_mode()(steps)
    assert dtypes(srprof.trace(model, SHAPE)) == dtypes(plain)


def test_the_code_sees_the_region_that_it_is_in():
    def steps(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            region = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
            if region != (True, torch.bfloat16):
                raise AssertionError(region)
            return self.conv(x)

    assert srprof.trace(Steps(steps), SHAPE).nodes


def test_attention_is_flash_in_half_precision():
    def steps(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda"):
            return F.scaled_dot_product_attention(x, x, x)

    trace = srprof.trace(Steps(steps), (1, 4, 64, 32))
    assert "_scaled_dot_product_flash_attention" in [node.op for node in trace.nodes]


def test_the_graph_has_the_casts():
    trace = traced(lambda x: torch.autocast("cuda"))
    trace.graph.lint()
    copies = [n for n in trace.graph.nodes if n.target is torch.ops.aten._to_copy.default]
    assert len(copies) == 5


def test_a_run_on_the_cpu_is_torchs_own():
    trace = traced(lambda x: torch.autocast("cpu", dtype=torch.bfloat16), trace_on="cpu")
    assert "bfloat16" in {dtype for _, dtype in dtypes(trace)}
    assert NOTE not in trace.notes


def test_a_model_that_falls_back_to_the_cpu_says_that_nothing_is_cast():
    def steps(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda"):
            return self.conv(x) * float(x.mean())

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trace = srprof.trace(Steps(steps), SHAPE)
    assert trace.device == "cpu"
    assert any("cast nothing here" in note for note in trace.notes)


# -- what is wrong, and what is left behind ---------------------------------------------------


def test_torchs_own_refusals_are_the_models_error():
    def dtypes_that_do_not_go_together(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda", dtype=torch.float16):
            x = x.bfloat16()
            return torch.addcmul(x, x, x)

    def banned(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda"):
            return F.binary_cross_entropy(x, x)

    def other_dtype_than_the_cached_copy(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda", dtype=torch.float16):
            self.conv(x)
            with torch.autocast("cuda", dtype=torch.bfloat16):
                return self.conv(x)

    for steps, message in (
        (dtypes_that_do_not_go_together, "Unexpected floating ScalarType"),
        (banned, "unsafe to autocast"),
        (other_dtype_than_the_cached_copy, "should be the same"),
    ):
        with pytest.raises(srprof.ModelError, match=message) as caught:
            srprof.trace(Steps(steps), SHAPE)
        assert "\n" not in str(caught.value)
        assert f"in {steps.__name__}" in str(caught.value) or "test_autocast" in str(caught.value)


def torch_as_it_is() -> list[Any]:
    region = torch.amp.autocast_mode.autocast
    return [
        region.__init__,
        region.__enter__,
        torch.clear_autocast_cache,
        torch.cuda.amp.common.amp_definitely_not_available,
        torch.cuda.is_available,
        torch.cuda._lazy_init,
        torch.is_autocast_enabled("cuda"),
        torch.get_autocast_dtype("cuda"),
        str(torch._C._dispatch_tls_local_include_set()),
        str(torch._C._dispatch_tls_local_exclude_set()),
    ]


@pytest.mark.parametrize("raises", [False, True])
def test_torch_is_left_as_it_was(raises: bool):
    def steps(self: Any, x: torch.Tensor) -> Any:
        with torch.autocast("cuda"):
            x = self.conv(x)
            if raises:
                raise ValueError("no")
            return x

    before = torch_as_it_is()
    with contextlib.suppress(srprof.ModelError):
        srprof.trace(Steps(steps), SHAPE)
    assert torch_as_it_is() == before
    x = torch.rand(SHAPE)
    assert torch.matmul(x, x).dtype is torch.float32
