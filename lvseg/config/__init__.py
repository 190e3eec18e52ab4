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
from lvseg.config.predict import OutputKind, PredictConfig, TestTimeAugmentation, settings_of
from lvseg.config.train import (
    EXECUTION_FIELDS,
    IMAGE_SIDE_MULTIPLE,
    LABEL_PATTERN,
    MODEL_NAMES,
    AugmentConfig,
    Ingest,
    Loss,
    Norm,
    OnNan,
    Optimizer,
    Placement,
    Precision,
    Schedule,
    TrainConfig,
    TuneConfig,
)

__all__ = [
    "EXECUTION_FIELDS",
    "IMAGE_SIDE_MULTIPLE",
    "LABEL_PATTERN",
    "MODEL_NAMES",
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
    "OutputKind",
    "Placement",
    "Precision",
    "PredictConfig",
    "PreprocessConfig",
    "RasterConvention",
    "RecordFormat",
    "Schedule",
    "SourceLayout",
    "SplitMethod",
    "SplitName",
    "Structures",
    "TestTimeAugmentation",
    "TrainConfig",
    "TuneConfig",
    "from_mapping",
    "read_yaml",
    "settings_of",
]
