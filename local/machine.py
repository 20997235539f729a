"""Checks that this machine has the required programs (doctor), and installs the others into .local/ (install)."""

import concurrent.futures
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from paths import HOME, REPOSITORY, SCRIPTS, Problem, exclusive

VENV_HELP = "Debian, Ubuntu: apt install python3-venv; others: a complete Python from python.org or pyenv"

# pip can install only version 1 of the aws command. It ignores AWS_ENDPOINT_URL for SQS, but not the option.
AWS_COMMAND = """#!/bin/sh
exec '{program}' ${{AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"}} "$@"
"""


def doctor() -> int:
    """Checks for programs that the user has to install, and prints how to install each missing one."""
    complaints = [complaint for check in (check_rust, check_c_compiler, check_python) for complaint in check()]
    for complaint in complaints:
        print(f"missing: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


def check_rust():
    wanted = re.search(r'^rust-version = "([\d.]+)"', (REPOSITORY / "Cargo.toml").read_text(), re.MULTILINE)[1]
    if not shutil.which("cargo"):
        yield f"Rust {wanted} or newer; install it from https://rustup.rs"
        return
    answer = subprocess.run(["cargo", "--version"], cwd=REPOSITORY, capture_output=True, text=True)
    found = re.match(r"cargo (\d+\.\d+\.\d+)", answer.stdout)
    if not found:
        yield f"a cargo that works; `cargo --version` prints: {(answer.stderr or answer.stdout).strip()}"
    elif numbers(found[1]) < numbers(wanted):
        yield f"Rust {wanted} or newer (cargo is {found[1]}); update it with: rustup update stable"


def check_c_compiler():
    if not any(shutil.which(name) for name in (os.environ.get("CC") or "cc", "cc", "gcc", "clang")):
        yield ("a C compiler; Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc; "
               "macOS: xcode-select --install")


def check_python():
    # cloud.py has already refused a Python that is too old.
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            yield f"Python's {module} module; {VENV_HELP}"


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def venv(what: str) -> Path:
    return HOME / f"venv-{what}"


def program(what: str, name: str) -> Path:
    """Returns the path of a program of one of the installations."""
    path = venv(what) / "bin" / name
    if not path.exists():
        raise Problem(f"{name} is not installed; install it with: python3 local/cloud.py install"
                      + (" --aws" if what == "aws" else ""))
    return path


def install(*names: str) -> None:
    """Installs each pinned requirements file into its own virtual environment. Safe to repeat."""
    with exclusive(HOME / "install.lock", wait=True):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(install_one, names))
    if "aws" in names:
        command = HOME / "bin" / "aws"
        command.parent.mkdir(exist_ok=True)
        command.unlink(missing_ok=True)
        command.write_text(AWS_COMMAND.format(program=program("aws", "aws")))
        command.chmod(0o755)
        print(f"the aws command is {command.relative_to(REPOSITORY)}")


def install_one(name: str) -> None:
    requirements = SCRIPTS / f"requirements-{name}.txt"
    folder = venv(name)
    stamp = folder / "installed"
    # A virtual environment works only with its Python and at its own path.
    wanted = hashlib.sha256(b"\0".join(
        [requirements.read_bytes(), sys.version.encode(), os.path.realpath(sys.executable).encode(),
         str(folder).encode()])).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing {requirements.relative_to(REPOSITORY)} into {folder.relative_to(REPOSITORY)} "
          "(once, about a minute)", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    must([sys.executable, "-m", "venv", folder],
         f"cannot create a virtual environment with this Python. {VENV_HELP}")
    # Not compiled: most of the modules are never loaded.
    must([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
          "--no-compile", "--requirement", requirements],
         "cannot install with pip. It needs the Python package index (it takes a proxy or mirror from HTTPS_PROXY, "
         "PIP_INDEX_URL and its own configuration); then run the same command again")
    stamp.write_text(wanted)


def must(command: list, otherwise: str) -> None:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    if done.returncode != 0:
        last = "\n".join(f"    {line}" for line in done.stdout.strip().splitlines()[-15:])
        raise Problem(f"{otherwise}.\n{last}")
