"""The paths and the state of local clouds, and the error that the scripts show without a traceback."""

import contextlib
import fcntl
import json
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = REPOSITORY / "local"
HOME = REPOSITORY / ".local"


class Problem(Exception):
    """An error whose message says what failed, why, and what to do."""


class Cloud:
    """One local cloud: a name, and the folder of its state.

    state.json names its processes and its port; the file exists only while the cloud is up.
    """

    def __init__(self, name: str):
        self.name = name
        self.folder = HOME / "clouds" / name
        self.state_file = self.folder / "state.json"
        self.home = self.folder / "home"  # an empty HOME for programs that read it
        self.temporary = self.folder / "tmp"

    @staticmethod
    def named(name: str) -> "Cloud":
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise Problem(f'"{name}" cannot name a local cloud: use only small letters, digits and "-"')
        return Cloud(name)

    @staticmethod
    def all() -> "list[Cloud]":
        return [Cloud(state.parent.name) for state in sorted(HOME.glob("clouds/*/state.json"))]

    def log(self, what: str) -> Path:
        return self.folder / f"{what}.log"

    def read_state(self) -> dict:
        try:
            return json.loads(self.state_file.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Problem(f"cannot read {self.state_file}: it is damaged ({error}); kill the emulator and "
                          f"remove {self.folder}") from error

    def write_state(self, state: dict) -> None:
        new = self.state_file.with_suffix(".new")
        new.write_text(json.dumps(state, indent=2) + "\n")
        new.replace(self.state_file)

    @contextlib.contextmanager
    def lock(self):
        """Locks the cloud for a run that owns it from start to end."""
        with exclusive(self.folder.with_suffix(".lock")) as free:
            if not free:
                raise Problem(f'another run uses the local cloud "{self.name}"; wait until it ends')
            yield


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool = False):
    """Locks a file during the block. Yields whether it got the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
