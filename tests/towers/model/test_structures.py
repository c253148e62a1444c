"""The published structures, layer by layer as they print."""

from __future__ import annotations

import pytest
from torch import nn

from towerzoo.towers.model.build import build_model, read_experiment

RELU_USER = """\
Sequential(
  (0): Linear(in_features=256, out_features=300, bias=True)
  (1): ReLU()
  (2): Dropout(p=0.2, inplace=False)
  (3): Linear(in_features=300, out_features=300, bias=True)
  (4): ReLU()
  (5): Dropout(p=0.2, inplace=False)
  (6): Linear(in_features=300, out_features=128, bias=True)
  (7): ReLU()
  (8): Dropout(p=0.2, inplace=False)
)"""
RELU_ITEM = """\
Sequential(
  (0): Linear(in_features=128, out_features=300, bias=True)
  (1): ReLU()
  (2): Dropout(p=0.2, inplace=False)
  (3): Linear(in_features=300, out_features=300, bias=True)
  (4): ReLU()
  (5): Dropout(p=0.2, inplace=False)
  (6): Linear(in_features=300, out_features=128, bias=True)
  (7): ReLU()
  (8): Dropout(p=0.2, inplace=False)
)"""
TANH_USER = """\
Sequential(
  (0): Linear(in_features=256, out_features=256, bias=True)
  (1): Tanh()
  (2): Dropout(p=0.2, inplace=False)
  (3): Linear(in_features=256, out_features=256, bias=True)
  (4): Tanh()
  (5): Dropout(p=0.2, inplace=False)
  (6): Linear(in_features=256, out_features=256, bias=True)
  (7): Tanh()
  (8): Dropout(p=0.2, inplace=False)
)"""
TANH_ITEM = """\
Sequential(
  (0): Linear(in_features=128, out_features=256, bias=True)
  (1): Tanh()
  (2): Dropout(p=0.2, inplace=False)
  (3): Linear(in_features=256, out_features=256, bias=True)
  (4): Tanh()
  (5): Dropout(p=0.2, inplace=False)
  (6): Linear(in_features=256, out_features=256, bias=True)
  (7): Tanh()
  (8): Dropout(p=0.2, inplace=False)
)"""
TANH_BN_USER = """\
Sequential(
  (0): Linear(in_features=256, out_features=256, bias=True)
  (1): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (2): Tanh()
  (3): Dropout(p=0.2, inplace=False)
  (4): Linear(in_features=256, out_features=256, bias=True)
  (5): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (6): Tanh()
  (7): Dropout(p=0.2, inplace=False)
  (8): Linear(in_features=256, out_features=256, bias=True)
  (9): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (10): Tanh()
  (11): Dropout(p=0.2, inplace=False)
)"""
TANH_BN_ITEM = """\
Sequential(
  (0): Linear(in_features=128, out_features=256, bias=True)
  (1): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (2): Tanh()
  (3): Dropout(p=0.2, inplace=False)
  (4): Linear(in_features=256, out_features=256, bias=True)
  (5): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (6): Tanh()
  (7): Dropout(p=0.2, inplace=False)
  (8): Linear(in_features=256, out_features=256, bias=True)
  (9): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (10): Tanh()
  (11): Dropout(p=0.2, inplace=False)
)"""
TANH_BN_DROPOUT_FIRST_USER = """\
Sequential(
  (0): Dropout(p=0.3, inplace=False)
  (1): Linear(in_features=256, out_features=256, bias=True)
  (2): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (3): Tanh()
  (4): Dropout(p=0.3, inplace=False)
  (5): Linear(in_features=256, out_features=256, bias=True)
  (6): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (7): Tanh()
  (8): Dropout(p=0.3, inplace=False)
  (9): Linear(in_features=256, out_features=256, bias=True)
  (10): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (11): Tanh()
)"""
TANH_BN_DROPOUT_FIRST_ITEM = """\
Sequential(
  (0): Dropout(p=0.3, inplace=False)
  (1): Linear(in_features=128, out_features=256, bias=True)
  (2): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (3): Tanh()
  (4): Dropout(p=0.3, inplace=False)
  (5): Linear(in_features=256, out_features=256, bias=True)
  (6): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (7): Tanh()
  (8): Dropout(p=0.3, inplace=False)
  (9): Linear(in_features=256, out_features=256, bias=True)
  (10): BatchNorm1d(256, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (11): Tanh()
)"""
PRINTED = {
    "relu": (RELU_USER, RELU_ITEM),
    "tanh": (TANH_USER, TANH_ITEM),
    "tanh_bn": (TANH_BN_USER, TANH_BN_ITEM),
    "tanh_bn_dropout_first": (TANH_BN_DROPOUT_FIRST_USER, TANH_BN_DROPOUT_FIRST_ITEM),
}
LAYERS = {
    "relu": [nn.Linear, nn.ReLU, nn.Dropout],
    "tanh": [nn.Linear, nn.Tanh, nn.Dropout],
    "tanh_bn": [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout],
    "tanh_bn_dropout_first": [nn.Dropout, nn.Linear, nn.BatchNorm1d, nn.Tanh],
}
WIDTHS = {name: [300, 300, 128] if name == "relu" else [256, 256, 256] for name in LAYERS}


def without_norm_bias(printed: str) -> str:
    """Torch before 2.13 does not print the bias of batch normalisation, and has it all the same."""
    return printed.replace("affine=True, bias=True,", "affine=True,")


@pytest.fixture(scope="module", params=PRINTED)
def structure(request, world):
    # The generated world has the features of MovieLens-1M, so that only its rows are fewer.
    experiment, _ = read_experiment(f"configs/{request.param}.yaml")
    return request.param, build_model(experiment, world)


def test_both_towers_print_as_published(structure):
    name, model = structure
    user, item = PRINTED[name]
    assert without_norm_bias(str(model.user_tower.mlp)) == without_norm_bias(user)
    assert without_norm_bias(str(model.item_tower.mlp)) == without_norm_bias(item)


@pytest.mark.parametrize(("tower", "width"), [("user_tower", 256), ("item_tower", 128)])
def test_layers_and_weights_are_those_that_are_printed(structure, tower, width):
    name, model = structure
    mlp = getattr(model, tower).mlp
    assert all(isinstance(layer, kind) for layer, kind in zip(mlp, LAYERS[name] * 3, strict=True))
    shapes = [tuple(parameter.shape) for parameter in mlp.parameters()]
    expected = []
    for out_features in WIDTHS[name]:
        expected += [(out_features, width), (out_features,)]
        expected += [(out_features,), (out_features,)] * (nn.BatchNorm1d in LAYERS[name])
        width = out_features
    assert shapes == expected
    for norm in (layer for layer in mlp if isinstance(layer, nn.BatchNorm1d)):
        assert (norm.eps, norm.momentum, norm.affine, norm.track_running_stats) == (1e-5, 0.1, True, True)
    assert {layer.p for layer in mlp if isinstance(layer, nn.Dropout)} == {0.3 if name.endswith("first") else 0.2}


@pytest.mark.parametrize(("tower", "features"), [("user_tower", 4), ("item_tower", 2)])
def test_towers_start_from_64_numbers_a_feature(structure, tower, features):
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
