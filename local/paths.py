"""Where the local cloud keeps its things, and the one error its scripts show without a traceback."""

import contextlib
import fcntl
import json
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = REPOSITORY / "local"
HOME = REPOSITORY / ".local"


class Problem(Exception):
    """Something went wrong that its message explains, with what to do about it."""


class Cloud:
    """One local cloud: a name, and the folder of its state.

    state.json says which processes and port it has; it is there exactly while the cloud is up.
    """

    def __init__(self, name: str):
        self.name = name
        self.folder = HOME / "clouds" / name
        self.state_file = self.folder / "state.json"
        self.home = self.folder / "home"  # an empty HOME, for programs that look into theirs
        self.temporary = self.folder / "tmp"

    @staticmethod
    def named(name: str) -> "Cloud":
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
            raise Problem(f'"{name}" cannot name a local cloud: small letters, digits and "-" only')
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
            raise Problem(f"{self.state_file} is damaged ({error}); end the emulator by hand and "
                          f"remove {self.folder}") from error

    def write_state(self, state: dict) -> None:
        new = self.state_file.with_suffix(".new")
        new.write_text(json.dumps(state, indent=2) + "\n")
        new.replace(self.state_file)

    @contextlib.contextmanager
    def lock(self):
        """Held by a run that owns the cloud from start to end."""
        with exclusive(self.folder.with_suffix(".lock")) as free:
            if not free:
                raise Problem(f'the local cloud "{self.name}" is in use by another run; wait for it to end')
            yield


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool = False):
    """Locks a file for the life of this process. Yields whether the lock was to be had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
