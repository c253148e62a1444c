"""What would go wrong on a GPU, on any machine: a GPU is pretended whose numbers are computed by the CPU."""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from towerzoo.datasets import Batch
from towerzoo.datasets.batches.loaders import BatchLoader, ShareLoader
from towerzoo.datasets.batches.streams import StreamedEvents
from towerzoo.registry.config import shipped_configs
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.recommend.explanation import explain
from towerzoo.towers.recommend.recommender import Recommender
from towerzoo.towers.training.callbacks import EpochSeeds, FiniteLoss
from towerzoo.towers.training.data import DataModule
from towerzoo.towers.training.module import build_module

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
BY_PLACES = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""Operations on a GPU that take places of the CPU too."""
OF_UNKNOWN_SIZE = {"_unique2", "unique_consecutive", "nonzero", "bincount", "repeat_interleave", "_coalesce"}
ANSWERS = {"_local_scalar_dense", "equal"}
DATA = "data={name: synthetic, users: 60, items: 40, interactions: 800, seed: 3, batch_size: 100, split: SPLIT}"
CONFIGS = [file.stem for file in shipped_configs()]


class PretendedGPU:
    """Follows which tensors lie on a pretended GPU, and lets torch say of them what it would say of a real one.

    Attributes:
        waits: What the host waited for: sizes and values that it must know, and copies that are not asynchronous.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self._held: dict[int, StorageWeakRef] = {}  # while it is referred to, nothing else comes to its address

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        engine, functions = torch.autograd._engine_run_backward, _Functions(self)

        def run_backward(*arguments: Any, **others: Any) -> Any:
            with functions:  # which torch puts aside while it runs a function that may be overridden
                return engine(*arguments, **others)

        with mock.patch.object(torch.autograd, "_engine_run_backward", run_backward), _Operations(self), functions:
            yield

    def holds(self, tensor: Tensor) -> bool:
        return _storage(tensor)._cdata in self._held

    def take(self, tensor: Tensor) -> None:
        reference = StorageWeakRef(_storage(tensor))
        self._held[reference.cdata] = reference

    def wait(self, reason: str) -> None:
        files = (Path(frame.f_code.co_filename) for frame, _ in traceback.walk_stack(None))
        ours = (file.name for file in files if {"towers", "datasets"} & set(file.parts) and str(file) != __file__)
        self.waits.append(" in ".join([reason, *itertools.islice(ours, 1)]))


class _Operations(TorchDispatchMode):
    """Every operation of torch, that of a backward pass too."""

    def __init__(self, gpu: PretendedGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name
        there = [self.gpu.holds(tensor) for tensor in _tensors((args, kwargs))]
        if not any(there):
            return func(*args, **kwargs)
        if name == "aten::copy_":
            if not all(there) and not (len(args) > 2 and args[2]):
                self.gpu.wait("copy_")
            return func(*args, **kwargs)
        places = _tensors(args[1]) if name in BY_PLACES else []
        written = [value for value, about in zip(args, func._schema.arguments, strict=False) if about.is_write]
        whole = _tensors((args[0], args[2:])) if places else _tensors((args, kwargs))
        # A single number of the CPU may go into an operation, but takes no result and stands in no list.
        strict = [*_tensors(written), *_tensors([value for value in args if isinstance(value, list) and not places])]
        wrong = [one for one in whole if one.dim() and not self.gpu.holds(one)]
        wrong += [one for one in strict if not self.gpu.holds(one)]
        assert not wrong, f"{name} of the GPU must get no tensor of the CPU, got some of {[one.shape for one in wrong]}"
        short = name.removeprefix("aten::")
        moved = any(one.dtype is torch.bool or not self.gpu.holds(one) for one in places)
        if moved or short in ANSWERS or (short in OF_UNKNOWN_SIZE and kwargs.get("output_size") is None):
            self.gpu.wait(short)
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            self.gpu.take(tensor)
        return result


class _Functions(TorchFunctionMode):
    """What Python asks a tensor for, and where it makes and moves them."""

    def __init__(self, gpu: PretendedGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], Tensor) and self.gpu.holds(args[0]):
            if func == Tensor.device.__get__:
                return GPU
            assert func not in (Tensor.numpy, Tensor.__array__), "numpy must get tensors of the CPU, got one of the GPU"
            if func is Tensor.tolist:
                self.gpu.wait("tolist")
            if func is Tensor.new_tensor:
                kwargs["device"] = GPU
        if func is Tensor.to or func is Tensor.cpu:
            return self._moved(*args, **kwargs) if func is Tensor.to else self._moved(args[0], CPU)
        if torch.device(kwargs.get("device") or CPU).type == "cpu":
            return func(*args, **kwargs)
        assert kwargs.get("generator") is None, f"{func.__name__} on the GPU must have no generator of the CPU"
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            self.gpu.wait(func.__name__)
        made = func(*args, **{**kwargs, "device": CPU})
        self.gpu.take(made)
        return made

    def _moved(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            args = (GPU if self.gpu.holds(args[0]) else CPU, args[0].dtype, *args[1:])
        elif args and isinstance(args[0], torch.dtype):
            args = (None, *args)
        given = dict(zip(("device", "dtype", "non_blocking", "copy"), args, strict=False)) | kwargs
        device, dtype = given.pop("device", None), given.pop("dtype", None)
        result, here = tensor.to(dtype=dtype or tensor.dtype, **given), self.gpu.holds(tensor)
        if device is None or (torch.device(device).type == "cuda") == here:
            return result
        if here or not given.get("non_blocking"):
            self.gpu.wait(f"to the {'CPU' if here else 'GPU'}")
        with _disable_current_modes():
            result = result.clone()
        if not here:
            self.gpu.take(result)
        return result


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        pass


class _StepWaits(Callback):
    """Notes what the host waits for in each step, Lightning's part included."""

    def __init__(self, gpu: PretendedGPU) -> None:
        self.gpu, self.steps = gpu, []

    def on_train_batch_start(self, *_: Any) -> None:
        self.before = len(self.gpu.waits)

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append(set(self.gpu.waits[self.before :]))


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return (tensor._values() if tensor.is_sparse else tensor).untyped_storage()


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def waits_of_a_step(config: str, *overrides: str, split: str = "random") -> set[str]:
    """Trains, validates and tests a config on the pretended GPU, and returns what a step waits for."""
    data_of = DATA.replace("SPLIT", split).replace("}", ", label: {column: rating, positive_from: 4}}", 1)
    short = ["evaluation.ranking.at=[10]"] if "retrieval" in config else []
    experiment, _ = read_experiment(config, [data_of, "trainer={}", *short, *overrides])
    data = load_data(experiment)
    model = build_module(experiment, data.schema)
    gpu = PretendedGPU()
    watch = _StepWaits(gpu)
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    with gpu.running():
        trainer = Trainer(
            strategy=SingleDeviceStrategy(GPU, accelerator=_Accelerator()),
            max_epochs=1,
            limit_train_batches=4,
            num_sanity_val_steps=0,
            callbacks=[EpochSeeds(0), FiniteLoss(), watch],
            **quiet,
        )
        trainer.fit(model, DataModule(data))
        trainer.test(model, DataModule(data), verbose=False)
    return set().union(*watch.steps[2:-1])  # the first ones make what is kept, and losses are looked at in the last


def test_mistakes_of_devices_show():
    gpu = PretendedGPU()
    with gpu.running():
        there, here = torch.ones(3, device=GPU), torch.ones(3)
        assert (there + 1).device == (there + torch.tensor(1.0)).device == there[here > 0].device == GPU
        assert gpu.waits == ["index"]
        for mistake in (
            lambda: there + here,
            lambda: there.index_select(0, torch.tensor([0])),
            lambda: torch.cat([there, torch.ones(1)]),
            lambda: torch.tensor(0.0).add_(there.sum()),
            lambda: torch.rand(2, device=there.device, generator=torch.Generator()),
            lambda: there.numpy(),
        ):
            with pytest.raises(AssertionError, match="of the CPU"):
                mistake()
        assert bool(there.cpu().eq(here).all())
        assert there.sum().item() == 3
        assert gpu.waits[1:] == ["to the CPU", "_local_scalar_dense"]


UNIQUE = {"_unique2 in module.py", "bincount in pair_scores.py"}
HISTORY = {
    "_unique2 in history.py",
    "_local_scalar_dense in history.py",
    "index in history.py",
    "bincount in bag_sums.py",
}
CANDIDATES = {"_unique2 in candidates.py", "_unique2 in module.py", "index in candidates.py"}
KNOWN = {"repeat_interleave in seen_items.py"}
WAITS = {
    "fast": UNIQUE,
    "history": HISTORY,
    "title_trigrams": UNIQUE | {"_local_scalar_dense in letter_trigrams.py", "bincount in bag_sums.py"},
    "retrieval_bpr": CANDIDATES | KNOWN,
    "retrieval_softmax": CANDIDATES | KNOWN,
}
"""What the steps of shipped configs wait for, as docs/performance.md says; those of others for nothing."""


@pytest.mark.parametrize("config", CONFIGS)
def test_shipped_configs_train_and_test_on_a_gpu_and_wait_for_nothing_that_is_not_documented(config):
    assert waits_of_a_step(config) <= WAITS.get(config, set())


HISTORY_OF = "user_tower.features.events={encoder: history, dim: 8, by: feedback, "
SPARSE = "{encoder: embedding, dim: 64, sparse: true}"
CASES: dict[str, tuple[str, list[str], set[str]]] = {
    "unique": ("tanh_bn", ["training.unique=true", "score={name: dot, user_bias: true}"], UNIQUE),
    "weights of classes": ("tanh", ["loss={name: bce-with-logits, positive_weight: 2, label_smoothing: 0.1}"], set()),
    "adamw, one-cycle": ("relu", ["optimizer=adamw", "training.schedule=one-cycle"], set()),
    "adagrad, cosine": ("relu", ["optimizer=adagrad", "training.schedule=cosine"], set()),
    "sgd, learned scale": (
        "relu",
        ["optimizer={name: sgd, lr: 0.1}", "score={name: cosine, learn_scale: true}"],
        set(),
    ),
    "sparse": ("relu", [f"user_tower.features.user_id={SPARSE}"], {"_coalesce in rowwise_adam.py"}),
    "penalty, id dropout, hashes, numbers": (
        "relu",
        [
            "user_tower.features.user_id={encoder: embedding, dim: 64, penalty: 0.1, id_dropout: 0.2}",
            "user_tower.features.occupation={encoder: hashed-embedding, dim: 64, buckets: 9, hashes: 2}",
            "item_tower.features.movie_id={encoder: bucketized, dim: 8}",
            "user_tower.features.age={encoder: numeric, dim: 3, transform: quantile}",
            "item_tower.features.genres={encoder: embedding-bag, dim: 8, pooling: attention, id_dropout: 0.1}",
        ],
        set(),
    ),
    "the latest events": ("relu", [HISTORY_OF + "last: 5, pooling: recency, dropout: 0.2}"], set()),
    "all events": ("relu", [HISTORY_OF + "pooling: sqrtn, dropout: 0.2}", "training.unique=true"], UNIQUE | HISTORY),
    "catalogue": ("retrieval_softmax", ["loss=full-softmax"], CANDIDATES),
    "popularity": (
        "retrieval_softmax",
        ["loss={name: hinge, sampler: {name: popularity, n: 20}, hardest: 3}"],
        CANDIDATES | KNOWN,
    ),
    "mixed": (
        "retrieval_softmax",
        ["loss={name: bpr, sampler: {name: mixed, parts: [in-batch, {name: uniform, n: 10}]}, mining: semi-hard}"],
        CANDIDATES | KNOWN,
    ),
}


@pytest.mark.parametrize(("config", "overrides", "waits"), CASES.values(), ids=CASES)
def test_parts_train_and_test_on_a_gpu(config, overrides, waits):
    if any("hardest" in override for override in overrides) and torch.__version__ < (2, 13):
        pytest.skip("the backward pass of this torch's topk makes its zeros where nobody can watch")
    assert waits_of_a_step(config, *overrides, split="temporal") <= waits


def test_batches_of_a_share_and_of_a_stream_come_without_waiting():
    rows = torch.arange(10, dtype=torch.int32)
    events = Batch(rows, rows, torch.ones(10))
    gpu = PretendedGPU()
    with gpu.running():
        loader = ShareLoader(BatchLoader(events, rows, batch_size=4, device=GPU), 1, 2)
        gpu.waits.clear()  # the events move there once
        batches = [*loader, StreamedEvents(events).batch(GPU)]
        assert all(column.device == GPU for batch in batches for column in batch[:3])
    assert gpu.waits == []


@pytest.mark.parametrize("run", ["plain", "with_history"])
def test_a_model_on_a_gpu_answers_as_on_the_cpu(run, request):
    experiment, here = request.getfixturevalue(run)
    user, item = here.users.ids.values[3], here.items.ids.values[4]
    people = [
        here.person(user),
        here.person(features={"gender": "F"}, liked=[item], exclude=[here.items.ids.values[0]]),
    ]
    allowed = torch.arange(len(here.items)) % 3 > 0
    expected = here.top_items(people, 5, allowed=allowed)
    explained = [explain(here, person, 7) for person in people]
    similar = here.nearest_items(torch.tensor([3, 4]), 5)
    with PretendedGPU().running():
        there = Recommender(experiment, here.model.to(GPU), here.users, here.items, here.events)
        assert there.item_vectors.factors.device == GPU
        found = there.top_items(people, 5, allowed=allowed)
        assert torch.equal(found.items.cpu(), expected.items)
        assert torch.equal(there.nearest_items(torch.tensor([3, 4]), 5).items.cpu(), similar.items)
        assert [there.names.row(item.id) for item in there.answers(found, people)[0]] == expected.items[0].tolist()
        for person, one in zip(people, explained, strict=True):
            assert explain(there, person, 7).score == pytest.approx(one.score, abs=1e-4)
