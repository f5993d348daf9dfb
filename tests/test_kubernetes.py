"""docker/k8s against the API's schemas; a Dask cluster is pods and a service, in places that the operator names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FOLDER = Path(__file__).parents[1] / "docker/k8s"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def resources(name: str) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all((FOLDER / name).read_text("utf-8"))


def parts(resource: dict[str, Any]) -> list[dict[str, Any]]:
    """What the API knows: a Dask cluster's pods and service, as dask-kubernetes 2026.3 declares them."""
    if resource["kind"] != "DaskCluster":
        return [resource]
    assert resource["apiVersion"] == "kubernetes.dask.org/v1"
    spec, name = resource["spec"], {"metadata": {"name": resource["metadata"]["name"]}}
    assert spec.keys() == {"scheduler", "worker"}
    assert spec["worker"].keys() == {"replicas", "spec"}
    assert spec["scheduler"].keys() == {"spec", "service"}
    pods = [{"apiVersion": "v1", "kind": "Pod", **name, "spec": spec[part]["spec"]} for part in ("scheduler", "worker")]
    return [*pods, {"apiVersion": "v1", "kind": "Service", **name, "spec": spec["scheduler"]["service"]}]


def pods() -> Iterator[dict[str, Any]]:
    for part in (part for name in FILES for resource in resources(name) for part in parts(resource)):
        if part["kind"] in ("Job", "Pod"):
            yield part["spec"] if part["kind"] == "Pod" else part["spec"]["template"]["spec"]


@pytest.mark.parametrize("name", FILES)
def test_files_follow_the_schemas(name: str) -> None:
    for part in (part for resource in resources(name) for part in parts(resource)):
        kubernetes_validate.validate(part, "1.33", strict=True)


def test_containers_have_no_rights_and_read_the_videos_only() -> None:
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        [container] = pod["containers"]
        assert container["securityContext"] == RIGHTS
        for mount in container["volumeMounts"]:
            assert mount.get("readOnly", False) == (mount["name"] in ("datasets", "tls")), mount
            assert mount["name"] in volumes


def test_claims_are_those_of_the_storage() -> None:
    there = {resource["metadata"]["name"] for resource in resources("storage.yaml")}
    claims = (volume.get("persistentVolumeClaim") for pod in pods() for volume in pod["volumes"])
    assert {claim["claimName"] for claim in claims if claim} == there


def test_scheduler_workers_and_build_speak_tls_only() -> None:
    [cluster], [build] = resources("cluster.yaml"), resources("build.yaml")
    address = f"tls://{cluster['metadata']['name']}-scheduler:8786"  # the operator's name of the service
    each = {part: cluster["spec"][part]["spec"]["containers"][0] for part in ("scheduler", "worker")}
    each["client"] = build["spec"]["template"]["spec"]["containers"][0]
    for role, container in each.items():
        environment = {one["name"]: one["value"] for one in container["env"]}
        assert environment["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
        files = {environment[f"DASK_DISTRIBUTED__COMM__TLS__{role.upper()}__{kind}"] for kind in ("CERT", "KEY")}
        assert files == {"/tls/cert.pem", "/tls/key.pem"}
        assert "tcp:" not in str(container)
        assert role == "scheduler" or address in container["args"]


def test_pods_of_an_indexed_job_build_every_part_once() -> None:
    [job] = resources("array.yaml")
    count = job["spec"]["completions"]
    assert f"--shards $((JOB_COMPLETION_INDEX + 1))/{count}" in str(job["spec"]["template"])
    assert job["spec"]["completionMode"] == "Indexed"
