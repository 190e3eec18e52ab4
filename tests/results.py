"""Results of runs that never were."""

from lvseg.results import CaseCounts, RunResult


def make_result(name: str = "run", **changes: object) -> RunResult:
    """A finished run of three patients, two images each."""
    content = {
        "name": name,
        "status": "finished",
        "model": "fcn",
        "val_dice": 0.8,
        "val_dice_pooled": 0.9,
        "val_dice_by_case": {"A": 0.7, "B": 0.8, "C": 0.9},
        "val_counts_by_case": {
            case: CaseCounts(images=2, intersection=80, predicted=90, labelled=110) for case in ("A", "B", "C")
        },
        "best_epoch": 3,
        "epochs": 4,
        "workers": 2,
        "seconds": 1800.0,
        "labels": "centre",
        "split": "patient",
        "records_sha256": "ab" * 32,
        "config": {"model": "fcn", "batch_size": 4, "learning_rate": 0.001},
        "command": f"lvseg train records --name {name}",
        "finished_at": "2026-01-02T03:04:05Z",
    }
    return RunResult(**(content | changes))  # type: ignore[arg-type]
