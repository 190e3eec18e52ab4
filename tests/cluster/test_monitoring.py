"""The Prometheus and Grafana files; what they ask for is held against the metrics of the Ray that is installed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from lvseg.distributed.metrics import GAUGES

ROOT = Path(__file__).parents[2]
METRIC = re.compile(r"\b(?:ray|autoscaler)_\w+(?=[{)\s]|$)")

pytestmark = pytest.mark.deploy


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((ROOT / "cluster/monitoring/grafana-dashboard.json").read_text())
    return content


def test_every_metric_is_one_of_ours_or_one_that_rays_own_dashboards_show(dashboard: dict[str, Any]) -> None:
    folder = Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards"
    known = "\n".join(path.read_text() for path in folder.glob("*_panels.py"))
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in METRIC.findall(re.sub(r"by \([^)]*\)", "", target["expr"]))
    }
    ours = {f"ray_{name}" for name in GAUGES}
    assert len(asked - ours) > 15
    assert {name for name in asked - ours if not re.search(rf"\b{name}\b", known)} == set()
    assert asked & ours == ours - {"ray_lvseg_train_dice"}


def test_panels_stand_side_by_side(dashboard: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_every_query_goes_to_the_chosen_source(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "instance"}
    for panel in dashboard["panels"]:
        assert panel["description"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables


def test_prometheus_reads_the_file_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    config = yaml.safe_load((ROOT / "cluster/monitoring/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]}]
