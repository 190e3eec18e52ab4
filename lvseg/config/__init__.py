"""What can be set: name, unit, range and default of every option, in one place.

The same names serve Python, YAML files (``--config``) and flags (``--learning-rate``).
Every construction validates; a wrong value raises ``ConfigError`` and names field, value and range.
"""

from lvseg.config.base import from_mapping, read_yaml
from lvseg.config.data import (
    CheckConfig,
    ConvertConfig,
    Crop,
    LabelConvention,
    Normalisation,
    PreprocessConfig,
    RasterConvention,
    RecordFormat,
    SourceLayout,
    SplitMethod,
    SplitName,
    Structures,
)
from lvseg.config.train import (
    EXECUTION_FIELDS,
    IMAGE_SIDE_MULTIPLE,
    MODEL_NAMES,
    SWEEP_IDENTITY,
    AugmentConfig,
    Ingest,
    Loss,
    Norm,
    OnNan,
    Optimizer,
    Precision,
    Schedule,
    Scheduler,
    Search,
    TrainConfig,
    TuneConfig,
)

__all__ = [
    "EXECUTION_FIELDS",
    "IMAGE_SIDE_MULTIPLE",
    "MODEL_NAMES",
    "SWEEP_IDENTITY",
    "AugmentConfig",
    "CheckConfig",
    "ConvertConfig",
    "Crop",
    "Ingest",
    "LabelConvention",
    "Loss",
    "Norm",
    "Normalisation",
    "OnNan",
    "Optimizer",
    "Precision",
    "PreprocessConfig",
    "RasterConvention",
    "RecordFormat",
    "Schedule",
    "Scheduler",
    "Search",
    "SourceLayout",
    "SplitMethod",
    "SplitName",
    "Structures",
    "TrainConfig",
    "TuneConfig",
    "from_mapping",
    "read_yaml",
]
