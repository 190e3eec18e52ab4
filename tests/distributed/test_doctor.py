"""What ``lvseg doctor`` makes of facts, and all of it on a small real cluster."""

import math
from pathlib import Path

import pytest
from rich.console import Console

from lvseg.distributed import doctor
from lvseg.distributed.doctor import Finding, Node
from lvseg.distributed.doctor_probe import NodeFacts, NodeProbe, StepFacts
from lvseg.store import UPath

SAME = {"python": "3.12.1", "ray": "2.60.0"}


def facts(versions: dict[str, str] = SAME, disk: float = 1e11, memory: int | None = 10**10, gpus: int = 0) -> NodeFacts:
    return NodeFacts(versions=versions, free_disk=int(disk), free_memory=memory, gpu_devices=gpus)


def node(address: str, found: NodeFacts | None = None, gpus: int = 0, skew: float = 0.0) -> Node:
    return Node(address=address, gpus=gpus, facts=found, skew_s=skew, error="" if found else "no answer within 5 s")


def named(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


@pytest.mark.parametrize(
    ("mode", "private", "ok"),
    [("token", False, True), ("", False, False), ("disabled", False, False), ("", True, True)],
)
def test_a_cluster_that_others_reach_must_ask_for_a_token(mode: str, private: bool, ok: bool) -> None:
    assert doctor.check_token(mode, private).ok is ok


def test_a_node_that_does_not_answer_is_named() -> None:
    assert doctor.check_nodes([node("a", facts()), node("b", facts())]).found == "2, all answer"
    finding = doctor.check_nodes([node("a", facts()), node("b")])
    assert not finding.ok
    assert finding.found == "b: no answer within 5 s"


def test_versions_must_be_the_same_everywhere() -> None:
    same = doctor.check_versions({"a": SAME, "b": dict(SAME)})
    assert (same.ok, same.found) == (True, "python 3.12.1, ray 2.60.0")
    odd = doctor.check_versions({"a": SAME, "b": SAME | {"ray": "2.59.0"}, "c": SAME})
    assert (odd.ok, odd.found) == (False, "ray 2.60.0 on a c, 2.59.0 on b")
    assert not doctor.check_versions({"a": SAME | {"tensorflow": "missing"}}).ok


def test_the_node_with_least_room_counts() -> None:
    found = named(list(doctor.check_facts([node("a", facts()), node("b", facts(disk=1e9, memory=10**9))])))
    assert found["free disk"].found == "1.0 GB on b"
    assert not found["free disk"].ok
    assert not found["free memory"].ok
    found = named(list(doctor.check_facts([node("a", facts(memory=None))])))
    assert found["free disk"].ok
    assert (found["free memory"].ok, found["free memory"].found) == (True, "not known")


def test_clocks_must_agree_with_each_other() -> None:
    assert doctor.check_clocks({"a": 60.0, "b": 61.0}).ok  # only the submitting machine is off
    wrong = doctor.check_clocks({"a": 0.1, "b": -30.0})
    assert (wrong.ok, wrong.found) == (False, "b is off by -30.0 s")
    assert doctor.check_clocks({"a": math.nan}).found == "not known"


def test_gpus_that_ray_or_tensorflow_does_not_see() -> None:
    nodes = [node("a", facts(gpus=2), gpus=2), node("b", facts())]
    assert all(finding.ok for finding in doctor.check_gpus(nodes, {"a": 2}))
    found = named(list(doctor.check_gpus(nodes, {"a": 0})))
    assert found["GPUs for TensorFlow"].found == "a: 0 of 2"
    found = named(list(doctor.check_gpus([node("c", facts(gpus=1))], {})))
    assert "--num-gpus" in found["GPUs"].fix
    assert list(named(list(doctor.check_gpus([node("b", facts())], {})))) == ["GPUs"]


def test_the_store_must_be_writable_from_every_node() -> None:
    assert (
        doctor.check_store(UPath("/s"), {"a": 0.1, "b": 0.2}).found == "written and read from 2 node(s), 0.20 s at most"
    )
    wrong = doctor.check_store(UPath("/s"), {"a": 0.1, "b": "Permission denied"})
    assert (wrong.ok, wrong.found) == (False, "b: Permission denied")


def test_a_store_is_left_as_it_was(tmp_path: Path) -> None:
    assert NodeProbe().try_store(UPath(tmp_path)) >= 0
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        NodeProbe().try_store(UPath(tmp_path / "file"))


def test_a_slow_network_counts_between_nodes_only() -> None:
    slow = [StepFacts(all_reduce_s=2.0, step_s=0.1, loss=0.7)] * 4
    found = named(list(doctor.check_steps(slow, several_nodes=True)))
    assert found["all-reduce"].found == "64 MB over 4 workers in 2.000 s, 48 MB/s"  # 2 * 3 / 4 * 64 MB / 2 s
    assert not found["all-reduce"].ok
    assert named(list(doctor.check_steps(slow, several_nodes=False)))["all-reduce"].ok
    assert found["training step"].ok
    broken = [*slow, StepFacts(all_reduce_s=2.0, step_s=0.1, loss=math.nan)]
    found = named(list(doctor.check_steps(broken, several_nodes=False)))
    assert found["training step"].found == "no finite loss on worker 4"
    assert list(named(list(doctor.check_steps(slow[:1], several_nodes=False)))) == ["training step"]


def test_the_table_has_a_line_for_each_and_the_fix(capsys: pytest.CaptureFixture[str]) -> None:
    well = Finding(check="nodes", found="[2], all answer")
    console = Console(width=80)
    assert doctor.print_findings(console, [well])
    assert not doctor.print_findings(console, [well, Finding(check="clocks", found="b is off", fix="run NTP")])
    lines = capsys.readouterr().out.splitlines()
    assert any("✓" in line and "[2], all answer" in line for line in lines)
    assert any("✗" in line and "run NTP" in line for line in lines)


@pytest.mark.ray
@pytest.mark.slow
def test_a_laptop_is_fit(cluster: None, tmp_path: Path) -> None:
    found = named(list(doctor.diagnose(UPath(tmp_path), workers=2, train=True, timeout_s=120.0)))
    told = {finding.found for finding in found.values()}
    assert found["nodes"].found == "1, all answer", told
    assert found["versions"].ok
    assert found["store"].found.startswith("written and read from 1 node(s)")
    assert found["all-reduce"].found.startswith("64 MB over 2 workers in ")
    assert found["training step"].found.startswith("on 2 worker(s), ")
    assert list(tmp_path.iterdir()) == []
