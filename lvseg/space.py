"""Search spaces: which training settings a sweep tries, checked against the settings' own ranges.

A space is a YAML file that says of each setting how it varies, and, where it makes sense only together with another
one, when it is there at all::

    optimizer: [adam, sgd]
    momentum: {uniform: [0.8, 0.99], when: {optimizer: sgd}}
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

import yaml

from lvseg.config import EXECUTION_FIELDS, TrainConfig, read_yaml
from lvseg.errors import ConfigError

Kind = Literal["choice", "grid", "uniform", "loguniform", "randint", "qrandint", "lograndint"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LISTED: frozenset[Kind] = frozenset({"choice", "grid"})
"""Kinds that list their values."""
WHOLE: frozenset[Kind] = frozenset({"randint", "qrandint", "lograndint"})
"""Kinds that draw whole numbers."""
LOGARITHMIC: frozenset[Kind] = frozenset({"loguniform", "lograndint"})
DEFAULT_SPACE = "default_space.yaml"
WHEN = "when"
NOT_SEARCHED = EXECUTION_FIELDS | {"fold", "folds"}
OF_UNETS = " is for the models "
"""In the message of a rule between two settings that often vary together."""
MOST_CORNERS = 512
"""Combinations of lowest, highest and listed values that are tried before the first trial."""

Space: TypeAlias = "dict[str, Dimension]"
Settings: TypeAlias = dict[str, Any]
"""Values of some settings, by name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Dimension:
    """How one setting varies."""

    kind: Kind
    """choice and grid list their values; the others go from a lowest to a highest value, both included."""
    values: tuple[Any, ...]
    """The values; or (lowest, highest), of qrandint (lowest, highest, step)."""
    when: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    """Settings, and the values that they must have for this one to vary; else it keeps its value."""

    @property
    def corners(self) -> tuple[Any, ...]:
        """Values at which a rule may break: those listed, or lowest and highest."""
        return self.values if self.kind in LISTED else self.values[:2]


def read_space(path: Path | None, base: TrainConfig) -> Space:
    """Read a search space; None: the space that comes with lvseg.

    Args:
        path: YAML mapping of a setting to ``{kind: values}``, with ``when`` beside it where it is conditional, or to
            a list, which is a choice.
        base: The settings that do not vary.

    Returns:
        The dimensions; one that depends on another comes after it.

    Raises:
        ConfigError: an unknown setting or kind, a value outside the setting's range, or values that do not go
            together.
    """
    if path is None:
        text = resources.files("lvseg").joinpath(DEFAULT_SPACE).read_text(encoding="utf-8")
        where, content = DEFAULT_SPACE, yaml.safe_load(text)
    else:
        where, content = str(path), read_yaml(path)
    space = {key.replace("-", "_"): _dimension(where, key, entry) for key, entry in content.items()}
    if not space:
        raise ConfigError(f"{where}: the search space is empty")
    space = _ordered(where, space, base)
    for key, dimension in space.items():
        _require_whole(where, key, dimension, base)
        _check_values(where, key, dimension, base)
    _check_corners(where, space, base)
    return space


def _dimension(where: str, key: str, entry: Any) -> Dimension:
    searchable = [f.name for f in dataclasses.fields(TrainConfig) if f.name not in NOT_SEARCHED]
    if key.replace("-", "_") not in searchable:
        raise ConfigError(f"{where}: {key} cannot be searched; can be: {', '.join(searchable)}")
    if isinstance(entry, list):
        entry = {"choice": entry}
    entry = dict(entry) if isinstance(entry, Mapping) else entry
    when = _condition(where, key, entry.pop(WHEN)) if isinstance(entry, dict) and WHEN in entry else {}
    if not isinstance(entry, dict) or len(entry) != 1 or next(iter(entry)) not in KINDS:
        raise ConfigError(f"{where}: {key} must be a list of values or one of {', '.join(KINDS)}, got {entry!r}")
    kind, values = next(iter(entry.items()))
    if not isinstance(values, list) or not values:
        raise ConfigError(f"{where}: {key}: {kind} needs a list of values, got {values!r}")
    if kind not in LISTED:
        values = _bounds(where, key, kind, values)
    return Dimension(kind=cast(Kind, kind), values=tuple(map(frozen, values)), when=when)


def frozen(value: Any) -> Any:
    """A setting's value as ``TrainConfig`` has it: a list of a file is a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _condition(where: str, key: str, entry: Any) -> dict[str, tuple[Any, ...]]:
    if not isinstance(entry, Mapping) or not entry:
        raise ConfigError(f"{where}: {key}: {WHEN} must map a setting to its value or a list of values, got {entry!r}")
    names = {str(name).replace("-", "_"): value for name, value in entry.items()}
    known = [f.name for f in dataclasses.fields(TrainConfig) if f.name not in EXECUTION_FIELDS]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"{where}: {key}: {WHEN}: unknown setting {unknown[0]}; known: {', '.join(known)}")
    return {name: tuple(value) if isinstance(value, list) else (value,) for name, value in names.items()}


def _bounds(where: str, key: str, kind: str, values: list[Any]) -> list[float]:
    step: list[Any] = []
    if kind == "qrandint":
        *values, last = values
        step = [last]
    try:
        low, high = (float(value) for value in values)
        steps = [float(value) for value in step]
    except (TypeError, ValueError):
        more = " and a step" if step else ""
        raise ConfigError(
            f"{where}: {key}: {kind} needs a lowest and a highest number{more}, got {[*values, *step]!r}"
        ) from None
    if low >= high or (kind in LOGARITHMIC and low <= 0):
        limits = "0 < lowest < highest" if kind in LOGARITHMIC else "lowest < highest"
        raise ConfigError(f"{where}: {key}: {kind} needs {limits}, got {values!r}")
    numbers = [low, high, *steps]
    if kind not in WHOLE:
        return numbers
    if not all(number.is_integer() for number in numbers):
        raise ConfigError(f"{where}: {key}: {kind} needs whole numbers, got {[*values, *step]!r}")
    if steps and (steps[0] < 1 or (high - low) % steps[0]):
        raise ConfigError(f"{where}: {key}: {kind} needs a step that leads from lowest to highest, got {numbers!r}")
    return [int(number) for number in numbers]


def _ordered(where: str, space: Space, base: TrainConfig) -> Space:
    """What others depend on first.

    Raises:
        ConfigError: settings that depend on each other in a circle, or a condition that never holds.
    """
    ordered: Space = {}
    while len(ordered) < len(space):
        ready = [
            key for key, each in space.items() if key not in ordered and not each.when.keys() & _left(space, ordered)
        ]
        if not ready:
            raise ConfigError(f"{where}: {', '.join(sorted(_left(space, ordered)))} depend on each other in a circle")
        ordered |= {key: space[key] for key in ready}
    for key, dimension in ordered.items():
        for name, wanted in dimension.when.items():
            possible = (*(space[name].values if name in space else ()), getattr(base, name))
            listed = name not in space or space[name].kind in LISTED
            if listed and not set(map(str, wanted)) & set(map(str, possible)):
                raise ConfigError(f"{where}: {key}: {WHEN} {name} is {wanted[0]!r}, which it never is")
    return ordered


def _left(space: Space, ordered: Space) -> set[str]:
    return space.keys() - ordered.keys()


def _require_whole(where: str, key: str, dimension: Dimension, base: TrainConfig) -> None:
    is_whole = isinstance(getattr(base, key), int) or key in _WHOLE_OR_NONE
    if dimension.kind in ("uniform", "loguniform") and is_whole:
        raise ConfigError(f"{where}: {key}: {dimension.kind} draws fractions; take randint or choice")


_WHOLE_OR_NONE = {"unet_width", "unet_depth", "unet_stem", "early_stopping"}
"""Whole numbers whose default is None."""


def _check_values(where: str, key: str, dimension: Dimension, base: TrainConfig) -> None:
    """Each value alone, where its condition holds."""
    condition = {name: wanted[0] for name, wanted in dimension.when.items()}
    for value in dimension.corners:
        try:
            dataclasses.replace(base, **(condition | {key: value}))
        except ConfigError as error:
            if OF_UNETS not in str(error):  # the model may vary too: see below
                raise ConfigError(f"{where}: {key}: {error}") from None


def _check_corners(where: str, space: Space, base: TrainConfig) -> None:
    """Values of several settings together: all combinations of corners, or many of them.

    Raises:
        ConfigError: names the settings of a combination that no training takes.
    """
    for chosen in _corners(space, base):
        try:
            dataclasses.replace(base, **chosen)
        except ConfigError as error:
            together = ", ".join(f"{key} {value}" for key, value in chosen.items())
            raise ConfigError(f"{where}: {together}: {error}; say under {WHEN} what belongs together") from None


def _corners(space: Space, base: TrainConfig) -> Iterator[Settings]:
    if math.prod(len(dimension.corners) for dimension in space.values()) <= MOST_CORNERS:
        yield from combinations(space, base, lambda dimension: dimension.corners)
        return
    draw = random.Random(0)
    for _ in range(MOST_CORNERS):
        yield choose(space, base, lambda _, dimension: draw.choice(dimension.corners))


def choose(space: Mapping[str, Dimension], base: TrainConfig, pick: Callable[[str, Dimension], Any]) -> Settings:
    """One value of every setting that varies, of conditional ones only where their condition holds.

    Args:
        space: See ``read_space``.
        base: The settings that do not vary.
        pick: Gives the value of a dimension.
    """
    chosen: Settings = {}
    for key, dimension in space.items():
        if all(_has(chosen.get(name, getattr(base, name)), wanted) for name, wanted in dimension.when.items()):
            chosen[key] = pick(key, dimension)
    return chosen


def _has(value: Any, wanted: tuple[Any, ...]) -> bool:
    return any(value == each for each in wanted)


def combinations(
    space: Mapping[str, Dimension],
    base: TrainConfig,
    values: Callable[[Dimension], tuple[Any, ...]] = lambda dimension: dimension.values,
) -> list[Settings]:
    """Every combination of the dimensions' values, each once, the last dimension first to change."""
    found: dict[str, Settings] = {}
    for picked in itertools.product(*(values(dimension) for dimension in space.values())):
        by_key = dict(zip(space, picked, strict=True))
        chosen = choose(space, base, lambda key, _: by_key[key])  # noqa: B023 -- called at once
        found.setdefault(repr(chosen), chosen)
    return list(found.values())
