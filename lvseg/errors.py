"""The errors that lvseg raises for what a user can mend; everything else is a bug.

::

    LvsegError
    ├── ConfigError       a setting is wrong: names field, value, range
    ├── SourceError       a file or folder of the user's cannot be used: names it
    │   └── ContourError  a contour that is no contour, or not on its image
    ├── RecordsError      a record set is missing, broken or does not fit the job
    ├── RunError          a run folder is missing, unfinished, or another run's
    ├── TrainingError     training cannot go on: names step and cause
    ├── StoppedError      training was asked to stop, and can be gone on with
    └── ClusterError      Ray did not start, or the cluster cannot be reached

The command line prints the message in one line and exits with ``exit_status``;
no stack trace is shown for any of these.
"""


class LvsegError(Exception):
    """Root of the tree; the message is one line, made for the user."""

    exit_status = 1


class ConfigError(LvsegError):
    """A wrong setting; names the field, the value found and what is allowed."""

    exit_status = 2


class SourceError(LvsegError):
    """A source file or folder that cannot be used; names it, what was found, what was expected."""


class ContourError(SourceError):
    """A contour with fewer than three points, unreadable numbers, or points off the image."""


class RecordsError(LvsegError):
    """A record set that is missing, damaged, or does not fit the job."""


class RunError(LvsegError):
    """A run folder that is missing, unfinished, or belongs to another configuration."""


class TrainingError(LvsegError):
    """Training cannot go on; names the step and the cause."""


class StoppedError(LvsegError):
    """Training saved its state and stopped, because it was told to; the same command goes on."""

    exit_status = 75  # EX_TEMPFAIL of sysexits.h: not an error for good, try again


class ClusterError(LvsegError):
    """Ray did not start, or the cluster cannot be reached or refuses; names the address and Ray's own reason."""
