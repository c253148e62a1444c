"""Options and fixtures of the suites. A suite is a file test_<suite>.py; each of its tests leaves one record."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from towerzoo.benchmarks.baselines.bare_process import bare_process
from towerzoo.benchmarks.measure.measuring import QUICK, THOROUGH, Effort, Measure
from towerzoo.benchmarks.measure.origin import here
from towerzoo.benchmarks.measure.rate_process import RateProcess
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.roofline import Roofline, measure_roofline, training_flops
from towerzoo.benchmarks.measure.summary import summary_lines
from towerzoo.benchmarks.measure.training_epoch import TRAINER_PRECISIONS, epoch_rate
from towerzoo.benchmarks.suites.options import DEVICES, SuiteOptions, why_absent, why_not
from towerzoo.benchmarks.suites.run import SIGNALS
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.errors import Interrupted, TowerZooError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import settle_process, why_slow
from towerzoo.towers.model.build import build_model, load_data, read_experiment
from towerzoo.towers.training.rules import MODES

OPTIONS = pytest.StashKey[SuiteOptions]()
RECORDS = pytest.StashKey[list[Record]]()
DEVICES_SEEN = pytest.StashKey[set[str]]()
DATA = pytest.StashKey[str]()
ROOFLINES = pytest.StashKey[dict[tuple[str, int], Roofline]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what tools/benchmark.py run passes on."""
    group = parser.getgroup("towerzoo")
    group.addoption("--device", help="measure on cpu, cuda or auto alone; without it, on both where they are")
    group.addoption("--precision", help="measure float32 or bf16 alone")
    group.addoption("--quick", action="store_true", help="fewer parameters and rounds")
    group.addoption("--compile", action="store_true", help="measure torch.compile on a CPU too")
    group.addoption("--events", type=int, metavar="N", help="measure on N generated events")


def pytest_configure(config: pytest.Config) -> None:
    """Checks the options."""
    config.addinivalue_line("markers", "thorough: left out with --quick")
    try:
        config.stash[OPTIONS] = SuiteOptions(
            device=config.getoption("--device") or "auto",
            precision=config.getoption("--precision"),
            quick=config.getoption("--quick"),
            compiled=config.getoption("--compile"),
            events=config.getoption("--events"),
        )
    except TowerZooError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[RECORDS] = []
    config.stash[DEVICES_SEEN] = set()
    config.stash[DATA] = "made by the suite"
    config.stash[ROOFLINES] = {}


def pytest_sessionstart() -> None:
    """Lets a signal end the session, and not the test alone."""
    for number in SIGNALS:
        signal.signal(number, _end)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Does so too where training has taken the signal."""
    try:
        return (yield)
    except Interrupted as error:
        _end(error.signal_number)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is marked as thorough where a quick look is asked for."""
    if config.stash[OPTIONS].quick:
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Measures on every device and in every precision, or in those that are asked for."""
    options = metafunc.config.stash[OPTIONS]
    if "device" in metafunc.fixturenames:
        chosen = (options.device_type,) if metafunc.config.getoption("--device") else DEVICES
        metafunc.parametrize("device", [_or_skipped(device, why_absent(device)) for device in chosen])
    if "precision" in metafunc.fixturenames:
        metafunc.parametrize("precision", options.precisions)


@pytest.fixture(params=list(MODES))
def execution(request: pytest.FixtureRequest, device: str) -> str:
    """How modules are executed: eager, compile or cuda-graphs."""
    chosen = str(request.param)
    reason = why_not(chosen, device, asked=request.config.stash[OPTIONS].compiled)
    if reason:
        pytest.skip(reason)
    return chosen


@pytest.fixture(scope="session")
def movielens_1m(pytestconfig: pytest.Config) -> Path | None:
    """The folder of MovieLens-1M's files; None where they are absent or generated events are asked for."""
    root = os.environ.get("TOWERZOO_DATA")
    folder = Path(root).expanduser() / "ml-1m" if root else None
    if pytestconfig.stash[OPTIONS].events is not None or folder is None or not folder.is_dir():
        return None
    pytestconfig.stash[DATA] = "movielens-1m"
    return folder


@pytest.fixture(scope="session")
def overrides(pytestconfig: pytest.Config, movielens_1m: Path | None) -> list[str]:
    """Overrides that make the shipped configs run here: generated data of MovieLens-1M's size where that is absent."""
    if movielens_1m is not None:
        return []
    events = pytestconfig.stash[OPTIONS].events or 1_000_209
    pytestconfig.stash[DATA] = f"synthetic, {events} events"
    # A user of MovieLens-1M has 166 events on average; no pair of user and item comes twice.
    users, items = min(6040, events // 10), min(3706, max(40, events // 20))
    world = f"name: synthetic, users: {users}, items: {items}, interactions: {events}"
    return [f"data={{{world}, label: {{positive_from: 4}}, split: random}}"]


@pytest.fixture(scope="session")
def load() -> Callable[[Experiment], TwoTowerData]:
    """Loads an experiment's data, once for all tests that measure on it."""
    loaded: dict[str, TwoTowerData] = {}

    def once(experiment: Experiment) -> TwoTowerData:
        key = f"{experiment.data!r} {experiment.seed}"
        if key not in loaded:
            loaded[key] = load_data(experiment)
        return loaded[key]

    return once


@pytest.fixture(scope="session")
def bare_loop(overrides: list[str]) -> Iterator[Callable[[str], RateProcess]]:
    """Returns the bare loop on a device; it loads its data once a session."""
    with contextlib.ExitStack() as processes:
        yield functools.cache(lambda device: processes.enter_context(bare_process(device, overrides)))


@pytest.fixture(scope="session")
def roofline(pytestconfig: pytest.Config) -> Callable[[str], Roofline]:
    """Measures what a device does at best with the current threads, once a session and number of threads."""
    rooflines = pytestconfig.stash[ROOFLINES]

    def measured(device: str) -> Roofline:
        key = (device, torch.get_num_threads())
        if key not in rooflines:
            rooflines[key] = measure_roofline(device)
        return rooflines[key]

    return measured


@pytest.fixture(scope="session")
def slow_bfloat16(pytestconfig: pytest.Config) -> str | None:
    """Why a quick look leaves bfloat16 out on the CPU; None where it does not, or is asked for it."""
    options = pytestconfig.stash[OPTIONS]
    return why_slow() if options.quick and options.precision is None else None


@pytest.fixture(autouse=True)
def _not_slow_bfloat16(request: pytest.FixtureRequest, slow_bfloat16: str | None) -> None:
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if slow_bfloat16 and params.get("precision") == "bf16" and params.get("device", "cpu") == "cpu":
        pytest.skip(f"{slow_bfloat16} Ask for it with --precision bf16.")


@pytest.fixture
def measure(request: pytest.FixtureRequest, benchmark: Any, roofline: Callable[[str], Roofline]) -> Iterator[Measure]:
    """Measures for a test, in a process that is set up as for training. Its name and parameters are the record's."""
    params = dict(request.node.callspec.params) if hasattr(request.node, "callspec") else {}
    device = params.pop("device", "cpu")
    request.config.stash[DEVICES_SEEN].add(device)
    settle_process(torch.device(device))
    # What earlier tests have left is not looked through again and again while this one is measured.
    gc.collect()
    gc.freeze()
    yield Measure(
        benchmark=benchmark,
        suite=request.path.stem.removeprefix("test_"),
        name=request.node.originalname.removeprefix("test_").replace("_", " "),
        params=params,
        device=device,
        effort=_effort(request.config),
        roofline=functools.partial(roofline, device),
        records=request.config.stash[RECORDS],
    )
    gc.unfreeze()


@pytest.fixture
def steps(pytestconfig: pytest.Config) -> Callable[..., int]:
    """Returns how many steps a round trains: at least two, and no more than an epoch has whole batches."""
    samples = _effort(pytestconfig).samples

    def count(experiment: Experiment, data: TwoTowerData, *, longer: int = 1) -> int:
        size = experiment.data.batch_size
        whole = len(data.split.train) // size
        if not whole:
            pytest.skip(f"the data has no whole batch of {size}")
        return min(max(2, longer * samples // size), whole)

    return count


@pytest.fixture
def measure_training(
    measure: Measure,
    overrides: list[str],
    load: Callable[[Experiment], TwoTowerData],
    steps: Callable[..., int],
) -> Callable[..., None]:
    """Measures steps of an epoch of a config, all of TowerZoo's bookkeeping included."""

    def run(config: str, *settings: str, precision: str = "float32") -> None:
        override = f"trainer.precision={TRAINER_PRECISIONS[precision]}"
        experiment, _ = read_experiment(config, [*overrides, *settings, override])
        data = load(experiment)
        count = steps(experiment, data)
        measure.rate(
            lambda: epoch_rate(experiment, data, steps=count, device=measure.device),
            flops=training_flops(build_model(experiment, data.schema)),
        )

    return run


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def pytest_benchmark_generate_machine_info() -> dict[str, Any]:
    """Replaces pytest-benchmark's, which holds the machine's name, by nothing; the origin tells of the machine."""
    return {}


def pytest_benchmark_generate_commit_info() -> dict[str, Any]:
    """Replaces pytest-benchmark's by nothing; the origin tells the commit of the code under test."""
    return {}


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Adds where the records come from."""
    options, rooflines = config.stash[OPTIONS], config.stash[ROOFLINES]
    # Some suites measure the CPU alone, whatever is asked for.
    device = "cpu" if config.stash[DEVICES_SEEN] == {"cpu"} else options.device_type
    roofline = rooflines.get((device, torch.get_num_threads()))
    origin = here(device, data=config.stash[DATA], quick=options.quick, roofline=roofline)
    output_json["origin"] = origin.model_dump()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the records."""
    records = config.stash[RECORDS]
    if records:
        terminalreporter.section("measured: median (lowest to highest)")
        for line in summary_lines(records):
            terminalreporter.line(line)


def _end(number: int, frame: object = None) -> NoReturn:
    # Ctrl-C reaches this process and the one that started it, which then ends this one.
    for one in SIGNALS:
        signal.signal(one, lambda *_: None)
    pytest.exit(f"{signal.Signals(number).name} ended the session", returncode=128 + number)


def _effort(config: pytest.Config) -> Effort:
    return QUICK if config.stash[OPTIONS].quick else THOROUGH


def _or_skipped(value: str, reason: str | None) -> Any:
    return pytest.param(value, marks=pytest.mark.skip(reason=reason)) if reason else value
