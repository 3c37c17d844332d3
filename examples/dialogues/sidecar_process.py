"""The daemon as the process that it is, for killing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_TIMEOUT_S = 30.0


class SidecarProcess:
    """`state-sidecar serve` on a Unix socket, with its data in `directory`, and further settings."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.target = f"unix://{directory}/state.sock"
        self._directory = directory
        self._log = directory / "log"
        self._settings = settings
        self._process = self._start()

    def check(self) -> None:
        """Raises RuntimeError, with what it said, if it has ended by itself."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the daemon ended by itself:\n{self._log.read_text(errors='replace')[-4000:]}")

    def kill_and_restart(self) -> None:
        """SIGKILL: no drain, no flush, no goodbye."""
        self.check()
        self._process.kill()
        self._process.wait()
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        settings = [f"data_dir={self._directory}/data", f"listen={self.target}", "http_listen="]
        settings += [f"{name}={value}" for name, value in self._settings.items()]
        command = [sys.executable, "-m", "sidecar", "serve"]
        command += [argument for setting in settings for argument in ("--set", setting)]
        environment = {name: text for name, text in os.environ.items() if not name.startswith("STATE_SIDECAR_")}
        with self._log.open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.check()
        self._process.terminate()
        self._process.wait(STOP_TIMEOUT_S)
