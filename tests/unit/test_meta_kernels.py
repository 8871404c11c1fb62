"""Every shortcut gives what torch gives, on meta and on the CPU, or leaves the call to torch."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from srprof.meta_kernels import SHORTCUTS, shortcut

aten = torch.ops.aten


def images(device):
    """Images of every layout that a network makes."""
    for dtype in (torch.float32, torch.float16):
        plain = torch.zeros(2, 12, 18, 16, dtype=dtype, device=device)
        yield "plain", plain
        yield "one image", plain[:1]
        yield "some channels", torch.zeros(2, 16, 18, 16, dtype=dtype, device=device)[:, 2:14]
        yield "channels last", plain.contiguous(memory_format=torch.channels_last)
        yield "permuted", plain.permute(0, 1, 3, 2)
        yield "cropped", plain[:, :, 1:9, 1:9]
        yield "heads", torch.zeros(2, 18, 3, 16, 12, dtype=dtype, device=device).movedim(2, 0)[1]
        yield "expanded", plain[:, :1].expand(2, 12, 18, 16)
        yield "1x1", torch.zeros(2, 12, 1, 1, dtype=dtype, device=device)
    yield "integers", torch.zeros(2, 12, 18, 16, dtype=torch.int64, device=device)
    yield "one channel", torch.zeros(2, 1, 18, 16, device=device)
    yield "tokens", torch.zeros(2, 12, 18, device=device)


def calls(image):
    """Calls of every shortcut with this image."""
    channels = image.shape[1]
    for func in SHORTCUTS:
        name = str(func)
        if name.startswith("aten.addmm"):
            rows = image.flatten(1)
            weight = rows.new_zeros(5, rows.shape[1])
            for left in (rows, rows[:, ::2]):
                yield func, (rows.new_zeros(5), left, weight.t()), {}
            yield func, (rows.new_zeros(rows.shape[0], 5), rows, weight.t()), {}
            yield func, (rows.new_zeros(1), rows, weight.t().contiguous()), {"beta": 2}
        elif name.startswith(("aten.addc", "aten.lerp")):
            last = (0.5,) if "lerp" in name else (image.clone(),)
            yield func, (image, image.clone(), *last), {}
            yield func, (image, image[:1], *last), {}
            yield func, (image[:1], image, *last), {}
            yield func, (image, image.transpose(1, -1).contiguous().transpose(1, -1), *last), {}
        elif name.endswith("_backward.default") and "norm" not in name:
            rest = (0.1, False) if "leaky" in name else ()
            for gradient in (image.clone(), image[:1], image.transpose(-1, -2).contiguous()):
                yield func, (gradient, image, *rest), {}
                yield func, (image, gradient, *rest), {}
        elif name.startswith(("aten.add", "aten.sub", "aten.mul", "aten.div")):
            yield func, (image, image.clone()), {}
            yield func, (image, image[:1]), {}
            yield func, (image, image.new_zeros(image.shape[-1:])), {}
            for smaller in (image[:, :, :1], image[:, :1], image[:1, :, :1].contiguous()):
                yield func, (image, smaller), {}
                yield func, (smaller, image), {}
                yield func, (smaller.contiguous(), image), {}
            yield func, (image.new_zeros(channels, *(1 for _ in image.shape[2:])), image), {}
            yield func, (image.new_zeros(2, *(1 for _ in image.shape)), image), {}
            yield func, (image.new_zeros(()), image), {}
            yield func, (image, image.new_zeros((), dtype=torch.float64)), {}
            yield func, (image, image.new_zeros(5)), {}
        elif name.startswith(("aten.mean", "aten.sum", "aten.am", "aten.std", "aten.var")):
            for dims in ([-1, 2], [1], [0, 1], [-1, -1], [0, 1, 2], []):
                yield func, (image, dims), {"keepdim": True}
                yield func, (image, dims), {}
        elif name.startswith("aten.mm"):
            rows = image.flatten(1)
            yield func, (rows, rows.t()), {}
            yield func, (rows.t(), rows), {}
            yield func, (rows, rows), {}
        elif name.startswith("aten.bmm"):
            rows = image.flatten(2)
            yield func, (rows, rows.transpose(1, 2)), {}
            yield func, (rows, rows), {}
        elif name.startswith("aten._softmax"):
            yield func, (image, -1, False), {}
            yield func, (image, 1, True), {}
            yield func, (image, 4, False), {}
        elif name.startswith("aten.complex"):
            yield func, (image, image), {}
            yield func, (image, image[:1]), {}
            yield func, (image.mT, image.mT.contiguous()), {}
            yield func, (image, image.to(torch.float64)), {}
        elif name.startswith("aten._fft"):
            for dims in ([2, 3], [3], [1, 2, 3], [3, 2], [0, 1], [-2, -1]):
                if "r2c" in name:
                    yield func, (image, dims, 0, True), {}
                    yield func, (image, dims, 0, False), {}
                else:
                    for last in (30, 2 * image.shape[-1] - 1):
                        yield func, (image.to(torch.complex64), dims, 2, last), {}
                        yield func, (image, dims, 2, last), {}
        elif name.startswith("aten.roll"):
            yield func, (image, [1, -2], [1, -1]), {}
            yield func, (image, [1]), {}
        elif name.startswith("aten.index"):
            rows = torch.zeros(3, 5, dtype=torch.int64, device=image.device)
            yield func, (image, [rows]), {}
            yield func, (image, [rows.t()]), {}
            yield func, (image, [rows[0, :1], rows]), {}
            yield func, (image, [rows > 0]), {}
        elif name.startswith("aten.eye"):
            sides = (5,) if name.endswith("default") else (5, image.shape[1])
            yield func, sides, {"dtype": image.dtype, "device": image.device}
        elif name.startswith("aten.native_layer_norm"):
            for sides in (list(image.shape[-1:]), list(image.shape[1:]), [3]):
                weight = image.new_ones(sides)
                yield func, (image, sides, weight, weight, 1e-5), {}
                yield func, (image, sides, weight, None, 1e-5), {}
            yield func, (image, list(image.shape[-1:]), None, None, 1e-5), {}
        elif name.startswith("aten.convolution"):
            for size, groups, stride in itertools.product((1, 3), (1, 3), (1, 2)):
                weight = torch.zeros(
                    6, max(channels // groups, 1), size, size, dtype=image.dtype,
                    device=image.device,
                )  # fmt: skip
                turned = torch.zeros(
                    channels, 6 // groups, size, size, dtype=image.dtype, device=image.device
                )
                for transposed, kernel in ((False, weight), (True, turned)):
                    for formatted in (kernel, kernel.to(memory_format=torch.channels_last)):
                        rest = ([stride] * 2, [size // 2] * 2, [1, 1], transposed, [0, 0], groups)
                        yield func, (image, formatted, None, *rest), {}
        elif name.startswith("aten.native_batch_norm_backward"):
            weights = [image.new_ones(channels) for _ in range(5)]
            for gradient in (image.clone(), image.new_zeros(image.shape), image[:1]):
                for wanted in ([True] * 3, [True, False, True]):
                    yield func, (gradient, image, *weights, True, 1e-5, wanted), {}
        elif name.startswith("aten.native_batch_norm"):
            weights = [image.new_ones(channels) for _ in range(4)]
            yield func, (image, *weights, False, 0.1, 1e-5), {}
            yield func, (image, *weights, True, 0.1, 1e-5), {}
            yield func, (image, None, None, *weights[2:], False, 0.1, 1e-5), {}
        elif name.startswith("aten.upsample") and name.endswith("vec"):
            yield func, (image, [20, 20], False, None), {}
            yield func, (image, None, False, [2.0, 2.0]), {}
        elif name.startswith("aten.upsample"):
            yield func, (image, [20, 20], False), {}
        elif name.startswith("aten.pixel_shuffle"):
            yield func, (image, 2), {}
            yield func, (image, 5), {}
        elif name.startswith("aten.max_pool2d"):
            yield func, (image, [7, 7], [3, 3]), {}
            yield func, (image, [2]), {}
            yield func, (image, [7, 7], [7, 7], [1, 1]), {}
        elif name.startswith("aten.cat"):
            yield func, ([image, image], 1), {}
            yield func, ([image, image, image[:, :1]], -3), {}
            yield func, ([image, image[:1]],), {}
            turned = image.transpose(1, -1).contiguous().transpose(1, -1)
            yield func, ([image, turned], 1), {}
            yield func, ([turned, turned], 1), {}
        elif "attention" in name:
            continue  # not on a CPU: tests/integration/test_attention.py
        elif name.startswith("aten.masked_fill"):
            yield func, (image, image != 0, 3.0), {}
            yield func, (image, image[:1] != 0, 3.0), {}
        elif name.endswith("Scalar"):
            yield func, (image, 3), {}
        elif name.endswith("Tensor"):
            yield func, (image, image[:1]), {}
        elif "clamp" in name:
            yield func, (image, 0, 1), {}
        else:
            yield func, (image,), {}


def run(func, args, kwargs):
    """The call's result as shapes, dtypes and strides; the kind of error if it raises."""
    try:
        result = func(*args, **kwargs)
    except (RuntimeError, IndexError, NotImplementedError):
        return "raises"
    return describe(result)


def describe(result):
    tensors = result if isinstance(result, tuple) else (result,)
    return [(tuple(t.shape), t.dtype, layout(t), t.untyped_storage().nbytes()) for t in tensors]


def layout(tensor):
    """Strides of the sides longer than 1; the others mean nothing."""
    return tuple(s for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1)


def differs_from_cuda(func, args):
    """Where torch's own kernel for meta is wrong, and the CPU does as CUDA.

    Its convolutions forget channels-last, and its batch norm saves statistics as in training.
    """
    if func is aten.native_batch_norm.default:
        return True
    if func is not aten.convolution.default:
        return False
    real = run(func, args, {})
    return real != "raises" and real[0][2] != run(func, meta(args), {})[0][2]


def differs_from_cpu(func, args):
    """Whether only the CPU keeps an image's format."""
    if func is not aten.pixel_shuffle.default:
        return False
    return not args[0].is_contiguous() and run(func, args, {}) != run(func, meta(args), {})


def meta(value):
    if isinstance(value, torch.Tensor):
        twin = torch.empty(value.untyped_storage().nbytes(), dtype=torch.uint8, device="meta")
        empty = torch.empty(0, dtype=value.dtype, device="meta")
        return empty.set_(
            twin.untyped_storage(), value.storage_offset(), value.shape, value.stride()
        )
    if isinstance(value, (list, tuple)):
        return type(value)(meta(item) for item in value)
    return value


@pytest.mark.parametrize(
    "kind, image", [*images("cpu")], ids=lambda v: v if isinstance(v, str) else ""
)
def test_shortcuts_agree_with_torch_on_meta_and_cpu(kind, image):
    answered = 0
    for func, args, kwargs in calls(image):
        result = shortcut(func, meta(args), kwargs)
        if result is NotImplemented:
            continue
        answered += 1
        ours = describe(result)
        if not differs_from_cuda(func, args):
            assert ours == run(func, meta(args), kwargs), f"{func} of a {kind} image, on meta"
        if not differs_from_cpu(func, args):
            assert ours == run(func, args, kwargs), f"{func} of a {kind} image, torch on the CPU"
    assert answered > 0 or kind == "integers"


def test_an_in_place_shortcut_gives_its_operand():
    image = torch.zeros(1, 3, 8, 8, device="meta")
    assert shortcut(aten.leaky_relu_.default, (image, 0.1), {}) is image
    assert shortcut(aten.mul_.Tensor, (image, image), {}) is image


def test_what_is_wrong_is_left_to_torch():
    image = torch.zeros(1, 3, 8, 8, device="meta")
    weight = torch.zeros(4, 5, 3, 3, device="meta")
    args = (image, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    assert shortcut(aten.convolution.default, args, {}) is NotImplemented
    with pytest.raises(RuntimeError, match="channel"):
        F.conv2d(image, weight)


@st.composite
def operands(draw: st.DrawFn) -> list[torch.Tensor]:
    """Two tensors that can be broadcast, of any strides: turned, parts, repeated."""
    sides = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    made = []
    for _ in range(2):
        own = [1 if draw(st.booleans()) else side for side in sides]
        own = own[draw(st.integers(0, len(own) - 1)) :]
        order = draw(st.permutations(range(len(own))))
        steps = draw(st.integers(1, 2))
        tensor = torch.zeros(*(own[i] for i in order), steps)[..., 0]
        tensor = tensor.permute(*(order.index(i) for i in range(len(own))))
        if draw(st.booleans()):
            tensor = tensor.expand(sides)
        made.append(tensor)
    return made


@given(operands())
def test_any_element_wise_call_has_the_strides_of_torch(tensors):
    expected = torch.add(*tensors)
    result = shortcut(aten.add.Tensor, [meta(tensor) for tensor in tensors], {})
    assert result is not NotImplemented and describe(result) == describe(expected)
    first = tensors[0]
    assert describe(shortcut(aten.gelu.default, (meta(first),), {})) == describe(F.gelu(first))
