"""Settings of a training run and of a sweep."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, Literal

from pydantic import Field

from lvseg.config.base import Validated, config
from lvseg.errors import ConfigError

Ingest = Literal["auto", "memory", "disk", "stream"]
Loss = Literal["cross-entropy", "dice", "dice+cross-entropy", "focal-tversky", "boundary"]
Norm = Literal["none", "group", "instance"]
Placement = Literal["pack", "spread", "strict-pack", "strict-spread"]
OnNan = Literal["stop", "rollback"]
Optimizer = Literal["adam", "adamw", "sgd"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["constant", "exponential", "cosine", "polynomial", "one-cycle"]
Search = Literal["random", "grid", "tpe"]
Scheduler = Literal["none", "asha", "median", "pbt"]

LABEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]*=!?[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*$"
MODEL_NAMES = ("fc", "fcn", "unet", "unet-light")
IMAGE_SIDE_MULTIPLE = 16
"""Every architecture halves the image four times, or must fill it exactly."""


@config
class AugmentConfig(Validated):
    """Random changes of the training images, drawn anew for every image in every epoch; 0 turns one off."""

    augment_rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation to either side, degrees."""
    augment_flip: bool = False
    """Mirror rows and columns, each with a chance of one half."""
    augment_scale: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Largest zoom s: the factor lies between 1 - s and 1 / (1 - s)."""
    augment_shift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift along rows and along columns, as part of the side."""
    augment_elastic_px: Annotated[float, Field(ge=0, le=32)] = 0.0
    """Largest displacement of the smooth random deformation, pixels."""
    augment_gamma: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Grey values, scaled to 0..1, are raised to exp(g), g between plus and minus this."""
    augment_brightness: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Largest offset of all pixels, in standard deviations of the image."""
    augment_shading: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Coil shading: largest gain or loss, as a fraction, of a smooth field across the image."""
    augment_noise: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Largest standard deviation of Gaussian noise, in standard deviations of the image."""
    augment_blur_px: Annotated[float, Field(ge=0, le=8)] = 0.0
    """Largest standard deviation of a Gaussian blur, pixels."""
    augment_chance: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Chance that an image meets each of them; flips have their own."""

    def augments(self) -> bool:
        """Whether anything is changed at all."""
        fields = (f for f in dataclasses.fields(AugmentConfig) if f.name != "augment_chance")
        return any(getattr(self, f.name) for f in fields)


@config
class TrainConfig(AugmentConfig):
    """One training run."""

    model: str = "fcn"
    """Architecture: fc, fcn, unet or unet-light; lvseg models lists them."""
    unet_width: Annotated[int, Field(ge=4, le=512)] | None = None
    """Channels of a U-Net's first level; they double on the way down. Default: the model's own."""
    unet_depth: Annotated[int, Field(ge=1, le=4)] | None = None
    """How often a U-Net halves the image, its stem's share included. Default: the model's own."""
    unet_stem: Literal[1, 2, 4] | None = None
    """How many times a U-Net's first convolution shrinks the image: 1 is slow. Default: the model's own."""
    unet_residual: bool = False
    """Residual blocks in a U-Net, instead of two plain convolutions."""
    unet_attention: bool = False
    """Attention gates on a U-Net's skip connections."""
    norm: Norm = "none"
    """Normalisation layers of a U-Net; batch normalisation would depend on how a batch is shared out."""
    deep_supervision: bool = False
    """Train a U-Net's coarser levels too, each on the label at its own size."""

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 30
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 4
    """Images in one step, over all workers together."""
    accumulate: Annotated[int, Field(ge=1, le=1024)] = 1
    """Parts in which a worker computes its share of a batch one after the other, to save memory."""
    loss: Loss = "cross-entropy"
    """What is minimised, mean over images."""
    class_weights: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    """Weights of background, cavity and, where there is one, myocardium in the loss; default: equal."""

    optimizer: Optimizer = "adam"
    """Adam, AdamW, or SGD with Nesterov momentum."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Part of the weights that is taken off in every step, times the learning rate; kernels only."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient of the whole batch over all weights; default: any."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Momentum of a moving average of the weights, which is then scored and kept; default: no average."""

    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """At its highest: at step 0, or after warm-up."""
    schedule: Schedule = "exponential"
    """How the learning rate changes over the steps."""
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.97
    """Exponential: factor on the learning rate every decay-steps steps; 1 keeps it constant."""
    decay_steps: Annotated[int, Field(ge=1)] = 200
    """Exponential: steps over which the learning rate falls by decay-rate."""
    staircase: bool = False
    """Exponential: lower the learning rate in stairs, not smoothly."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rate first rises from 0; one-cycle: to its highest, default a third of all."""
    final_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Cosine, polynomial, one-cycle: the last learning rate, as part of the highest."""
    decay_power: Annotated[float, Field(gt=0, le=10)] = 0.9
    """Polynomial: exponent."""

    early_stopping: Annotated[int, Field(ge=1)] | None = None
    """Epochs without a better validation Dice after which the run ends; default: never."""
    on_nan: OnNan = "stop"
    """When loss or weights are not finite: stop, or go back to the last epoch and halve the learning rate."""
    precision: Precision = "auto"
    """Arithmetic of the layers; weights, logits and loss stay float32. auto: bfloat16 on GPUs and on CPUs with units
    for it, else float32."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the weights' start values, of the order of images and of their augmentation."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """Fold that validates, of records split into folds; the others train."""
    folds: Annotated[int, Field(ge=2, le=100)] | None = None
    """Cross-validation by patient: a run for each fold, which validates while the others train. The folds are those
    of the records, or else made of their training and validation patients; test patients are left out."""

    workers: Annotated[int, Field(ge=0, le=4096)] = 1
    """Training processes; the batch is shared out among them. 0: this process, without Ray. On the command line
    also 1:4, at least one and at most four."""
    min_workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Go on with as few workers as this when nodes are lost, and with more when they come back; default: all."""
    gpu: bool = False
    """A GPU for each worker."""
    gpus_per_worker: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs for each worker, with gpu; a worker shares its part of the batch out among them."""
    cpus_per_worker: Annotated[int, Field(ge=1)] | None = None
    """CPU cores for each worker; default: the cores of a node, shared out."""
    placement: Placement = "pack"
    """Workers on few nodes, or on many; strict: all on one node, or each on a node of its own, or not at all."""
    node_label: tuple[str, ...] = ()
    """Workers only on nodes with these labels, key=value each; value also a,b for one of them, !a for any other."""
    steps_per_call: Annotated[int, Field(ge=1)] = 16
    """Most steps in one call of the compiled training function; fewer where they would take more than two seconds.
    Between two calls the run hears that it is to stop."""
    xla: bool = False
    """Compile the training step with XLA."""
    picture_every: Annotated[int, Field(ge=0)] = 5
    """Epochs between pictures of image, label and prediction, and between histograms; 0 for none."""
    profile: bool = False
    """Trace some steps of the second epoch for TensorBoard's profiler."""
    mlflow: str | None = None
    """Experiment of MLflow to log the run to as well, at MLFLOW_TRACKING_URI; needs lvseg[mlflow]. Default: none."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a failed worker group is restarted from the last checkpoint."""
    collective_timeout_s: Annotated[int, Field(ge=1)] = 600
    """A worker that hears nothing from the others for so long gives up, and the group is restarted."""
    ingest: Ingest = "auto"
    """Where a worker keeps its images: in memory, on its node's disk, or nowhere (streamed from the store every
    epoch); auto takes the first that fits. The result does not depend on it."""

    def __post_init__(self) -> None:
        if self.model not in MODEL_NAMES:
            raise ConfigError(f"model must be one of {', '.join(MODEL_NAMES)}, got {self.model!r}")
        if self.workers > self.batch_size:
            raise ConfigError(f"workers must be at most batch_size, got {self.workers} and {self.batch_size}")
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ConfigError(f"min_workers must be at most workers, got {self.min_workers} and {self.workers}")
        if self.min_workers is not None and self.placement.startswith("strict"):
            raise ConfigError(
                f"min_workers needs placement pack or spread, got {self.placement}: Ray counts cores and GPUs that are "
                "left, not nodes, and would wait for places that cannot be"
            )
        for label in self.node_label:
            if not re.match(LABEL_PATTERN, label):
                raise ConfigError(f"node_label must be key=value, got {label!r}")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ConfigError(f"fold must be below folds, got {self.fold} and {self.folds}")
        self._check_gpus()
        if self.xla and self.loss == "boundary":
            raise ConfigError(
                "xla cannot compile the boundary loss, whose maps are of changing size: choose one of them"
            )
        self._check_unet()

    def _check_gpus(self) -> None:
        if self.gpu and self.workers == 0:
            raise ConfigError("gpu needs at least one worker, got workers 0")
        if self.gpus_per_worker > 1 and not self.gpu:
            raise ConfigError(f"gpus_per_worker needs gpu, got gpus_per_worker {self.gpus_per_worker} without")
        if self.gpus_per_worker * self.workers > self.batch_size:
            raise ConfigError(
                f"batch_size must be at least an image for each GPU, got {self.batch_size} "
                f"for {self.workers} worker(s) of {self.gpus_per_worker} GPUs"
            )

    def _check_unet(self) -> None:
        if self.model.startswith("unet"):
            return
        fields = ("unet_width", "unet_depth", "unet_stem", "unet_residual", "unet_attention", "deep_supervision")
        chosen = [name for name in fields if getattr(self, name)] + ["norm"] * (self.norm != "none")
        if chosen:
            raise ConfigError(f"{chosen[0]} is for the models unet and unet-light, got model {self.model!r}")

    def identity(self) -> dict[str, Any]:
        """The settings that decide the result; those that only say where it is computed are left out."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key not in EXECUTION_FIELDS}


EXECUTION_FIELDS = frozenset(
    {
        "accumulate",
        "collective_timeout_s",
        "cpus_per_worker",
        "gpu",
        "gpus_per_worker",
        "ingest",
        "max_failures",
        "min_workers",
        "mlflow",
        "node_label",
        "picture_every",
        "placement",
        "profile",
        "steps_per_call",
        "workers",
        "xla",
    }
)
"""Settings of ``TrainConfig`` that may change when a run resumes: the result does not depend on them."""


@config
class TuneConfig(Validated):
    """One sweep over training settings."""

    trials: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Trials to run; default: 8, of a grid search all of the grid. With the random search a grid in the space is run
    whole, this many times."""
    search: Search = "random"
    """How settings are chosen: drawn at random, every combination, or by Optuna's TPE, which learns from the trials
    that have ended."""
    scheduler: Scheduler = "none"
    """Which trials end early: none, those behind at the rungs of ASHA, those below the median of the others; pbt: weak
    trials go on from strong ones' weights, with changed settings."""
    rung_epochs: Annotated[int, Field(ge=1)] = 4
    """ASHA and median: epochs before a trial may end early. PBT: epochs between two exchanges."""
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """ASHA: one in so many goes on at a rung; the next rung is so many times later."""
    search_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the search."""
    warm_start: Annotated[int, Field(ge=0, le=1000)] = 0
    """Begin with the settings of so many of the best runs on the same records in the folder of runs."""

    concurrency: Annotated[int, Field(ge=1)] | None = None
    """Trials at the same time; default: as many as the cluster's CPUs or GPUs hold."""
    gpus_per_trial: Annotated[float, Field(gt=0, le=1)] | None = None
    """With gpu and one worker: part of a GPU for each trial, 0.25 for four on one; default: a whole one."""
    max_hours: Annotated[float, Field(gt=0)] | None = None
    """Hours after which this call ends; the same command goes on."""
    target_dice: Annotated[float, Field(gt=0, le=1)] | None = None
    """The sweep ends when a trial's validation Dice reaches this."""
    trial_timeout_s: Annotated[int, Field(ge=1)] = 1800
    """A trial of one worker that makes no step for so long is ended, and tried once more."""

    def __post_init__(self) -> None:
        if self.gpus_per_trial is not None and self.gpus_per_trial < 1 and not (1 / self.gpus_per_trial).is_integer():
            raise ConfigError(f"gpus_per_trial must be 1 / n or 1, such as 0.5 or 0.25, got {self.gpus_per_trial}")


SWEEP_IDENTITY = ("search", "scheduler", "rung_epochs", "reduction_factor", "search_seed", "warm_start")
"""Settings of ``TuneConfig`` that decide which trials a sweep has; the others may change when it is gone on with."""
