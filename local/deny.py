#!/usr/bin/env python3
"""Checks the crates that Tandem depends on, with cargo-deny. deny.toml has the rules.

    python3 local/deny.py crates        checks versions, licences and sources; works offline
    python3 local/deny.py advisories    checks for known vulnerabilities; needs the network

The first run builds a pinned version of cargo-deny into .local/, which takes minutes and needs the network. "crates"
downloads the crates that Cargo.lock names and this machine lacks, and then works offline. "advisories" downloads the
RustSec advisory database with git into cargo's home folder, and reads from crates.io which of the crates were yanked.
"""

import argparse
import os
import shutil
import subprocess
import sys

from paths import HOME, Problem, REPOSITORY

VERSION = "0.20.2"
INSTALLED = HOME / "cargo-deny"
PROGRAM = INSTALLED / "bin" / "cargo-deny"
# Kept only if the installation fails, so that the next one continues there.
BUILD = HOME / "cargo-deny-build"

CHECKS = {
    "crates": ["--locked", "--offline", "check", "bans", "licenses", "sources"],
    "advisories": ["--locked", "check", "advisories"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    arguments = parser.parse_args()
    try:
        install()
        fetch()
        return subprocess.run([PROGRAM, *CHECKS[arguments.check]], cwd=REPOSITORY).returncode
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def install() -> None:
    """Installs the pinned version of cargo-deny, unless it is installed."""
    if PROGRAM.exists():
        answer = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True)
        if answer.stdout.split()[-1:] == [VERSION]:
            return
    print(f"building cargo-deny {VERSION} into {INSTALLED.relative_to(REPOSITORY)} (once, some minutes)", flush=True)
    command = ["cargo", "install", "--locked", "--root", INSTALLED, "--version", VERSION, "cargo-deny"]
    if subprocess.run(command, env={**os.environ, "CARGO_TARGET_DIR": str(BUILD)}).returncode:
        raise Problem(f"cannot install cargo-deny {VERSION}: see cargo's error above. cargo needs crates.io, and takes "
                      "a proxy from HTTPS_PROXY and its own configuration. Then run the same command again")
    shutil.rmtree(BUILD, ignore_errors=True)


def fetch() -> None:
    """Downloads the crates that this machine lacks, also those of other platforms, because cargo-deny reads them all.

    If none is missing, cargo does not use the network.
    """
    if subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=REPOSITORY).returncode:
        raise Problem("cannot fetch the crates that Cargo.lock names: see cargo's error above. If it says that "
                      "Cargo.lock needs to be updated, build once and commit the new Cargo.lock")


if __name__ == "__main__":
    sys.exit(main())
