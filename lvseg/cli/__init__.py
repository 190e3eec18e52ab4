"""The command line: parse, call one function of the library, print, set the exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import NoReturn, get_args

import tyro

from lvseg import __version__
from lvseg.cli.terminal import INTERRUPTED
from lvseg.cli.verbs import JobVerb, make_verbs
from lvseg.config import ConvertConfig, TrainConfig, from_mapping, read_yaml
from lvseg.errors import ConfigError, LvsegError
from lvseg.recipes import RECIPES

CONFIG_FLAG = "--config"


def main(args: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 failed, 2 wrong use."""
    args = list(sys.argv[1:] if args is None else args)
    if args == ["--version"]:
        print(f"lvseg {__version__}")
        return 0
    try:
        args, job = _split_job(args)
        if job:
            _call(list(job), act=False)  # wrong use shows before anything is sent
        return _call(args, job[1:])
    except LvsegError as error:
        print(f"lvseg: error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("lvseg: interrupted; the same command with the same --name goes on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def run() -> NoReturn:
    """The command itself: ``main``, and the end of the process."""
    status = main()
    if status == INTERRUPTED:
        # Threads of Ray and Arrow may still be at work, and have crashed while Python was taken down around them.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _call(args: list[str], job: tuple[str, ...] = (), act: bool = True) -> int:
    """Parse, and call the verb unless told not to ``act``."""
    args = _worker_range(args)
    verbs = make_verbs(*_base_configs(args), job)
    if not act:
        verbs = {name: _idle(verb) for name, verb in verbs.items()}
    result = tyro.extras.subcommand_cli_from_dict(
        verbs, args=args, prog="lvseg", description="Left-ventricle segmentation from cardiac MRI, on Ray."
    )
    return int(result)


def _idle(verb: Callable[..., int]) -> Callable[..., int]:
    @wraps(verb)
    def do_nothing(*_: object, **__: object) -> int:
        return 0

    return do_nothing


def _split_job(args: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """``submit --detach train records --name one`` → submit's own part, and the command that is submitted."""
    if args[:1] != ["submit"]:
        return args, ()
    for index in range(1, len(args)):
        if args[index] in get_args(JobVerb) and args[index - 1] not in ("--job-id", "--install", "--attach"):
            return args[: index + 1], tuple(args[index:])
    return args, ()


def _worker_range(args: list[str]) -> list[str]:
    """``--workers 1:4`` → ``--workers 4 --min-workers 1``."""
    out: list[str] = []
    for arg in args:
        flag, equals, value = arg.partition("=")
        value = value if equals else arg
        named = flag == "--workers" if equals else bool(out) and out[-1] == "--workers"
        least, colon, most = value.partition(":")
        if named and colon:
            out = out if equals else out[:-1]
            out += ["--min-workers", least, "--workers", most]
        else:
            out.append(arg)
    return out


def _base_configs(args: list[str]) -> tuple[ConvertConfig, TrainConfig]:
    """The settings of the file or the recipe that ``--config`` names; flags then go before them."""
    values = [arg.partition("=")[2] for arg in args if arg.startswith(f"{CONFIG_FLAG}=")]
    values += [args[index + 1] for index, arg in enumerate(args[:-1]) if arg == CONFIG_FLAG]
    if not values:
        return ConvertConfig(), TrainConfig()
    if values[-1] in RECIPES and args[0] != "convert":
        return ConvertConfig(), RECIPES[values[-1]]()
    content = read_yaml(Path(values[-1]))
    try:
        if args[0] == "convert":
            return from_mapping(ConvertConfig, content), TrainConfig()
        return ConvertConfig(), from_mapping(TrainConfig, content)
    except ConfigError as error:
        raise ConfigError(f"{values[-1]}: {error}") from None
