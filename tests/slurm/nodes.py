"""A Slurm of two nodes on this machine: two slurmd with a name and a port each, and a controller."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.network import free_port

__all__ = ["PROGRAMS", "Slurm", "two_nodes"]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "sacct")
NODES = ("n1", "n2")
START_S = 60
CONFIG = """\
ClusterName=facemill
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_min_interval=100000
MpiDefault=none
ReturnToService=2
KillWait=5
MinJobAge=3600
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=16000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=16000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """What users call, with the `facemill` of this environment in their PATH.

    Args:
        folder: of the configuration and all state.
        home: where jobs are submitted.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self.home = home
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": path,
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str) -> str:
        """What a command prints; it must succeed."""
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def states(self) -> dict[str, str]:
        """State and exit code of each job that has ended or runs, by its id, `7_1` for one of an array."""
        rows = self.run("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [dict(part.split("=", 1) for part in row.split() if "=" in part) for row in rows]
        names = (f"{job['ArrayJobId']}_{job['ArrayTaskId']}" if "ArrayJobId" in job else job["JobId"] for job in jobs)
        return {name: f"{job['JobState']} {job['ExitCode']}" for name, job in zip(names, jobs, strict=True)}

    def wait(self, limit_s: float) -> dict[str, str]:
        """The states of all jobs, when none is left to be run."""
        deadline = time.monotonic() + limit_s
        while self.run("squeue", "--noheader").strip():
            assert time.monotonic() < deadline, (self.run("squeue"), self.states())
            time.sleep(0.5)
        return self.states()


@contextmanager
def two_nodes(folder: Path, home: Path) -> Iterator[Slurm]:
    """Start the daemons, as root, and stop them and all jobs in the end."""
    ports = [free_port() for _ in range(3)]
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, ports=ports))
    for name in ("munge", "state"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(os.urandom(64))
    key.chmod(0o400)
    munge = {name: folder / "munge" / name for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")}
    munge["key-file"] = key
    slurm = Slurm(folder, home)
    daemons = [
        ["munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in munge.items())],
        ["slurmctld", "-D"],
        *(["slurmd", "-D", "-N", node] for node in NODES),
    ]
    running = []
    try:
        for command in daemons:
            program = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin")
            assert program is not None
            running.append(
                subprocess.Popen(
                    [program, *command[1:]],
                    env=slurm.environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            )
            if command[0] == "munged":
                _wait_for(munge["socket"].exists)
        _wait_for(lambda: slurm.run("sinfo", "--noheader", "--Node", "--format=%t").split() == ["idle"] * len(NODES))
        yield slurm
    finally:
        subprocess.run(["scancel", "--user=root", "--signal=KILL", "--full"], env=slurm.environment, check=False)
        for process in reversed(running):
            process.terminate()
        for process in reversed(running):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(ready) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            if ready():
                return
        except AssertionError:  # the controller does not answer yet
            pass
        assert time.monotonic() < deadline
        time.sleep(0.2)
