"""The one table of choices by processor and by size, each with its measurement and its test."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch

Value = TypeVar("Value", bool, int)


class Choice(NamedTuple, Generic[Value]):
    """`value` is what holds on this machine; `measured` made it, the test `guarded_by` holds it."""

    value: Value
    measured: str
    guarded_by: str


def is_amd() -> bool:
    """Whether Linux says that the processor is one of AMD's."""
    processors = Path("/proc/cpuinfo")
    return processors.is_file() and "AuthenticAMD" in processors.read_text()


AMD = is_amd()

PRODUCTS_BY_ONEDNN = Choice(
    AMD and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    "MKL multiplies fp32 at a third of an AMD processor's speed; on Intel's it is the quicker one,"
    " 134 to 151 GFLOP/s against 59 to 136 at 4 layers x 128",
    "tests/kernels/test_product.py::test_a_product_and_its_gradients_are_those_of_float64",
)

ONEDNN_LEAST_ROWS = Choice(
    4,
    "below, MKL's shorter call wins: 3 against 13 microseconds for a row times 128 x 384",
    "tests/kernels/test_product.py::test_a_product_and_its_gradients_are_those_of_float64",
)

ONEDNN_LEAST_PRODUCTS = Choice(
    2**20,
    "below, MKL and oneDNN are level: 18 microseconds each for 16 rows times 128 x 384",
    "tests/kernels/test_product.py::test_a_product_and_its_gradients_are_those_of_float64",
)

ATTENTION_IN_BLOCKS = Choice(
    AMD,
    "on an Intel processor with AMX, torch 2.13 compiles k's gradient from unwritten memory",
    "tests/kernels/test_attention.py"
    "::test_compiled_it_goes_by_blocks_of_queries_and_differs_by_rounding_only",
)

QUERIES_PER_BLOCK = Choice(
    128,
    "a training step of 6 layers x 384 over 16 x 256 tokens takes 0.81 of the fp32 kernel's time"
    " with 128 queries at a time, 0.85 with 64 and 0.85 whole",
    "tests/kernels/test_attention.py"
    "::test_compiled_it_goes_by_blocks_of_queries_and_differs_by_rounding_only",
)

BF16_ATTENTION_FROM = Choice(
    256,
    "positions from which on torch's bf16 attention goes backwards no slower than fp32's on the"
    " CPU: at 64 it takes 2.5 times as long, at 128 1.3 times, at 512 0.8",
    "tests/kernels/test_attention.py::test_without_gradients_and_for_long_texts_it_is_torchs_own",
)

LOGITS_AT_ONCE = Choice(
    2**24,
    "64 MB of fp32; at a vocabulary of 50,257 the loss then takes 187 MB in place of 617 in 1.02 of"
    " the time",
    "tests/kernels/test_cross_entropy.py::test_the_logits_of_a_batch_are_never_all_there",
)

LOGITS_AT_ONCE_ON_A_GPU = Choice(
    2**27,
    "by arithmetic, not measured: a chunk reads and writes the gradient of W_U, 0.46 GB at"
    " 124M. In 16 texts of 1,024 tokens 50 chunks of 2**24 logits take 4.8 ms for it at 4.8 TB/s, a"
    " sixth of a pass at half of an H200's peak; 7 of 2**27 take 0.7 ms, and 2 GB of memory",
    "tests/kernels/test_cross_entropy.py::test_a_gpu_takes_more_logits_at_once",
)

LARGE_FP32_IS_PACKED = Choice(
    AMD,
    "one core of an Intel processor does not read a 124M model in fp32 at the memory's speed:"
    " packed it wrote 0.85 times as fast as `transformers`, as stored 1.28 times",
    "tests/generation/test_c_step.py::test_a_large_model_in_fp32_is_packed_where_the_table_says_so",
)

BF16_ROW_BY_TORCH = Choice(
    AMD,
    "a row times a bfloat16 matrix: on a core PyTorch's own product reads 17.4 GB/s, oneDNN's 12",
    "tests/generation/test_packed.py::test_a_row_and_several_rows_in_bfloat16_are_the_same_product",
)
