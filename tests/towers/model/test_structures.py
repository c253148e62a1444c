"""The published structures, layer by layer as they print."""

from __future__ import annotations

from itertools import pairwise

import pytest
from torch import nn

from towerzoo.towers.model.build import build_model, read_experiment

LINEAR = "Linear(in_features={}, out_features={}, bias=True)"
NORM = "BatchNorm1d({1}, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"
DROPOUT = "Dropout(p={rate}, inplace=False)"
LAYERS = {
    "relu": (LINEAR, "ReLU()", DROPOUT),
    "tanh": (LINEAR, "Tanh()", DROPOUT),
    "tanh_bn": (LINEAR, NORM, "Tanh()", DROPOUT),
    "tanh_bn_dropout_first": (DROPOUT, LINEAR, NORM, "Tanh()"),
}
"""The layers of one width of each structure, with input width, output width and dropout rate to fill in."""


def printed(name: str, width: int) -> str:
    """The published print of a tower whose encoders give `width` numbers."""
    widths = [width, *([300, 300, 128] if name == "relu" else [256] * 3)]
    rate = 0.3 if name == "tanh_bn_dropout_first" else 0.2
    layers = [layer.format(*pair, rate=rate) for pair in pairwise(widths) for layer in LAYERS[name]]
    return "\n".join(["Sequential(", *(f"  ({number}): {layer}" for number, layer in enumerate(layers)), ")"])


def without_norm_bias(text: str) -> str:
    """Torch before 2.13 has the bias of batch normalisation, but does not print it."""
    return text.replace("affine=True, bias=True,", "affine=True,")


@pytest.fixture(scope="module", params=LAYERS)
def structure(request, world):
    # The generated world has the features of MovieLens-1M, so that only its rows are fewer.
    experiment, _ = read_experiment(f"configs/{request.param}.yaml")
    return request.param, build_model(experiment, world)


def test_both_towers_print_as_published(structure):
    name, model = structure
    for tower, width in ((model.user_tower, 256), (model.item_tower, 128)):
        assert without_norm_bias(str(tower.mlp)) == without_norm_bias(printed(name, width))
        kinds = [layer.partition("(")[0] for layer in LAYERS[name]] * 3
        assert [type(layer).__name__.removeprefix("Fast") for layer in tower.mlp] == kinds
        for linear in (layer for layer in tower.mlp if isinstance(layer, nn.Linear)):
            assert linear.weight.shape == (linear.out_features, linear.in_features)


@pytest.mark.parametrize(("tower", "features"), [("user_tower", 4), ("item_tower", 2)])
def test_every_feature_has_64_numbers(structure, tower, features):
    _, model = structure
    assert [encoder.out_features for encoder in getattr(model, tower).encoders] == [64] * features


def test_genres_are_six_slots_and_divided_by_six(structure):
    genres = structure[1].item_tower.encoder("genres")
    assert genres.max_length == 6
    assert type(genres.pooling).__name__ == "PaddedMeanPooling"


def test_weights_are_xavier_normal_where_published(structure):
    name, model = structure
    for mlp in (model.user_tower.mlp, model.item_tower.mlp):
        for linear in (layer for layer in mlp if isinstance(layer, nn.Linear)):
            # Torch's own weights stay below 1 / sqrt(fan_in); the largest of 30,000 normal draws is beyond 3 sigma.
            bound = linear.in_features**-0.5
            sigma = (2 / (linear.in_features + linear.out_features)) ** 0.5
            if name.startswith("tanh_bn"):
                assert linear.weight.std().item() == pytest.approx(sigma, rel=0.05)
                assert linear.weight.abs().max() > bound
            else:
                assert linear.weight.abs().max() <= bound


def test_every_config_of_the_comparison_shares_score_and_loss(structure):
    name, model = structure
    assert type(model.score).__name__ == "CosineScore"
    assert model.score.fixed_scale == 10.0
    assert model.score.log_scale is None
    experiment, _ = read_experiment(f"configs/{name}.yaml")
    assert experiment.loss["name"] == "bce-with-logits"
