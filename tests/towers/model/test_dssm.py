from __future__ import annotations

from towerzoo.towers.model.build import build_model


def test_a_description_has_both_towers_as_torch_prints_them_and_counts_parameters(make_experiment, world):
    model = build_model(make_experiment(), world)
    text = model.describe()
    assert "user tower: user_id 4, gender 4, age 4, occupation 4\n" + str(model.user_tower.mlp) in text
    assert "item tower: movie_id 4, genres 4\n" + str(model.item_tower.mlp) in text
    assert f"score: CosineScore, {sum(p.numel() for p in model.parameters()):,} parameters in all" in text
    towers = {"user_tower": {"features": {}}, "item_tower": {"features": {}}}
    bias = build_model(make_experiment(**towers, score={"name": "dot", "user_bias": True}), world)
    assert "user tower: no features\n" in bias.describe()
