"""Rows in half precision: no copy of a cache, and as near to float64 as eager attention in the same dtype."""

import math
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lvlmscope.hooks.attention_call import AttentionCall
from lvlmscope.hooks.attention_math import _scaled_product, _widens, mix_values, row_scores, softmax_rows

HALF = [torch.bfloat16, torch.float16]
HEADS, KEY_HEADS, KEYS, DIM = 4, 2, 300, 64


def call(dtype: torch.dtype, scaling: Any) -> AttentionCall:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, count, DIM) * 2 for heads, count in ((4, 1), (2, KEYS), (2, KEYS)))
    return AttentionCall(
        module=torch.nn.Module(),
        query=query.to(dtype),
        key=key.to(dtype),
        value=value.to(dtype),
        mask=None,
        kernel="sdpa",
        options={"scaling": scaling},
        first_row=0,
    )


class _Copies(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name() == "aten::_to_copy":
            self.largest = max(self.largest, args[0].numel())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scaling", [DIM**-0.5, torch.tensor(DIM**-0.5)])
@pytest.mark.parametrize("dtype", HALF)
def test_no_cache_is_copied_into_another_precision(dtype: torch.dtype, scaling: Any) -> None:
    own = call(dtype, scaling)
    with _Copies() as copies:
        scores = row_scores(own)
        mixed = mix_values(softmax_rows(scores, own), own)
    assert (scores.dtype, mixed.dtype) == (torch.float32, dtype)
    assert copies.largest == HEADS * KEYS < own.key.numel()  # scores and weights of one row alone


@pytest.mark.parametrize("dtype", HALF)
def test_rows_are_as_near_to_float64_as_eager_attention(dtype: torch.dtype) -> None:
    own = call(dtype, DIM**-0.5)
    key, value = (each.repeat_interleave(HEADS // KEY_HEADS, 1) for each in (own.key, own.value))
    exact = torch.softmax(own.query.double() @ key.double().transpose(2, 3) / math.sqrt(DIM), -1)
    product = own.query @ key.transpose(2, 3) * DIM**-0.5
    eager = torch.softmax(product, -1, dtype=torch.float32).to(dtype)
    ours = softmax_rows(row_scores(own), own)
    assert (ours - exact).norm() <= 1.05 * (eager - exact).norm()
    output = (exact @ value.double()).transpose(1, 2)
    assert (mix_values(ours, own) - output).norm() <= 1.05 * ((eager @ value).transpose(1, 2) - output).norm()


def test_without_a_scale_the_root_of_the_head_size_divides() -> None:
    own = call(torch.float32, None)
    key = own.key.repeat_interleave(HEADS // KEY_HEADS, 1)
    expected = own.query.double() @ key.double().mT / math.sqrt(DIM)
    torch.testing.assert_close(row_scores(own).double(), expected, atol=1e-4, rtol=1e-4)


class _Products(TorchDispatchMode):
    """Notes the matrix products that are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "bmm" in func.name():
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    ("device", "product"), [("cuda", "aten::bmm.dtype"), ("cpu", "aten::baddbmm")], ids=["accelerator", "processor"]
)
def test_an_accelerator_gives_the_product_in_float32_and_the_processor_does_not(
    device: str, product: str, dtype: torch.dtype
) -> None:
    """Fake tensors: only shapes, types and devices, so that the accelerator's branch runs everywhere."""
    with _Products() as products, FakeTensorMode():
        query, key = (torch.empty(1, KEY_HEADS, count, DIM, device=device, dtype=dtype) for count in (2, KEYS))
        scores = _scaled_product(query, key, 0.5)
    assert products.names == [product]
    assert scores.dtype == torch.float32
    assert scores.shape == (1, KEY_HEADS, 2, KEYS)
    assert scores.device.type == device


def test_where_gradients_pass_an_accelerator_takes_the_product_that_has_a_backward() -> None:
    with FakeTensorMode():
        left = torch.empty(1, 2, DIM, device="cuda", dtype=torch.bfloat16, requires_grad=True)
        assert not _widens(left, left)
        with torch.no_grad():
            assert _widens(left, left)
