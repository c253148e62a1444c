"""The baseline of training: the dropout-first structure and a training loop in plain PyTorch.

Model and loop use none of TowerZoo's parts, so that a faster part never makes its own baseline faster. They run in a
process with torch's settings for memory and threads instead of TowerZoo's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from towerzoo.benchmarks.measure.memory import PeakMemory
from towerzoo.benchmarks.measure.processes import CONFIG, RateProcess, answer_rates
from towerzoo.benchmarks.measure.roofline import synchronize
from towerzoo.datasets import StarSchema
from towerzoo.towers.model.build import load_data, read_experiment

DIM, WIDTHS, DROPOUT, SCALE = 64, (256, 256, 256), 0.3, 10.0
USER_IDS = ("user_id", "gender", "age", "occupation")


class BareDSSM(nn.Module):
    """Two towers of embeddings and dropout-linear-bn-tanh layers, scored by ten times their cosine.

    Genres are six slots, padded with 0 and averaged over all six.

    Args:
        cardinalities: Number of ids of each user feature, of `movie_id` and of `genres`.
        dim: Length of every embedding.
        widths: Output width of each layer of both towers.
        dropout: Share of values set to 0 in training, in [0, 1).
    """

    def __init__(
        self,
        cardinalities: Mapping[str, int],
        *,
        dim: int = DIM,
        widths: Sequence[int] = WIDTHS,
        dropout: float = DROPOUT,
    ) -> None:
        super().__init__()
        self.user_embeddings = nn.ModuleList([nn.Embedding(cardinalities[name], dim) for name in USER_IDS])
        self.item_embedding = nn.Embedding(cardinalities["movie_id"], dim)
        self.genre_embedding = nn.Embedding(cardinalities["genres"], dim, padding_idx=0)
        self.user_mlp = _mlp(len(USER_IDS) * dim, widths, dropout)
        self.item_mlp = _mlp(2 * dim, widths, dropout)

    def forward(self, users: Tensor, movie: Tensor, genres: Tensor) -> Tensor:
        """Maps ids of user features (B, 4), of movies (B,) and of genres (B, 6) to logits (B,)."""
        embedded = [embedding(users[:, n]) for n, embedding in enumerate(self.user_embeddings)]
        user = self.user_mlp(torch.cat(embedded, dim=1))
        item = self.item_mlp(torch.cat([self.item_embedding(movie), self.genre_embedding(genres).mean(dim=1)], dim=1))
        return SCALE * functional.cosine_similarity(user, item)


class BareLoop:
    """The usual loop: joined rows as tensors, indexed by a shuffled batch, and Adam with its defaults.

    Args:
        schema: The dataset.
        labels: Labels of all events (N,).
        rows: The training events.
        batch_size: Events per batch.
        device: `cpu` or `cuda`; all rows are on it before the clock starts.
    """

    def __init__(self, schema: StarSchema, labels: Tensor, rows: Tensor, *, batch_size: int, device: str) -> None:
        user, item = schema.interactions.user[rows], schema.interactions.item[rows]
        columns = {**schema.users.columns, **schema.items.columns}
        self.cardinalities = {name: columns[name].cardinality for name in (*USER_IDS, "movie_id", "genres")}
        self.users = torch.stack([columns[name].values[user] for name in USER_IDS], dim=1).to(device)
        self.movie = columns["movie_id"].values[item].to(device)
        self.genres = columns["genres"].values[item].to(device)
        self.labels = labels[rows].to(device)
        self.batch_size = batch_size
        self.device = device

    def rate(self, steps: int) -> float:
        """Trains a new model for some steps and returns samples a second."""
        model = BareDSSM(self.cardinalities).to(self.device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        loss_function = nn.BCEWithLogitsLoss()
        model.train()
        synchronize(self.device)
        started = time.perf_counter()
        order = torch.randperm(len(self.labels), device=self.device)
        for step in range(steps):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            logits = model(self.users[batch], self.movie[batch], self.genres[batch])
            loss = loss_function(logits, self.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        synchronize(self.device)
        return steps * self.batch_size / (time.perf_counter() - started)


def _mlp(width: int, widths: Sequence[int], dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for out_features in widths:
        layers += [nn.Dropout(dropout), nn.Linear(width, out_features), nn.BatchNorm1d(out_features), nn.Tanh()]
        width = out_features
    return nn.Sequential(*layers)


def bare_process(device: str, overrides: Sequence[str]) -> RateProcess:
    """Starts the loop on `cpu` or `cuda`, with the config's data and batch size; `overrides` change its data."""
    return RateProcess("towerzoo.benchmarks.baselines.bare_loop", [device, *overrides])


if __name__ == "__main__":
    peak = PeakMemory(sys.argv[1])
    experiment, _ = read_experiment(CONFIG, sys.argv[2:])
    data = load_data(experiment)
    size = experiment.data.batch_size
    loop = BareLoop(data.schema, data.labels, data.split.train, batch_size=size, device=sys.argv[1])
    answer_rates(loop.rate, peak.growth)
