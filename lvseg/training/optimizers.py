"""Optimizers that sum gradients over workers once, and update each weight in one kernel.

State is Keras's: an optimizer's ``variables`` are all that a checkpoint needs, the schedule's ``scale`` and float16's
loss scale among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from lvseg.config import TrainConfig
from lvseg.training.schedules import RateSchedule

LOSS_SCALE_START = 2.0**15
"""Float16's smallest gradients vanish; the loss is scaled up by as much as does not overflow (Micikevicius 2018)."""
LOSS_SCALE_MOST = 2.0**24
"""Where gradients are 0 nothing ever overflows: the scale must not grow to infinity."""
GOOD_STEPS = 2000
"""Steps without overflow after which the loss scale is doubled."""


def make_optimizer(config: TrainConfig, schedule: RateSchedule) -> SummedOptimizer:
    """The configured optimizer; make it, and call its ``build``, in the strategy's scope.

    Adam and AdamW differ by their weight decay alone, which is decoupled in all three (Loshchilov & Hutter 2019).
    """
    decay, loss_scaling = config.weight_decay or None, config.precision == "float16"
    if config.optimizer == "sgd":
        return NesterovSGD(schedule, momentum=config.momentum, weight_decay=decay, loss_scaling=loss_scaling)
    return FusedAdam(schedule, weight_decay=decay, loss_scaling=loss_scaling)


def apply_gradients(
    optimizer: SummedOptimizer, gradients: Sequence[tf.Tensor | None], variables: Sequence[Any], config: TrainConfig
) -> None:
    """Update the variables from each replica's own gradients; in replica context, by all replicas at once.

    Args:
        optimizer: Built on the variables.
        gradients: Of the loss that ``optimizer.scale_loss`` gave, a sum over the replica's images divided by the
            images of the whole batch. None where the loss does not depend on a variable, which then stays.
        variables: Keras variables, one for each gradient.
        config: Has the largest norm.
    """
    present = [
        (gradient, variable) for gradient, variable in zip(gradients, variables, strict=True) if gradient is not None
    ]
    summed = sum_over_replicas([gradient for gradient, _ in present])
    optimizer.apply_summed(summed, [variable for _, variable in present], config.clip_norm)


def sum_over_replicas(tensors: list[tf.Tensor]) -> list[tf.Tensor]:
    """Each tensor's sum over all replicas, in replica context; for one replica the tensors themselves.

    One call for all, as in a graph TensorFlow lays its tensors end to end and sends them in one piece: a collective
    for each bias would cost more than its bytes.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return tensors
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, tensors))


class SummedOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    """What the optimizers share: clipping, loss scaling, decay, and one update of each variable on each device.

    Everything is decided on summed gradients, which are the same on all replicas, so all decide the same and no
    collective ever depends on a decision.
    """

    def __init__(self, *args: Any, loss_scaling: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loss_scaling = loss_scaling

    def build(self, variables: list[Any]) -> None:
        """Make the state: Keras's own, then the schedule's scale and, for float16, the loss scale and its count."""
        if self.built:
            return
        super().build(variables)
        if isinstance(self._learning_rate, RateSchedule):
            self._track_variable(self._learning_rate.scale)
        if self.loss_scaling:
            options = {"shape": (), "aggregation": "only_first_replica"}
            start = keras.initializers.Constant(LOSS_SCALE_START)
            self._loss_scale = self.add_variable(initializer=start, dtype="float32", name="loss_scale", **options)
            self._good_steps = self.add_variable(dtype="int32", name="good_steps", **options)

    def get_config(self) -> dict[str, Any]:
        """Of the constructor."""
        return {**super().get_config(), "loss_scaling": self.loss_scaling}

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """The loss whose gradients ``apply_gradients`` expects: times the loss scale in float16, else as it is."""
        return loss * self._loss_scale if self.loss_scaling else loss

    def apply_summed(self, gradients: list[tf.Tensor], variables: list[Any], clip_norm: float | None = None) -> None:
        """Update the variables from gradients that have been summed over replicas.

        Where the norm of all gradients together is above ``clip_norm`` they are scaled down to it. With loss scaling
        a step whose gradients are not finite is skipped: it halves the loss scale, changes nothing else, and is not
        counted, so the schedule waits too.
        """
        go = None
        if clip_norm is not None or self.loss_scaling:
            norm = tf.linalg.global_norm(gradients)
            if self.loss_scaling:
                go, scale = tf.math.is_finite(norm), tf.identity(self._loss_scale.value)
                factor = tf.where(go, _clip_factor(norm / scale, clip_norm) / scale, 0.0)
                gradients = [tf.math.multiply_no_nan(gradient, factor) for gradient in gradients]
                self._count_for_scale(go)
            else:
                factor = _clip_factor(norm, clip_norm)
                gradients = [gradient * factor for gradient in gradients]
        pairs = [(gradient, variable.value) for gradient, variable in zip(gradients, variables, strict=True)]
        tf.__internal__.distribute.interim.maybe_merge_call(
            self._update_all, tf.distribute.get_strategy(), pairs, tf.identity(self.learning_rate), go
        )
        self._iterations.assign_add(1 if go is None else tf.cast(go, self._iterations.dtype))

    def _count_for_scale(self, go: tf.Tensor) -> None:
        good, scale = self._good_steps.value + 1, self._loss_scale.value
        full = good >= GOOD_STEPS
        grown = tf.where(full, tf.minimum(scale * 2, LOSS_SCALE_MOST), scale)
        self._loss_scale.assign(tf.where(go, grown, tf.maximum(scale / 2, 1.0)))
        self._good_steps.assign(tf.where(go & ~full, good, 0))

    def _update_all(
        self,
        strategy: tf.distribute.Strategy,
        pairs: list[tuple[tf.Tensor, Any]],
        rate: tf.Tensor,
        go: tf.Tensor | None,
    ) -> None:
        """In cross-replica context, where each variable is updated on its devices."""
        for gradient, variable in pairs:
            strategy.extended.update(variable, self._update, args=(gradient, rate, go), group=False)

    def _update(self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, go: tf.Tensor | None) -> None:
        if go is not None:
            rate = tf.where(go, rate, 0.0)
        # Biases and norms' scales have one dimension; decay is for kernels.
        if self.weight_decay and variable.shape.rank > 1:
            variable.assign_sub(variable * (rate * self.weight_decay))
        self.update_fused(variable, gradient, rate, lambda factor: factor if go is None else tf.where(go, factor, 1.0))

    def update_fused(
        self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, kept: Callable[[float], Any]
    ) -> None:
        """One variable's update in one kernel.

        ``kept`` gives what a factor of running means is in this step: 1 in a skipped step, whose rate and gradient
        are 0, so that nothing moves. That needs no branch, for which a GPU would have to wait for the host.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable("lvseg")
class FusedAdam(SummedOptimizer, keras.optimizers.Adam):  # type: ignore[misc]
    """Adam (Kingma & Ba 2015) as Keras has it: same state, same numbers to rounding, a tenth of the kernels."""

    def update_fused(
        self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, kept: Callable[[float], Any]
    ) -> None:
        """See ``SummedOptimizer``."""
        index = self._get_variable_index(variable)
        step = tf.cast(self._iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=rate,
            beta1=kept(self.beta_1),
            beta2=kept(self.beta_2),
            epsilon=self.epsilon,
            grad=gradient,
        )


@keras.saving.register_keras_serializable("lvseg")
class NesterovSGD(SummedOptimizer, keras.optimizers.SGD):  # type: ignore[misc]
    """SGD with Nesterov momentum (Sutskever 2013).

    The learning rate multiplies the sum of gradients, as in PyTorch, and not each gradient on its way into it, as in
    Keras: at a constant rate the two are the same, and a rate that is lowered works at once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, nesterov=True, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Of the constructor."""
        return {key: value for key, value in super().get_config().items() if key != "nesterov"}

    def update_fused(
        self, variable: tf.Variable, gradient: tf.Tensor, rate: tf.Tensor, kept: Callable[[float], Any]
    ) -> None:
        """See ``SummedOptimizer``."""
        if not self.momentum:
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
            return
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=rate,
            grad=gradient,
            momentum=kept(self.momentum),
            use_nesterov=True,
        )


def _clip_factor(norm: tf.Tensor, clip_norm: float | None) -> tf.Tensor | float:
    """What brings a gradient of this norm down to ``clip_norm``; NaN stays NaN, to be seen."""
    return 1.0 if clip_norm is None else tf.minimum(clip_norm / norm, 1.0)
