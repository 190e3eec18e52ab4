"""Which arithmetic suits the hardware."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from lvseg.config import Precision, TrainConfig

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
"""What Linux calls a processor's bfloat16 units: x86's two, and Arm's."""


def best_precision(gpu: bool, processor: Path = Path("/proc/cpuinfo")) -> Literal["float32", "bfloat16"]:
    """bfloat16 on GPUs and on processors with units for it; elsewhere it is emulated, several times slower."""
    if gpu:
        return "bfloat16"
    try:
        lines = processor.read_text(encoding="utf-8").splitlines()
    except OSError:
        return "float32"
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    return "bfloat16" if flags & BFLOAT16_FLAGS else "float32"


def with_precision(config: TrainConfig, before: Precision | None = None) -> TrainConfig:
    """The same settings with a definite precision: that of the run so far, or the best on this machine."""
    if config.precision != "auto":
        return config
    return dataclasses.replace(config, precision=before or best_precision(config.gpu))
