"""Variables of MATLAB files as JSON, read in a process of its own (ours).

    python _matlab_reader.py PATH VARIABLE [PATH VARIABLE ...]

writes a line for each: {"rows": [...]}, or {"variables": [...]} where the file lacks that variable.
On damaged bytes scipy's reader can read outside its memory, which ends a process by a signal, or
ask for more memory than there is. That process must not be the one that prepares a data set.
"""

import json
import resource
import sys
import warnings
from typing import Any

import numpy as np
from scipy.io import loadmat, whosmat

MAX_MEMORY = 4 << 30
MAX_RECORDS = 1 << 20


def main() -> None:
    """Read what the arguments name."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    warnings.simplefilter("ignore")
    for path, variable in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        print(json.dumps(read(path, variable)), flush=True)


def read(path: str, variable: str) -> dict[str, Any]:
    """Return a variable's elements: structs as objects, all else as plain values."""
    # Shapes first, because a damaged one would be made room for before it is noticed.
    shapes = {name: shape for name, shape, _ in whosmat(path)}
    if variable not in shapes:
        return {"variables": sorted(shapes)}
    if np.prod([float(length) for length in shapes[variable]]) > MAX_RECORDS:
        raise ValueError("too many records")
    values = np.atleast_1d(loadmat(path, variable_names=[variable], squeeze_me=True)[variable])
    names = values.dtype.names
    if names is None:
        return {"rows": [to_plain(value) for value in values.ravel().tolist()]}
    return {"rows": [{name: to_plain(value[name]) for name in names} for value in values.ravel()]}


def to_plain(value: Any) -> Any:
    """Return a number or text as itself, and all else as None."""
    found = np.asarray(value)
    plain = found.item() if found.size == 1 else None
    return plain if isinstance(plain, (bool, int, float, str)) else None


if __name__ == "__main__":
    main()
