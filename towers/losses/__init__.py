'''Losses of labelled pairs and of candidates, and the samplers that draw candidates.

A loss (`LOSSES`) is called without context and returns an `nn.Module` of one of two kinds.

- A loss of pairs maps logits (B,), labels (B,) in [0, 1] and, in training on data that has them, weights (B,) > 0 to a
  mean loss ().
- A loss of candidates is a `candidates.CandidateLoss`. It maps the logits of the events' own items, positive (B,), the
  logits of all candidates, negatives (B, C), the `candidates.Candidates` and weights (B,) or None to a weighted mean
  loss (). A logit of minus infinity in negatives is a candidate that does not count for the event.

The loss has a gradient and is finite for finite logits.

A sampler (`SAMPLERS`) is called with `item_counts` (n_items,), the training events of each item row. It returns an
object with the methods `draw` and `expected` of `candidates.Sampler`. It may draw from torch's default CPU generator,
which all devices that train together share. A class with `takes_shown = True` compares events with the items shown, and
may draw nothing. `python tools/measure/verify_loss.py` checks that `expected` is right.

    from towerzoo.registry import LOSSES
    from towerzoo.towers.losses.candidates import CandidateLoss
    from towerzoo.towers.losses.sampled import mean_over_candidates, weighted_mean

    @LOSSES.register("squared-hinge")
    class SquaredHinge(CandidateLoss):
        """Mean over candidates of max(0, 1 - positive + negative) squared."""

        def forward(self, positive, negatives, candidates, weights=None):
            negatives = self.mine(positive, negatives)
            losses = functional.relu(1 - positive.unsqueeze(1) + negatives).square()
            return weighted_mean(mean_over_candidates(losses, negatives), weights)
'''
