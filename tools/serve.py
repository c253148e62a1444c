"""Serves finished runs over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import device_option, tells_errors
from towerzoo.tools.person_options import index_option


@click.command("serve")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; others need a token.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File with the token that clients must show; without it, that of the variable TOWERZOO_TOKEN, if any.",
)
@click.option("--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Look for newer runs this often.")
@click.option("--max-k", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Items of one answer.")
@click.option(
    "--max-body", type=click.IntRange(1024, 16 << 20), default=64 << 10, show_default=True, help="Bytes of a request."
)
@click.option(
    "--max-batch", type=click.IntRange(1, 4096), default=64, show_default=True, help="Requests answered at once."
)
@index_option
@device_option
@tells_errors
def main(
    runs: tuple[Path, ...],
    host: str,
    port: int,
    token_file: Path | None,
    watch: float | None,
    max_k: int,
    max_body: int,
    max_batch: int,
    with_index: bool,
    device: str,
) -> None:
    """Serve RUNS, one or two run folders, or folders of runs, of which the newest finished one is served.

    Answers POST /recommend, GET /items/{id}/similar, /explain, /health and /metrics, and shows a page to try it with.
    SIGHUP, and POST /reload with the token, let newer runs answer; SIGTERM ends it when all is answered.

    \b
    python tools/serve.py runs/tanh_bn --port 8000
    python tools/serve.py runs/tanh_bn/2026-11-24T03-45-10 runs/history --watch 60
    """
    if len(runs) > 2:
        raise click.UsageError("At most two runs are compared side by side.")
    from towerzoo.registry.extras import require_extra

    require_extra("serve", "serve")
    from towerzoo.towers.serving.app import create_app
    from towerzoo.towers.serving.runs import open_runs
    from towerzoo.towers.serving.schema import Limits
    from towerzoo.towers.serving.security import read_token, require_safe_host
    from towerzoo.towers.serving.server import Server, address_of, bind, settle_threads

    token = read_token(token_file)
    require_safe_host(host, token)
    with bind(host, port) as listener:
        settle_threads(device)
        served = open_runs(runs, with_index=with_index, device=device)
        for run in served:
            click.echo(f"{run.name}: {run.current.path}")
        limits = Limits(items=max_k, body=max_body, batch=max_batch)
        app = create_app(served, token=token, limits=limits, watch=watch, tell=click.echo)
        asked = " (with the token)" if token else ""
        ready = f"ready: {address_of(listener)}{asked}"
        Server(app, on_ready=lambda: click.echo(ready), reload=lambda: app.state.reload()).run([listener])
    click.echo("stopped: every request was answered.")


if __name__ == "__main__":
    main()
