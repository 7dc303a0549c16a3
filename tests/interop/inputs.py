"""What is shared in the tests, and how two copies of it are compared."""

import os
import random
from pathlib import Path

PIECE_LENGTH = 64 * 1024


def single_file(folder: Path, name: str, seed: str, size: int = 5_000_001) -> Path:
    """One file that ends in the middle of a block. Returns its path."""
    path = folder / f"{name}.bin"
    path.write_bytes(random.Random(seed).randbytes(size))
    return path


def file_tree(folder: Path, name: str, seed: str, odd: int = 1_500_007) -> Path:
    """A folder with the file sizes and names that are easy to get wrong; its largest file has `odd` bytes. Returns its path."""
    rng = random.Random(seed)
    root = folder / name
    sizes = {
        "empty.dat": 0,
        "tiny.txt": 113,  # smaller than a block
        "one piece.bin": PIECE_LENGTH,
        "odd.bin": odd,  # no multiple of a piece or a block
        "sub/deep/aligned.bin": 4 * PIECE_LENGTH,
        "sub/block.bin": 16 * 1024,
        "sub/grüße/日本語 файл.bin": 777_777,
        "sub/odd again.bin": 3 * PIECE_LENGTH + 1,
        "zz empty too": 0,
    }
    for relative, size in sizes.items():
        path = root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
    return root


def half_of(source: Path, folder: Path, first_half: bool) -> Path:
    """A copy of one file in which the other half is zeros: what a peer has that holds half of the pieces."""
    data = source.read_bytes()
    middle = len(data) // 2 // PIECE_LENGTH * PIECE_LENGTH
    if first_half:
        data = data[:middle] + bytes(len(data) - middle)
    else:
        data = bytes(middle) + data[middle:]
    path = folder / source.name
    path.write_bytes(data)
    return path


def files_under(root: Path, ignored: tuple[str, ...] = ()) -> dict[str, Path]:
    """Relative path to path of every file; a single file stands under the empty name."""
    if root.is_file():
        return {"": root}
    found = {}
    for parent, folders, names in os.walk(root):
        folders[:] = [folder for folder in folders if folder not in ignored]
        for name in names:
            path = Path(parent, name)
            found[str(path.relative_to(root))] = path
    return found


def differences(want: Path, got: Path, ignored: tuple[str, ...] = (), empty_too: bool = True) -> list[str]:
    """One line for every file that is missing, too much or not the same, byte by byte. Empty if all is well.

    `ignored` folders may stand beside the data in `got`; the pad files that a seed may need in `want` count never.
    Without `empty_too` a file without bytes may be missing.
    """
    if not got.exists():
        return [f"{got} is missing"]
    wanted, gotten = files_under(want, (".pad",)), files_under(got, ignored)
    missing = sorted(wanted.keys() - gotten.keys())
    lines = [f"missing: {name or got.name}" for name in missing if empty_too or wanted[name].stat().st_size]
    lines += [f"too much: {name or got.name}" for name in sorted(gotten.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & gotten.keys()):
        expected, actual = wanted[name].read_bytes(), gotten[name].read_bytes()
        if expected == actual:
            continue
        shorter = min(len(expected), len(actual))
        first = next((i for i in range(shorter) if expected[i] != actual[i]), shorter)
        lines.append(
            f"not the same: {name or got.name}: {len(actual)} bytes, wanted {len(expected)}; first difference at {first}"
        )
    return lines
