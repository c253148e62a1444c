"""Serves finished runs over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from towerzoo.tools.cli import device_option, reports_errors
from towerzoo.tools.cli.person_options import index_option


@click.command("serve")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; any but loopback requires a token."
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port; 0 chooses a free one."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File with the bearer token of clients. Default: the environment variable TOWERZOO_TOKEN, if set.",
)
@click.option("--watch", type=click.FloatRange(min=0.1), metavar="SECONDS", help="Check for newer runs this often.")
@click.option(
    "--max-k", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Limit of items per response."
)
@click.option(
    "--max-body",
    type=click.IntRange(1024, 16 << 20),
    default=64 << 10,
    show_default=True,
    help="Limit of a request body in bytes.",
)
@click.option(
    "--max-batch", type=click.IntRange(1, 4096), default=64, show_default=True, help="Limit of requests per batch."
)
@index_option
@device_option
@reports_errors
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
    """Serve one or two RUNS: run folders, or folders of runs, whose newest finished run is served.

    Answers POST /recommend, GET /items/{id}/similar, /explain, /health and /metrics, and has a web page.
    SIGHUP, or POST /reload with the token, loads newer runs. SIGTERM answers all requests in flight, then exits.

    \b
    python tools/serve.py runs/tanh_bn --port 8000
    python tools/serve.py runs/tanh_bn/2026-11-24T03-45-10 runs/history --watch 60
    """
    if len(runs) > 2:
        raise click.UsageError("Pass at most two runs.")
    from towerzoo.registry.extras import require_extra

    require_extra("serve", "serve")
    from towerzoo.towers.serving.app import create_app
    from towerzoo.towers.serving.runs import open_runs
    from towerzoo.towers.serving.schema import Limits
    from towerzoo.towers.serving.security import read_token, require_safe_host
    from towerzoo.towers.serving.server import Server, address_of, bind, configure_process

    token = read_token(token_file)
    require_safe_host(host, token)
    with bind(host, port) as listener:
        configure_process(device)
        served = open_runs(runs, with_index=with_index, device=device)
        for run in served:
            click.echo(f"{run.name}: {run.current.path}")
        limits = Limits(items=max_k, body=max_body, batch=max_batch)
        app = create_app(served, token=token, limits=limits, watch=watch, report=click.echo)
        ready = f"ready: {address_of(listener)}{' (requires the token)' if token else ''}"
        Server(app, on_ready=lambda: click.echo(ready), reload=lambda: app.state.reload()).run([listener])
    click.echo("stopped: all requests were answered.")


if __name__ == "__main__":
    main()
