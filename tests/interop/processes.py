"""Processes of a test: started with their output in a file, watched with a time limit, ended by their id."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

# Generous: nothing here takes a tenth of it, and a machine that is busy must not fail a test.
LIMIT = 60.0
POLITE = 10.0


class Failure(Exception):
    """A test that failed, in one line."""


def wait_until(condition, what: str, limit: float = LIMIT, pause: float = 0.02):
    """Returns the first true answer of `condition`, or fails with `what` after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failure(f"waited {limit:.0f} s for {what}")
        time.sleep(pause)


running: set["Process"] = set()  # all that were started and not yet ended


def end_all_when_told(folder: Path):
    """On SIGTERM and SIGINT ends every process, then removes the folder they worked in, and then ends."""

    def end(number, _):
        for process in list(running):
            process.process.kill()
        shutil.rmtree(folder, ignore_errors=True)
        print(f"ended by signal {number}", flush=True)
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


class Process:
    """A running program. Standard output and standard error go, in order, to one log file."""

    def __init__(
        self, name: str, command: list, log: Path, home: Path, strict: bool = False, environment: dict[str, str] | None = None
    ):
        """`home` is where the program keeps its state. A `strict` program has to end politely. `environment` adds to ours."""
        self.name = name
        self.log = log
        self.strict = strict
        self.command = [str(part) for part in command]
        home.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ, HOME=str(home), RUST_BACKTRACE="1", **(environment or {}))
        for kind in ("CONFIG", "DATA", "STATE", "CACHE"):
            environment[f"XDG_{kind}_HOME"] = str(home / kind.lower())
        with open(log, "wb") as output:
            try:
                self.process = subprocess.Popen(
                    self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
                )
            except OSError as error:
                raise Failure(f"{name} did not start: {error}") from None
        running.add(self)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def expect(self, pattern: str, limit: float = LIMIT, pause: float = 0.02) -> re.Match:
        """Waits for a line of the log."""

        def look():
            match = re.search(pattern, self.text(), re.MULTILINE)
            if match is None and self.process.poll() is not None:
                raise Failure(f"{self.name} ended with status {self.process.returncode} before it printed `{pattern}`")
            return match

        return wait_until(look, f"{self.name} to print `{pattern}`", limit, pause)

    def address(self) -> str:
        """IP:PORT it listens on."""
        return self.expect(r"listening on (\d+\.\d+\.\d+\.\d+:\d+)").group(1)

    def finish(self, limit: float = LIMIT):
        """Waits until it ends by itself, with success."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} was not done after {limit:.0f} s") from None
        if status != 0:
            raise Failure(f"{self.name} ended with status {status}")

    def stop(self) -> str | None:
        """Ends it by its id if it still runs. Returns what was wrong with how it ended, if anything."""
        try:
            return self.end()
        finally:
            running.discard(self)

    def end(self) -> str | None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(POLITE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return f"{self.name} did not end within {POLITE:.0f} s of SIGTERM" if self.strict else None
        if self.strict and re.search(r"panicked at", self.text()):
            return f"{self.name} panicked"
        if self.strict and self.process.returncode not in (0, -signal.SIGTERM, 1, 128 + signal.SIGTERM):
            return f"{self.name} ended with status {self.process.returncode}"
        return None
