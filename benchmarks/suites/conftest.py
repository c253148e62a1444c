"""Options and fixtures of the suites. A suite is a file test_<suite>.py; each of its tests leaves one record."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from towerzoo.benchmarks.baselines.bare_loop import bare_process
from towerzoo.benchmarks.measure.measuring import QUICK, THOROUGH, Measure
from towerzoo.benchmarks.measure.origin import here
from towerzoo.benchmarks.measure.processes import RateProcess
from towerzoo.benchmarks.measure.record import Record
from towerzoo.benchmarks.measure.roofline import DTYPES, Roofline, measure_roofline
from towerzoo.benchmarks.measure.summary import summary_lines
from towerzoo.benchmarks.suites.options import DEVICES, Prepare, SuiteOptions
from towerzoo.benchmarks.suites.run import SIGNALS
from towerzoo.datasets import TwoTowerData
from towerzoo.registry.errors import Interrupted, TowerZooError
from towerzoo.registry.experiment import Experiment
from towerzoo.towers.device import settle_process, why_slow
from towerzoo.towers.model.build import load_data, read_experiment
from towerzoo.towers.training.module import EXECUTIONS


@dataclass
class Session:
    """The options and the findings of a pytest session.

    Attributes:
        options: What to measure.
        data: Name of the dataset that was measured on.
        devices: Devices that were measured.
        records: What was measured.
        rooflines: Rooflines by device and number of threads.
    """

    options: SuiteOptions
    data: str = "made by the suite"
    devices: set[str] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    rooflines: dict[tuple[str, int], Roofline] = field(default_factory=dict)

    def roofline(self, device: str) -> Roofline:
        """Returns a device's roofline with the current number of threads, measured once a session."""
        key = (device, torch.get_num_threads())
        if key not in self.rooflines:
            self.rooflines[key] = measure_roofline(device)
        return self.rooflines[key]

    @functools.cached_property
    def slow_bfloat16(self) -> str | None:
        """Why bfloat16 is slow on this processor, or None if it is not."""
        return why_slow()


SESSION = pytest.StashKey[Session]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options that tools/measure/benchmark.py passes on."""
    group = parser.getgroup("towerzoo")
    group.addoption("--device", choices=["auto", *DEVICES], help="measure on this device; by default on all")
    group.addoption("--precision", choices=list(DTYPES), help="measure in this precision; by default in both")
    group.addoption("--quick", action="store_true", help="fewer parameters and rounds")
    group.addoption("--events", type=int, metavar="N", help="measure on N generated events")


def pytest_configure(config: pytest.Config) -> None:
    """Checks the options."""
    config.addinivalue_line("markers", "thorough: left out with --quick")
    try:
        options = SuiteOptions(
            device=config.getoption("--device") or "auto",
            precision=config.getoption("--precision"),
            quick=config.getoption("--quick"),
            events=config.getoption("--events"),
        )
    except TowerZooError as error:
        raise pytest.UsageError(str(error)) from None
    config.stash[SESSION] = Session(options)


def pytest_sessionstart() -> None:
    """Lets a signal end the session instead of the current test alone."""
    for number in SIGNALS:
        signal.signal(number, _end)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Ends the session also if training has handled the signal."""
    try:
        return (yield)
    except Interrupted as error:
        _end(error.signal_number)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out thorough tests in a quick session."""
    if config.stash[SESSION].options.quick:
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Measures on every device and in every precision, or in the requested ones."""
    options = metafunc.config.stash[SESSION].options
    if "device" in metafunc.fixturenames:
        chosen = (options.device_type,) if metafunc.config.getoption("--device") else DEVICES
        no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
        marks = {"cpu": (), "cuda": (no_gpu,)}
        metafunc.parametrize("device", [pytest.param(device, marks=marks[device]) for device in chosen])
    if "precision" in metafunc.fixturenames:
        metafunc.parametrize("precision", [options.precision] if options.precision else list(DTYPES))


@pytest.fixture(scope="session")
def session(pytestconfig: pytest.Config) -> Session:
    """The options and the findings of this session."""
    return pytestconfig.stash[SESSION]


@pytest.fixture(params=list(EXECUTIONS))
def execution(request: pytest.FixtureRequest, device: str) -> str:
    """How modules are executed: eager, compile or cuda-graphs."""
    if request.param != "eager" and device != "cuda":
        pytest.skip(f"training.execution={request.param} needs a GPU")
    return str(request.param)


@pytest.fixture(scope="session")
def movielens_1m(session: Session) -> Path | None:
    """The folder of MovieLens-1M's files; None if they are absent or generated events are requested."""
    root = os.environ.get("TOWERZOO_DATA")
    folder = Path(root).expanduser() / "ml-1m" if root else None
    if session.options.events is not None or folder is None or not folder.is_dir():
        return None
    session.data = "movielens-1m"
    return folder


@pytest.fixture(scope="session")
def overrides(session: Session, movielens_1m: Path | None) -> list[str]:
    """Overrides of the shipped configs: generated data of MovieLens-1M's size if MovieLens-1M is not used."""
    if movielens_1m is not None:
        return []
    events = session.options.events or 1_000_209
    session.data = f"synthetic, {events} events"
    # A user of MovieLens-1M has 166 events on average; every pair of user and item is unique.
    users, items = min(6040, events // 10), min(3706, max(40, events // 20))
    world = f"name: synthetic, users: {users}, items: {items}, interactions: {events}"
    return [f"data={{{world}, label: {{positive_from: 4}}, split: random}}"]


@pytest.fixture(scope="session")
def prepare(overrides: list[str]) -> Prepare:
    """Returns the experiment of a config with settings, and its data, which is loaded once a session."""
    loaded: dict[str, TwoTowerData] = {}

    def prepared(config: str, *settings: str) -> tuple[Experiment, TwoTowerData]:
        experiment, _ = read_experiment(config, [*overrides, *settings])
        key = f"{experiment.data!r} {experiment.seed}"
        if key not in loaded:
            loaded[key] = load_data(experiment)
        return experiment, loaded[key]

    return prepared


@pytest.fixture(scope="session")
def bare_loop(overrides: list[str]) -> Iterator[Callable[[str], RateProcess]]:
    """Returns the bare loop on a device; it loads its data once a session."""
    with contextlib.ExitStack() as processes:
        yield functools.cache(lambda device: processes.enter_context(bare_process(device, overrides)))


@pytest.fixture
def measure(request: pytest.FixtureRequest, session: Session, benchmark: Any) -> Iterator[Measure]:
    """Measures for a test, in a process that is set up as for training. Its name and parameters are the record's."""
    params = dict(request.node.callspec.params) if hasattr(request.node, "callspec") else {}
    device, options = params.pop("device", "cpu"), session.options
    unrequested = params.get("precision") == "bf16" and options.quick and options.precision is None
    if unrequested and device == "cpu" and (reason := session.slow_bfloat16):
        pytest.skip(f"{reason} Request it with --precision bf16.")
    session.devices.add(device)
    settle_process(torch.device(device))
    # Keeps the garbage collector from scanning the objects of earlier tests again during this measurement.
    gc.collect()
    gc.freeze()
    yield Measure(
        benchmark=benchmark,
        suite=request.path.stem.removeprefix("test_"),
        name=request.node.originalname.removeprefix("test_").replace("_", " "),
        params=params,
        device=device,
        effort=QUICK if options.quick else THOROUGH,
        roofline=functools.partial(session.roofline, device),
        records=session.records,
    )
    gc.unfreeze()


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Adds the origin of the records."""
    session = config.stash[SESSION]
    # Some suites measure the CPU alone, whatever device is requested.
    device = "cpu" if session.devices == {"cpu"} else session.options.device_type
    roofline = session.rooflines.get((device, torch.get_num_threads()))
    origin = here(device, data=session.data, quick=session.options.quick, roofline=roofline)
    output_json["origin"] = origin.model_dump()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Prints the records."""
    if records := config.stash[SESSION].records:
        terminalreporter.section("measured: median (lowest to highest)")
        for line in summary_lines(records):
            terminalreporter.line(line)


def _end(number: int, frame: object = None) -> NoReturn:
    # Ctrl-C reaches this process and its parent, which then ends this one: a second signal must change nothing.
    for ignored in SIGNALS:
        signal.signal(ignored, lambda *_: None)
    pytest.exit(f"{signal.Signals(number).name} ended the session", returncode=128 + number)
