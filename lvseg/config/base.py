"""How a config is made, checked, and read from a YAML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar, dataclass_transform

import yaml
from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass

from lvseg.errors import ConfigError
from lvseg.store import UPath

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field, Field))
def config(cls: type) -> Any:
    """Make a frozen, keyword-only dataclass whose values are validated at every construction."""
    return pydantic_dataclass(frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid"))(cls)


class Validated:
    """Turns pydantic's report into one line that names field, value and range."""

    __slots__ = ()

    @model_validator(mode="wrap")
    @classmethod
    def _one_line_errors(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            raise ConfigError(_describe(error, cls)) from None


def _describe(error: ValidationError, cls: type) -> str:
    lines = []
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"]) or cls.__name__
        if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            known = ", ".join(f.name for f in dataclasses.fields(cls))
            lines.append(f"unknown setting {field}; known: {known}")
        else:
            rule = item["msg"].replace("Input should be", "must be")
            lines.append(f"{field} {rule}, got {item['input']!r}")
    return "; ".join(lines)


def read_yaml(path: Path | UPath) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: the file is missing, not YAML, or holds no mapping.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ConfigError(f"{path}: expected a mapping of settings to values, found {type(content).__name__}")
    return dict(content)


def from_mapping(cls: type[T], mapping: Mapping[str, Any]) -> T:
    """Build and validate a config from a mapping; the keys may be written with dashes.

    Raises:
        ConfigError: an unknown setting or a wrong value.
    """
    return cls(**{key.replace("-", "_"): value for key, value in mapping.items()})
