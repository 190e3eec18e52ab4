"""What follows runs in a browser."""

from __future__ import annotations

from lvseg.cli.terminal import open_console
from lvseg.errors import ConfigError
from lvseg.store import UPath


def dashboard(runs: UPath, host: str, port: int, interval: float) -> int:
    """Serve the page until Ctrl-C."""
    try:
        from lvseg.dashboard.serve import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("dash", "dash_ag_grid", "flask", "plotly", "werkzeug"):
            raise
        raise ConfigError(f"the dashboard needs {error.name}: pip install 'lvseg[dashboard]'") from None
    console = open_console()
    serve(runs, host, port, interval, lambda line: console.print(line, soft_wrap=True))
    return 0


def tensorboard(runs: UPath, host: str, port: int) -> int:
    """Run TensorBoard until Ctrl-C."""
    from lvseg.dashboard.tensorboard import serve_tensorboard

    console = open_console()
    serve_tensorboard(runs, host, port, lambda line: console.print(line, soft_wrap=True))
    return 0
