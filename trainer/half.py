"""Half precision for GPUs: weights and activations in FP16, uint8 in and FP32 logits out as before."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from trainer.export import Feed, GateClosed, onnx_logits
from trainer.quantize import largest_value

# Sums of squares and exponentials leave FP16's range or lose its few digits.
KEPT_IN_FP32 = ("LayerNormalization", "InstanceNormalization", "Softmax", "Exp", "Log", "Pow", "ReduceL2")
# Kept in FP32 between casts, it takes the whole process of ONNX Runtime 1.24 down as the file is loaded.
REFUSED = "LSTM"
# FP16 ends at 65,504. The CPU would not tell, since it computes in FP32 between casts; and other videos may
# reach further than those that are looked at.
LARGEST = 30_000.0


def to_half(fp32: Path, fp16: Path) -> bool:
    """Write ``fp16``: the same inputs and outputs, the arithmetic between them in half precision.

    False, and nothing written, for a network with an LSTM.
    """
    model = onnx.load(str(fp32))
    if any(node.op_type == REFUSED for node in model.graph.node):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tells of each weight that is too small for FP16
        half = convert_float_to_float16(
            model, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FP32]
        )
    onnx.save(half, str(fp16))
    return True


def check_half(fp32: Path, fp16: Path, feeds: Sequence[Feed], tolerance: float) -> float:
    """Largest difference of logits, both on the CPU.

    Raises GateClosed above ``tolerance``, and where a value inside the network comes near to FP16's end.
    """
    largest = largest_value(fp32, feeds)
    if not largest <= LARGEST:
        raise GateClosed(
            f"{fp16.name}: values inside the network reach {largest:.0f}, and FP16 ends at 65504: on a GPU "
            f"they may become infinite (allowed here: {LARGEST:.0f})"
        )
    before, after = (np.concatenate(onnx_logits(path, feeds)) for path in (fp32, fp16))
    worst = float(np.abs(before - after).max())
    if not worst <= tolerance:
        raise GateClosed(f"{fp16.name}: logits differ from FP32 by {worst:.2e}, allowed is {tolerance:.0e}")
    return worst
