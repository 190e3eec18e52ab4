"""The Kubernetes manifests, checked offline.

KubeRay's kinds are pod templates with a few fields of their own around them. The pods, and the kinds of Kubernetes
itself, are held against Kubernetes' own schemas (strict: an unknown key is an error), which ``kubernetes-validate``
ships. The fields around them are held against the tables below, taken from KubeRay 1.6's API reference: no package
ships its CRDs, and these are 900 KB each, nearly all of it the pod template over and over.
"""

import copy
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster/kubernetes"
KUBERNETES = "1.34"

pytestmark = pytest.mark.deploy

TEXT, FLAG, COUNT, ANY = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}, {}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def fields(required: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(required), "properties": properties}


AUTOSCALER = fields(
    version={"enum": ["v1", "v2"]},
    idleTimeoutSeconds=COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    resources=ANY,
    securityContext=ANY,
    image=TEXT,
    imagePullPolicy=TEXT,
    env=ANY,
    envFrom=ANY,
    volumeMounts=ANY,
)
HEAD = fields(
    ("template", "rayStartParams"),
    template=ANY,
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    headService=ANY,
    enableIngress=FLAG,
)
WORKERS = fields(
    ("groupName", "template", "minReplicas", "maxReplicas"),
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    suspend=FLAG,
    rayStartParams=TEXTS,
    template=ANY,
    scaleStrategy=ANY,
)
SPECS = {
    "RayCluster": fields(
        ("headGroupSpec", "rayVersion"),
        rayVersion=TEXT,
        authOptions=fields(mode={"enum": ["disabled", "token"]}, secretName=TEXT, enableK8sTokenAuth=FLAG),
        enableInTreeAutoscaling=FLAG,
        autoscalerOptions=AUTOSCALER,
        headGroupSpec=HEAD,
        workerGroupSpecs={"type": "array", "items": WORKERS},
        headServiceAnnotations=TEXTS,
        gcsFaultToleranceOptions=ANY,
        suspend=FLAG,
        managedBy=TEXT,
    ),
    "RayJob": fields(
        ("entrypoint",),
        entrypoint=TEXT,
        clusterSelector=TEXTS,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        submitterPodTemplate=ANY,
        runtimeEnvYAML=TEXT,
        metadata=TEXTS,
        jobId=TEXT,
        backoffLimit=COUNT,
        activeDeadlineSeconds=COUNT,
        ttlSecondsAfterFinished=COUNT,
        shutdownAfterJobFinishes=FLAG,
        suspend=FLAG,
        rayClusterSpec=ANY,
        entrypointNumCpus={"type": "number"},
        entrypointNumGpus={"type": "number"},
        entrypointResources=TEXT,
    ),
}


def load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return content


def pods(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every pod template of a RayCluster, as a Pod."""
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        yield {"apiVersion": "v1", "kind": "Pod", **group["template"]}


def validate(manifest: dict[str, Any]) -> None:
    """Raises a ``ValidationError`` of jsonschema where the API server would refuse."""
    if manifest["apiVersion"] != "ray.io/v1":
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    jsonschema.validate(manifest["spec"], SPECS[manifest["kind"]])
    if manifest["kind"] == "RayCluster":
        for pod in pods(manifest):
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return load("cluster.yaml")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_manifest_is_valid(path: Path) -> None:
    validate(load(path.name))


@pytest.mark.parametrize(
    "keys",
    [
        ("spec", "headGroupSpec", "template", "spec", "containers", 0, "resource"),
        ("spec", "headGroupSpec", "template", "spec", "securityContext", "runAsNotRoot"),
        ("spec", "headGroupSpec", "rayStartParam"),
        ("spec", "workerGroupSpecs", 0, "maxReplica"),
        ("spec", "authOption"),
    ],
)
def test_a_misspelt_key_is_found(cluster: dict[str, Any], keys: tuple[str | int, ...]) -> None:
    broken = copy.deepcopy(cluster)
    place: Any = broken
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = {}
    with pytest.raises(jsonschema.ValidationError):
        validate(broken)


def test_ray_is_the_one_of_the_lock(cluster: dict[str, Any]) -> None:
    assert cluster["spec"]["rayVersion"] == version("ray")
    assert f"\nray=={cluster['spec']['rayVersion']} " in (ROOT / "requirements/gpu.txt").read_text()


def test_the_token_is_asked_for_and_stands_in_no_file(cluster: dict[str, Any]) -> None:
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    for path in FOLDER.glob("*.yaml"):
        content = path.read_text()
        assert "kind: Secret" not in content
        assert "RAY_AUTH_TOKEN" not in content


def test_no_pod_is_root_or_reachable_from_outside(cluster: dict[str, Any]) -> None:
    assert cluster["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"
    for pod in pods(cluster):
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]


def test_workers_come_and_go_and_the_head_computes_nothing(cluster: dict[str, Any]) -> None:
    spec = cluster["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    for group in groups.values():
        assert group["minReplicas"] == 0 < group["maxReplicas"]
    limits = groups["gpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in groups["cpu"]["template"]["spec"]["containers"][0]["resources"]["limits"]


def test_jobs_and_policy_select_this_cluster(cluster: dict[str, Any]) -> None:
    label = {"ray.io/cluster": cluster["metadata"]["name"]}
    for name in ("convert.yaml", "train.yaml", "tune.yaml"):
        assert load(name)["spec"]["clusterSelector"] == label
    policy = load("network-policy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == label
    assert policy["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("name", ["convert", "train", "tune"])
def test_the_command_of_a_job_is_one_that_lvseg_takes(name: str) -> None:
    from lvseg.cli import _call

    program, *words = load(f"{name}.yaml")["spec"]["entrypoint"].split()
    assert (program, words[0]) == ("lvseg", name)
    assert _call(words, act=False) == 0
    assert all(word.startswith("/mnt/lvseg/") for word in words if "/" in word)
