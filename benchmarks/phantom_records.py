"""A phantom as a record set, for benchmarks that train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lvseg.config import ConvertConfig
from lvseg.phantom import write_phantom
from lvseg.records import Manifest


def phantom_records(folder: Path, settings: ConvertConfig, **phantom: Any) -> Manifest:
    """Write the labelled images of a phantom and convert them to ``folder/records``.

    Args:
        folder: where the phantom goes too.
        settings: of the conversion.
        phantom: see ``write_phantom``.
    """
    from lvseg.distributed.convert import convert
    from lvseg.distributed.session import ray_session

    write_phantom(folder / "phantom", labelled_only=True, **phantom)
    with ray_session():
        return convert(folder / "phantom", folder / "records", settings)
