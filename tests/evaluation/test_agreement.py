import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from lvseg.evaluation import measure_agreement, plot_agreements


def test_bias_limits_and_correlation() -> None:
    manual, auto = [100.0, 120.0, 90.0, 150.0], [104.0, 118.0, 95.0, 149.0]
    found = measure_agreement("EDV ml", manual, auto)
    difference = np.subtract(auto, manual)
    assert found.bias == pytest.approx(1.5)
    assert found.sd == pytest.approx(stats.tstd(difference))
    assert (found.lower, found.upper) == pytest.approx((1.5 - 1.96 * found.sd, 1.5 + 1.96 * found.sd))
    assert found.correlation == pytest.approx(stats.pearsonr(manual, auto).statistic)


def test_patients_without_either_value_are_left_out() -> None:
    found = measure_agreement("EF %", [0.5, None, 0.6], [0.55, 0.4, None], scale=100)
    assert (found.manual, found.auto) == ((50,), pytest.approx((55,)))
    assert found.bias == pytest.approx(5)
    assert math.isnan(found.sd)
    assert math.isnan(found.upper)


def test_two_patients_have_no_correlation() -> None:
    assert math.isnan(measure_agreement("EDV ml", [1, 2], [2, 3]).correlation)
    assert math.isnan(measure_agreement("EDV ml", [1, 1, 1], [2, 3, 4]).correlation)


def test_plots_are_drawn_also_of_one_patient() -> None:
    several = measure_agreement("EDV ml", [100.0, 120.0, 90.0], [104.0, 118.0, 95.0])
    one = measure_agreement("EF %", [50.0], [55.0])
    image = Image.open(BytesIO(plot_agreements([several, one])))
    assert image.width > image.height > 200
    assert len(image.convert("RGB").getcolors(1 << 20) or []) > 10
