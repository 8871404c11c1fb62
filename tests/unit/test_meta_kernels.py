"""Every shortcut gives what torch gives, on meta and on the CPU, or leaves the call to torch."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from srprof.tracing.meta_kernels import SHORTCUTS, shortcut

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
        yield "1x1", torch.zeros(2, 12, 1, 1, dtype=dtype, device=device)
    yield "integers", torch.zeros(2, 12, 18, 16, dtype=torch.int64, device=device)
    yield "one channel", torch.zeros(2, 1, 18, 16, device=device)
    yield "tokens", torch.zeros(2, 12, 18, device=device)


def calls(image):
    """Calls of every shortcut with this image."""
    channels = image.shape[1]
    for func in SHORTCUTS:
        name = str(func)
        if name.startswith(("aten.add", "aten.sub", "aten.mul", "aten.div")):
            yield func, (image, image.clone()), {}
            yield func, (image, image[:1]), {}
            yield func, (image, image.new_zeros(image.shape[-1:])), {}
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
        elif "attention" in name:
            continue  # not on a CPU: tests/integration/test_attention.py
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
