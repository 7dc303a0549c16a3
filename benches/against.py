"""An earlier commit of shoal, built beside the present one, so that both can be measured in turns (`bench.py --against REV`)."""

import os
import subprocess
from pathlib import Path

from processes import Failure

ROOT = Path(__file__).resolve().parents[1]


def build(revision: str, target: Path) -> tuple[Path, str]:
    """The folder of the programs of `revision`, and its short name. What was built before is used again."""
    tree = target / "tree"
    told = git("rev-parse", "--short", f"{revision}^{{commit}}")
    git("worktree", "prune")
    if tree.exists():
        git("worktree", "remove", "--force", str(tree))
    git("worktree", "add", "--force", "--detach", str(tree), told)
    try:
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target / "built")}
        command = ["cargo", "build", "--release", "--bin", "torrent"]
        if subprocess.run(command, cwd=tree, env=environment, check=False).returncode != 0:
            raise Failure(f"{told} cannot be built")
    finally:
        git("worktree", "remove", "--force", str(tree))
    return target / "built" / "release", told


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(done.stderr.strip())
    return done.stdout.strip()
