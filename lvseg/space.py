"""Search spaces: which training settings a sweep tries, checked against the settings' own ranges."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from lvseg.config import EXECUTION_FIELDS, TrainConfig, read_yaml
from lvseg.errors import ConfigError

Kind = Literal["choice", "grid", "uniform", "loguniform", "randint"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_SPACE = "default_space.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """How one setting varies."""

    kind: Kind
    """choice and grid list their values; the others go from a lowest to a highest value, both included."""
    values: tuple[Any, ...]
    """The values, or (lowest, highest)."""


def read_space(path: Path | None, base: TrainConfig) -> dict[str, Dimension]:
    """Read a search space; None: the space that comes with lvseg.

    Args:
        path: YAML mapping of a setting to ``{kind: values}``, or to a list, which is a choice.
        base: The settings that do not vary.

    Raises:
        ConfigError: an unknown setting or kind, or a value outside the setting's range.
    """
    if path is None:
        text = resources.files("lvseg").joinpath(DEFAULT_SPACE).read_text(encoding="utf-8")
        where, content = DEFAULT_SPACE, yaml.safe_load(text)
    else:
        where, content = str(path), read_yaml(path)
    space = {key.replace("-", "_"): _dimension(where, key, entry) for key, entry in content.items()}
    if not space:
        raise ConfigError(f"{where}: the search space is empty")
    for key, dimension in space.items():
        _require_whole(where, key, dimension, base)
        _check_values(where, key, dimension, base)
    return space


def _dimension(where: str, key: str, entry: Any) -> Dimension:
    searchable = [f.name for f in dataclasses.fields(TrainConfig) if f.name not in EXECUTION_FIELDS]
    if key.replace("-", "_") not in searchable:
        raise ConfigError(f"{where}: {key} cannot be searched; can be: {', '.join(searchable)}")
    if isinstance(entry, list):
        entry = {"choice": entry}
    if not isinstance(entry, Mapping) or len(entry) != 1 or next(iter(entry)) not in KINDS:
        raise ConfigError(f"{where}: {key} must be a list of values or one of {', '.join(KINDS)}, got {entry!r}")
    kind, values = next(iter(entry.items()))
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}: {key}: {kind} needs a list of values, got {values!r}")
    if kind not in ("choice", "grid"):
        values = _bounds(where, key, kind, values)
    return Dimension(kind=cast(Kind, kind), values=tuple(values))


def _bounds(where: str, key: str, kind: str, values: list[Any]) -> list[float]:
    try:
        low, high = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: {key}: {kind} needs a lowest and a highest number, got {values!r}") from None
    if low >= high or (kind == "loguniform" and low <= 0):
        limits = "0 < lowest < highest" if kind == "loguniform" else "lowest < highest"
        raise ConfigError(f"{where}: {key}: {kind} needs {limits}, got {values!r}")
    if kind == "randint" and not (low.is_integer() and high.is_integer()):
        raise ConfigError(f"{where}: {key}: randint needs whole numbers, got {values!r}")
    return [int(low), int(high)] if kind == "randint" else [low, high]


def _require_whole(where: str, key: str, dimension: Dimension, base: TrainConfig) -> None:
    if dimension.kind in ("uniform", "loguniform") and isinstance(getattr(base, key), int):
        raise ConfigError(f"{where}: {key}: {dimension.kind} draws fractions; take randint or choice")


def _check_values(where: str, key: str, dimension: Dimension, base: TrainConfig) -> None:
    for value in dimension.values:
        try:
            dataclasses.replace(base, **{key: value})
        except ConfigError as error:
            raise ConfigError(f"{where}: {key}: {error}") from None
