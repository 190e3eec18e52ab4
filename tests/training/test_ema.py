import keras
import numpy as np
import pytest
import tensorflow as tf

from lvseg.training.ema import WeightAverage


def test_the_average_follows_its_formula() -> None:
    weight = keras.Variable(np.zeros((2, 2), "float32"))
    average = WeightAverage([weight], momentum=0.5)
    update = tf.function(average.update)
    expected = 0.0
    for step in range(12):
        weight.assign(np.full((2, 2), step**2, "float32"))
        update(tf.constant(step))
        momentum = min((1 + step) / (10 + step), 0.5)
        expected = momentum * expected + (1 - momentum) * step**2
    np.testing.assert_allclose(average.variables[0].numpy(), np.full((2, 2), expected), rtol=1e-5)


def test_it_begins_at_the_weights() -> None:
    weight = keras.Variable(np.array([3.0, 4.0], "float32"))
    assert WeightAverage([weight], momentum=0.9).variables[0].numpy().tolist() == [3, 4]


def test_the_weights_come_back_after_an_error() -> None:
    weight = keras.Variable(np.array([1.0], "float32"))
    average = WeightAverage([weight], momentum=0.9)
    weight.assign([2.0])

    def fail() -> None:
        assert weight.numpy().tolist() == [1]
        raise RuntimeError

    with pytest.raises(RuntimeError), average.swapped_in():
        fail()
    assert weight.numpy().tolist() == [2]
    assert average.variables[0].numpy().tolist() == [1]
