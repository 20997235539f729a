"""Installs programs of cargo, in a pinned version, into .local/."""

import os
import shutil
import subprocess

from paths import HOME, Problem, REPOSITORY


class CargoTool:
    """A program that `cargo install` builds."""

    def __init__(self, name: str, version: str, asks_version: "list[str]"):
        self.name = name
        self.version = version
        self.asks_version = asks_version
        self.root = HOME / name
        self.program = self.root / "bin" / name

    def install(self) -> None:
        """Installs the program, unless this version is installed."""
        if self.program.exists():
            answer = subprocess.run([self.program, *self.asks_version], capture_output=True, text=True)
            if answer.stdout.split()[-1:] == [self.version]:
                return
        print(f"building {self.name} {self.version} into {self.root.relative_to(REPOSITORY)} (once, some minutes)", flush=True)
        # Kept only if the installation fails, so that the next one continues there.
        build = HOME / f"{self.name}-build"
        command = ["cargo", "install", "--locked", "--root", self.root, "--version", self.version, self.name]
        if subprocess.run(command, env={**os.environ, "CARGO_TARGET_DIR": str(build)}).returncode:
            raise Problem(f"cannot install {self.name} {self.version}: see cargo's error above. cargo needs crates.io, and "
                          "takes a proxy from HTTPS_PROXY and its own configuration. Then run the same command again")
        shutil.rmtree(build, ignore_errors=True)
