"""The progress bar and the lines that are printed meanwhile share one console."""

import io
from types import SimpleNamespace

from rich.console import Console

from towerzoo.towers.training.progress import EpochProgress


def test_the_bar_counts_and_leaves_only_the_printed_lines():
    terminal = io.StringIO()
    console = Console(file=terminal, force_terminal=True, width=80)
    bar = EpochProgress(console)
    trainer = SimpleNamespace(current_epoch=3, num_training_batches=40)
    bar.on_train_epoch_start(trainer, None)
    for index in range(40):
        bar.on_train_batch_end(trainer, None, None, None, index)
    bar._progress.refresh()
    assert "epoch   3" in terminal.getvalue()
    assert "40/40" in terminal.getvalue()
    console.print("a line of the history")
    bar.on_train_epoch_end(trainer, None)
    shown = terminal.getvalue()
    assert shown.rindex("40/40") < shown.rindex("\x1b[2K")  # the bar's line is erased last
    assert "a line of the history\n" in shown
    bar.on_exception(trainer, None, KeyboardInterrupt())  # stopping twice does no harm
