"""The cluster files, read by the code of Ray's own launcher; nothing is started and nothing is called."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError

ROOT = Path(__file__).parents[2]
CLUSTER_FILES = ["ray-cluster.yaml", "cluster/onprem.yaml"]
START_KEYS = ["head_start_ray_commands", "worker_start_ray_commands"]

pytestmark = pytest.mark.deploy


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return config


def validate(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the provider's defaults and check against the schema, as `ray up` does first."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@pytest.fixture(params=CLUSTER_FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    return load(request.param)


def commands(config: dict[str, Any]) -> list[str]:
    return [line for key, lines in config.items() if key.endswith("_commands") for line in lines]


def test_launcher_accepts_the_file(config: dict[str, Any]) -> None:
    prepared = validate(config)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert prepared["head_start_ray_commands"] == config["head_start_ray_commands"]


def test_launcher_refuses_an_unknown_key(config: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="setup_comands"):
        validate(config | {"setup_comands": []})


def test_every_ray_start_asks_for_the_token(config: dict[str, Any]) -> None:
    starts = [line for line in commands(config) if "ray start" in line]
    assert len(starts) == len(START_KEYS)
    for line in starts:
        assert re.search(r"\bRAY_AUTH_MODE=token\b.*\bray start\b", line), line


def test_the_token_travels_as_a_file_and_is_private(config: dict[str, Any]) -> None:
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    assert not [line for line in commands(config) if "RAY_AUTH_TOKEN=" in line]


def test_the_dashboard_listens_on_loopback(config: dict[str, Any]) -> None:
    heads = [line for line in config["head_start_ray_commands"] if "ray start" in line]
    assert ["--dashboard-host=127.0.0.1" in line for line in heads] == [True]


def test_mounted_files_exist(config: dict[str, Any]) -> None:
    local = [path for path in config["file_mounts"].values() if not path.startswith("~")]
    assert local
    assert [path for path in local if not (ROOT / path).exists()] == []


def test_every_install_is_hashed_or_of_the_project_itself(config: dict[str, Any]) -> None:
    installs = [line for line in commands(config) if "pip install" in line]
    locks = [match[1] for line in installs if (match := re.search(r"--require-hashes -r ~/lvseg/(\S+)", line))]
    projects = [line for line in installs if line.endswith("--no-build-isolation --no-deps -e ~/lvseg")]
    assert len(locks) + len(projects) == len(installs)
    assert locks
    assert projects
    assert [lock for lock in locks if not (ROOT / lock).is_file()] == []


def test_aws_has_one_head_that_computes_nothing_and_workers_that_come_and_go() -> None:
    config = validate(load("ray-cluster.yaml"))
    types = config["available_node_types"]
    head = types.pop(config["head_node_type"])
    assert (head["min_workers"], head["max_workers"]) == (0, 0)
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert {name: worker["resources"].get("GPU", 0) for name, worker in types.items()} == {
        "cpu_worker": 0,
        "gpu_worker": 1,
    }
    assert sum(worker["max_workers"] for worker in types.values()) <= config["max_workers"]
    for worker in types.values():
        assert worker["min_workers"] == 0
        assert 0 < worker["max_workers"] <= config["max_workers"]
        assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}


def test_aws_nodes_have_roles_of_their_own_and_encrypted_disks() -> None:
    """Ray's default is a head that may do anything in EC2 and S3, and workers that may not read S3."""
    template = load("cluster/aws.yaml")["Resources"]
    profiles = {
        found["Properties"]["InstanceProfileName"]: template[found["Properties"]["Roles"][0]["Ref"]]["Properties"]
        for found in template.values()
        if found["Type"] == "AWS::IAM::InstanceProfile"
    }
    types = validate(load("ray-cluster.yaml"))["available_node_types"]
    assert {node["node_config"]["IamInstanceProfile"]["Name"] for node in types.values()} == set(profiles)
    assert "Policies" not in profiles["lvseg-worker"]
    assert load("ray-cluster.yaml")["cluster_name"] in str(profiles["lvseg-head"]["Policies"])
    for node in types.values():
        assert all(disk["Ebs"]["Encrypted"] for disk in node["node_config"]["BlockDeviceMappings"])
        assert node["node_config"]["MetadataOptions"] == {"HttpTokens": "required"}


def test_aws_template_has_no_yaml_aliases() -> None:
    """CloudFormation refuses them."""
    events = yaml.parse((ROOT / "cluster/aws.yaml").read_text())
    assert [event for event in events if isinstance(event, yaml.AliasEvent)] == []


def test_aws_bucket_is_private_and_encrypted() -> None:
    bucket = load("cluster/aws.yaml")["Resources"]["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]


def test_onprem_keeps_every_machine() -> None:
    config = validate(load("cluster/onprem.yaml"))
    (node_type,) = config["available_node_types"].values()
    machines = len(config["provider"]["worker_ips"])
    assert (node_type["min_workers"], node_type["max_workers"], config["max_workers"]) == (machines,) * 3
