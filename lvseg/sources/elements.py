"""Values of DICOM elements, checked; plain ones are taken straight from their bytes.

pydicom makes objects of values that keep their text, their type and their rules. That takes far longer than the few
numbers of an image are worth, and a cine has many images. What is not plain still goes through pydicom.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag

from lvseg.errors import SourceError

__all__ = ["bytes_of", "is_absent", "number_of", "numbers_of", "tag_of", "text_of"]

NUMBER_TEXTS = {"DS": float, "IS": int}
"""Value representations of numbers written as text (PS3.5 section 6.2)."""
NUMBER_CODES = {"US": "H", "SS": "h"}
"""Those of binary numbers, as ``struct`` calls them."""


@cache
def tag_of(keyword: str) -> BaseTag:
    """The tag of a keyword."""
    return Tag(keyword)


@cache
def _usual_vr(keyword: str) -> str:
    return dictionary_VR(tag_of(keyword))


def is_absent(header: pydicom.Dataset, keyword: str) -> bool:
    """Whether an element is not there or empty."""
    element = header.get_item(tag_of(keyword))
    return element is None or element.value is None or element.value in (b"", "")


def bytes_of(header: pydicom.Dataset, keyword: str) -> bytes:
    """The bytes of an element that is there."""
    element: Any = header.get_item(tag_of(keyword))
    return bytes(element.value)


def text_of(header: pydicom.Dataset, keyword: str) -> str:
    """The text of an element without padding, empty where it is absent."""
    element: Any = header.get_item(tag_of(keyword))
    if isinstance(element, RawDataElement) and element.value and element.value.isascii():
        return element.value.decode("ascii").strip(" \0")
    return str(header.get(keyword) or "").strip()


def number_of(header: pydicom.Dataset, keyword: str, name: str) -> float | None:
    """The number of an element, ``None`` where it is absent or empty.

    Args:
        header: the data set.
        keyword: the element.
        name: the file's name for messages.

    Raises:
        SourceError: it is no finite number.
    """
    numbers = numbers_of(header, keyword, 1, name)
    return numbers[0] if numbers else None


def numbers_of(header: pydicom.Dataset, keyword: str, count: int, name: str) -> tuple[float, ...] | None:
    """The numbers of an element, ``None`` where it is absent or empty.

    Args:
        header: the data set.
        keyword: the element.
        count: how many it must have.
        name: the file's name for messages.

    Raises:
        SourceError: not ``count`` finite numbers.
    """
    element: Any = header.get_item(tag_of(keyword))
    if element is None:
        return None
    numbers = _plain_numbers(element, keyword) if isinstance(element, RawDataElement) else ()
    if len(numbers) != count:
        numbers = _converted_numbers(header, keyword, count, name)
    if numbers and (len(numbers) != count or not all(map(math.isfinite, numbers))):
        raise SourceError(f"{name}: {keyword} is {numbers}, expected {count} finite numbers")
    return numbers or None


def _plain_numbers(element: RawDataElement, keyword: str) -> tuple[float, ...]:
    """Numbers from an element's bytes; none where these are not plain."""
    vr, value = element.VR or _usual_vr(keyword), element.value or b""
    try:
        if vr in NUMBER_TEXTS:
            number = NUMBER_TEXTS[vr]
            return tuple(float(number(part)) for part in value.decode("ascii").split("\\"))
        if vr in NUMBER_CODES:
            order = "<" if element.is_little_endian else ">"
            return tuple(map(float, struct.unpack(f"{order}{len(value) // 2}{NUMBER_CODES[vr]}", value)))
    except (ValueError, OverflowError, struct.error):
        pass
    return ()


def _converted_numbers(header: pydicom.Dataset, keyword: str, count: int, name: str) -> tuple[float, ...]:
    """Numbers as pydicom understands them; none where the element is empty."""
    try:
        value: Any = header.get(keyword)
        if value is None or value == "":
            return ()
        return tuple(float(part) for part in (value if count > 1 else [value]))
    except (ValueError, TypeError, OverflowError):
        raise SourceError(f"{name}: {keyword} is not a number") from None
