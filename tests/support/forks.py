"""Run scripts in forks of one process, which saves them from importing Django."""

import json
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import dev

WARM = (
    "channels.generic.websocket",
    "cryptography.fernet",
    "django.core.management",
    "django.test",
    "httpx",
)


class WarmPython:
    """A process that runs each script in a fork of itself."""

    def __enter__(self) -> "WarmPython":
        command = [sys.executable, "-m", "tests.support.forks"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, cwd=dev.ROOT, stdin=pipe, stdout=pipe, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(
        self, arguments: Sequence[str], cwd: Path, env: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Do as `subprocess.run` with both outputs as text."""
        assert self.process.stdin
        assert self.process.stdout
        outputs = [str(cwd / "stdout.txt"), str(cwd / "stderr.txt")]
        job = {"arguments": arguments, "cwd": str(cwd), "env": env, "outputs": outputs}
        self.process.stdin.write(f"{json.dumps(job)}\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        return subprocess.CompletedProcess(
            arguments, code, *[Path(name).read_text() for name in outputs]
        )


def run_here(job: dict[str, Any]) -> int:
    """Become the process of a script, run it, and return its exit status."""
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    for number, name in enumerate((os.devnull, *job["outputs"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = job["arguments"]
    sys.path.insert(0, job["cwd"])
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as leaving:
        if leaving.code is None:
            return 0
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    """Run jobs, one per line of the input, until it ends."""
    for name in WARM:
        import_module(name)
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            status = run_here(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
