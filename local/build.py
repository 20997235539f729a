#!/usr/bin/env python3
"""Builds the functions for AWS with cargo-lambda, and prints how large they are.

    python3 local/build.py arm64|x86_64 [FUNCTION ...]

cargo-lambda links with zig, so that any machine can build for both processors and for the C library of Amazon Linux
2023. The script installs both programs into .local/. It puts the binaries into target/aws/, by processor, and copies
them to target/lambda/, from where template.yaml takes them. A build for the local AWS overwrites that copy.
"""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import machine
from paths import REPOSITORY, Problem
from stack import FUNCTIONS

# Lambda starts a smaller function sooner, because it has less to load.
ZIP_MIB_MAX = 6
MIB = 1 << 20
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}


def main() -> int:
    try:
        match sys.argv[1:]:
            case [architecture, *names] if architecture in TARGETS:
                for name in names:
                    if name not in FUNCTIONS:
                        raise Problem(f'cannot build "{name}": no such function; there are {", ".join(FUNCTIONS)}')
                build(architecture, names or FUNCTIONS)
            case _:
                raise Problem(f"name the processor to build for: make build ARCH={'|'.join(TARGETS)}")
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build(architecture: str, names: list[str]) -> None:
    require_target(architecture)
    machine.install("build")
    packages = [option for name in names for option in ("--package", name)]
    command = [machine.program("build", "cargo-lambda"), "lambda", "build", "--release",
               "--lambda-dir", str(folder(architecture)),
               "--arm64" if architecture == "arm64" else "--x86-64", *packages]
    # cargo-lambda finds zig as a module of the Python that is first on the path.
    path = f"{machine.venv('build') / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(command, cwd=REPOSITORY, env=os.environ | {"PATH": path})
    if done.returncode != 0:
        raise Problem(f"cannot build: cargo-lambda failed (exit code {done.returncode}); see its error above")
    check_sizes(architecture, names)
    for name in names:
        staged = REPOSITORY / "target" / "lambda" / name / "bootstrap"
        staged.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(built(architecture, name), staged)


def folder(architecture: str) -> Path:
    return REPOSITORY / "target" / "aws" / architecture


def built(architecture: str, name: str) -> Path:
    return folder(architecture) / name / "bootstrap"


def require_target(architecture: str) -> None:
    """Checks that Rust has the target. cargo-lambda would try to add it, and its error would be long and unclear."""
    target = TARGETS[architecture]
    asked = subprocess.run(["rustc", "--print", "target-libdir", "--target", target],
                           cwd=REPOSITORY, capture_output=True, text=True)
    if asked.returncode == 0 and os.path.isdir(asked.stdout.strip()):
        return
    other = next(name for name in TARGETS if name != architecture)
    raise Problem(f"this machine's Rust has no standard library for {architecture} ({target}).\n"
                  f"       Install it with: rustup target add {target}\n"
                  f"       or build for the other processor, which costs a quarter more to run: make build ARCH={other}")


def check_sizes(architecture: str, names: list[str]) -> None:
    print(f"\n{'function, ' + architecture:<26}{'binary, MiB':>12}{'zip, MiB':>10}")
    too_large = []
    for name in names:
        binary = built(architecture, name).read_bytes()
        zip_mib = zipped_bytes(binary) / MIB
        print(f"{name:<26}{len(binary) / MIB:>12.1f}{zip_mib:>10.1f}")
        if zip_mib > ZIP_MIB_MAX:
            too_large.append(name)
    if too_large:
        raise Problem(f"larger than {ZIP_MIB_MAX} MiB: {', '.join(too_large)}; find out which dependency is new: "
                      "`cargo tree --package NAME` lists them")


def zipped_bytes(binary: bytes) -> int:
    """Returns the size of the zip that SAM uploads."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writing:
        writing.writestr("bootstrap", binary)
    return len(archive.getvalue())


if __name__ == "__main__":
    sys.exit(main())
