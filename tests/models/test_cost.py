import re
from typing import Any

import keras
import pytest

from lvseg import cli
from lvseg.config import MODEL_NAMES, TrainConfig, from_mapping
from lvseg.errors import ConfigError
from lvseg.models import build_model
from lvseg.models.cost import count_flops, measure_speed
from lvseg.models.table import VARIANTS, parse_shape


def build(name: str, shape: tuple[int, int], **settings: Any) -> keras.Model:
    return build_model(TrainConfig(model=name, **settings), shape)


def test_flops_of_the_fcn_against_a_count_by_hand() -> None:
    multiply_adds = (
        128 * 128 * 5 * 5 * 1 * 100
        + 32 * 32 * 5 * 5 * 100 * 200
        + 16 * 16 * 3 * 3 * 200 * 300
        + 16 * 16 * 3 * 3 * 300 * 300
        + 16 * 16 * 300 * 2
        + 16 * 16 * 31 * 31 * 2 * 2
    )
    assert count_flops(build("fcn", (256, 256))) == 2 * multiply_adds


def test_flops_of_the_fc_are_two_for_every_weight_of_its_dense_layers() -> None:
    assert count_flops(build("fc", (16, 32))) == 2 * (512 * 64 + 64 * 1024)


def test_flops_of_a_u_net_grow_with_the_image_s_area() -> None:
    options = {"norm": "group", "unet_attention": True, "unet_residual": True, "deep_supervision": True}
    small, large = (count_flops(build("unet", shape, **options)) for shape in ((32, 32), (64, 96)))
    assert large == 6 * small


def test_flops_of_unknown_layers_are_not_guessed() -> None:
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, keras.layers.DepthwiseConv2D(3)(inputs))
    with pytest.raises(TypeError, match="DepthwiseConv2D"):
        count_flops(model)


def test_speed_is_measured_with_deep_supervision_too() -> None:
    model = build("unet", (16, 16), unet_width=4, unet_depth=2, deep_supervision=True)
    speed = measure_speed(model, batch_size=2, seconds=0.0)
    assert speed.train > 0
    assert speed.predict > 0


def test_the_verb_lists_what_it_shall(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lvseg.models.table.VARIANTS", VARIANTS[:2])
    assert cli.main(["models", "--shape", "16x32", "--no-speed"]) == 0
    shown = capsys.readouterr().out
    parameters, gflop = 512 * 64 + 64 + 65 * 1024, 2 * (512 * 64 + 64 * 1024) / 1e9
    assert re.search(rf"--model fc\W+{parameters:,}\W+{gflop:.3f}\W", shown)
    assert re.search(r"--model fcn\W+1,857,848\W", shown)
    assert "images/s" not in shown


def test_every_model_is_listed() -> None:
    assert [config.model for config, flags in VARIANTS if flags == f"--model {config.model}"] == list(MODEL_NAMES)


@pytest.mark.parametrize("text", ["256", "256x", "0x256", "256x256x1", "ax16"])
def test_a_shape_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^shape must be ROWSxCOLUMNS such as 256x256, got"):
        parse_shape(text)


def test_the_flags_in_the_table_build_what_it_lists() -> None:
    for config, flags in VARIANTS:
        words = flags.split()
        given = {word[2:]: words[i + 1 : i + 2] for i, word in enumerate(words) if word.startswith("--")}
        values = {name: value[0] if value and value[0][:2] != "--" else True for name, value in given.items()}
        assert from_mapping(TrainConfig, values) == config
