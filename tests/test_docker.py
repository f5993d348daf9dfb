"""The images and the compose files, as far as reading them goes: no engine is needed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


def stages() -> dict[str, tuple[str, list[str]]]:
    """Base and instructions of every stage, by name."""
    found: dict[str, tuple[str, list[str]]] = {}
    for text in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]:
        head, *body = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        base, _, name = head.partition(" AS ")
        found[name] = (base, body)
    return found


def history(name: str) -> list[str]:
    """Every instruction that a stage's files come from: its own, its base's, and those of the stages it copies from."""
    if name not in stages():
        return []
    base, body = stages()[name]
    copied = re.findall(r"^COPY --from=(\S+)", "\n".join(body), re.MULTILINE)
    return [*history(base), *(line for other in copied for line in history(other)), *body]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_an_image_holds_every_extra_but_the_development_tools(target: str) -> None:
    [install] = [line for line in history(target) if "--requirements pyproject.toml" in line]
    assert set(re.findall(r"--extra (\w+)", install)) == {"train", "export", "demo", "dashboard"}
    assert set(EXTRAS) >= {"train", "export", "demo", "dashboard"}
    assert "--constraint requirements.lock" in install  # which checks its hashes


def test_only_the_cpu_image_takes_torch_for_cpus_and_before_all_that_needs_torch() -> None:
    taking = [number for number, line in enumerate(history("cpu")) if "--torch-backend cpu" in line]
    [installing] = [number for number, line in enumerate(history("cpu")) if "--requirements" in line]
    assert len(taking) == 1
    assert taking[0] < installing
    assert not [line for line in history("cuda") if "--torch-backend" in line]
    pattern = re.search(r"grep -oE '([^']+)'", history("cpu")[taking[0]])
    assert pattern is not None
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    chosen = [re.match(pattern[1], line) for line in lock.splitlines()]
    assert {match[1] for match in chosen if match} == {"torch", "torchvision"}
    assert len([match for match in chosen if match]) == 2  # one version each, whatever the Python


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_any_user_may_write_to_the_working_folder_and_keep_weights(target: str) -> None:
    lines = history(target)
    assert any(re.search(r"install --directory --mode 1777 /data /weights /tls", line) for line in lines)
    assert any(re.match(r"ENV .*HOME=/weights", line) for line in lines)
    assert {"WORKDIR /data", "USER facemill", "VOLUME /weights"} <= set(lines)


def composed(*names: str) -> dict[str, Any]:
    """Compose files, one merged over the other as the compose specification has it: by key."""

    def merge(below: Any, above: Any) -> Any:
        if not isinstance(below, dict) or not isinstance(above, dict):
            return above
        return {key: merge(below.get(key), above[key]) if key in above else below[key] for key in {*below, *above}}

    whole: dict[str, Any] = {}
    for name in names:
        whole = merge(whole, yaml.safe_load((ROOT / "docker" / name).read_text("utf-8")))
    return whole


@pytest.mark.parametrize(
    ("files", "target"), [(("compose.yaml",), "cpu"), (("compose.yaml", "compose.gpu.yaml"), "cuda")]
)
def test_services_have_an_image_memory_to_share_and_weights(files: tuple[str, ...], target: str) -> None:
    page = composed(*files)
    assert set(page["services"]) == {"certificates", "scheduler", "worker", "facemill"}
    for name, service in page["services"].items():
        assert (service["image"], service["build"]["target"]) == (f"facemill:{target}", target)
        assert target in stages()
        assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["shm_size"] == "8gb"
        volume, _, place = service["volumes"][-1].partition(":")
        assert (volume in page["volumes"], place) == (True, "/weights")
        devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
        expected = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
        assert devices == (expected if target == "cuda" and name in ("worker", "facemill") else [])
    command = page["services"]["worker"]["command"]
    assert command[command.index("--memory-limit") + 1] == "0"  # Dask's own would be the RAM by the cores


def test_services_speak_tls_as_a_user_and_reach_this_machine_only(
    tmp_path: Path,
) -> None:
    """The service `certificates` is run here, and what it makes is what Dask's servers and clients take."""
    page = composed("compose.yaml")
    text = (ROOT / "docker" / "compose.yaml").read_text("utf-8")
    assert "tcp://" not in text
    for service in page["services"].values():
        assert service["environment"]["DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION"] == "true"
        assert service["user"] == "${USER_ID:-1000:1000}"
        assert service["cap_drop"] == ["ALL"]
        assert any(volume.endswith(":/data:ro") for volume in service["volumes"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    code = page["services"]["certificates"]["command"][0].replace("/tls", str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == made
    settings = {
        name.removeprefix("DASK_").lower().replace("__", "."): value.replace("/tls", str(tmp_path))
        for name, value in page["x-image"]["environment"].items()
        if "COMM" in name
    }
    with dask.config.set(settings):
        for role in ("client", "worker", "scheduler"):
            assert distributed.Security().get_connection_args(role)["ssl_context"]
        with (
            distributed.LocalCluster(
                n_workers=0, protocol="tls", dashboard_address="127.0.0.1:0", silence_logs="CRITICAL"
            ) as cluster,
            distributed.Client(cluster.scheduler_address, timeout=30) as client,
        ):
            assert client.scheduler.address.startswith("tls://")


def test_no_address_of_a_package_index_is_written_down() -> None:
    for name in ("docker/Dockerfile", "docker/compose.yaml", "pyproject.toml", "Makefile", "requirements.lock"):
        text = (ROOT / name).read_text("utf-8")
        assert "https:" not in text, name
        assert "http:" not in text.replace("http://localhost", ""), name
