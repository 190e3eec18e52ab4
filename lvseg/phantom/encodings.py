"""Pixels in the forms that scanners and archives write; each decodes to the plain ones, unless it says otherwise."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from lvseg.phantom.plan import Encoding

__all__ = ["CUT_AT", "SIGNED_OFFSET", "can_write", "encode_pixels"]

SIGNED_OFFSET = -1000
"""What is added to the values of a signed image: about two thirds become negative."""

CUT_AT = 0.6
"""Where a truncated file ends, as a fraction of its bytes: in the middle of the pixels."""

_MONOCHROME1_BITS = 14
_SLOPE, _INTERCEPT = 0.5, -100

_SYNTAXES = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg-2000": JPEG2000Lossless}


def can_write(encoding: Encoding) -> bool:
    """Whether the encoder is installed."""
    return encoding not in _SYNTAXES or get_encoder(_SYNTAXES[encoding]).is_available


def encode_pixels(dataset: Dataset, encoding: Encoding) -> None:
    """Rewrite the pixels of a plain signed 16-bit image with values of 0 and above."""
    values = np.frombuffer(dataset.PixelData, "<i2").astype(np.int64)
    if encoding == "monochrome1":
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.PixelRepresentation = 0
        dataset.BitsStored, dataset.HighBit = _MONOCHROME1_BITS, _MONOCHROME1_BITS - 1
        dataset.PixelData = (2**_MONOCHROME1_BITS - 1 - values).astype("<u2").tobytes()
    elif encoding == "signed-negative":
        dataset.PixelData = (values + SIGNED_OFFSET).astype("<i2").tobytes()
    elif encoding == "rescaled":
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = str(_SLOPE), str(_INTERCEPT), "US"
        dataset.PixelData = ((values - _INTERCEPT) / _SLOPE).astype("<i2").tobytes()
    elif encoding in _SYNTAXES:
        dataset.compress(_SYNTAXES[encoding], generate_instance_uid=False)
