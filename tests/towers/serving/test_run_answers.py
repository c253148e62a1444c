from __future__ import annotations

from towerzoo.registry.errors import RequestError
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.serving.answers import RunAnswers
from towerzoo.towers.serving.limits import Limits
from towerzoo.towers.serving.questions import recommend_model


def test_a_question_that_cannot_be_answered_leaves_those_beside_it_alone(trained):
    """Of a streamed run, what people have met is not known; whoever asks for it spoils no other's answer."""
    recommender = Recommender.open(trained)
    recommender.events = recommender.events._replace(whole=False)
    ask = recommend_model(Limits(items=100, body=1_000, batch=8))
    asks = [ask(user=1), ask(user=1, keep_seen=True, k=3), ask(features={"gender": "F"}, k=91), ask(liked=[4], k=2)]
    refused, kept, longer, new = RunAnswers(trained, recommender).recommend(asks)
    assert isinstance(refused, RequestError)
    assert "streamed" in str(refused)
    assert len(kept["items"]) == 3
    assert "k must be from 1 to 90" in str(longer)
    assert len(new["items"]) == 2
    assert "streamed" in RunAnswers(trained, recommender).explain(ask(user=1), "1")["notes"][-1]
