"""Fetches the two npm packages the pocket world is drawn from, and takes nothing but the very bytes it expects."""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


class FetchError(RuntimeError):
    """A source package could not be had, or is another one than expected."""


@dataclass(frozen=True)
class NpmPackage:
    """One npm package: what it is, what it must hash to, and under which licence its pictures are used."""

    package: str
    version: str
    archive: str
    sha256: str
    licence: str

    @property
    def specifier(self) -> str:
        """What `npm pack` fetches."""
        return f"{self.package}@{self.version}"


FLUENT = NpmPackage(
    package="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    archive="lobehub-fluent-emoji-3d-1.1.0.tgz",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    licence="MIT (Microsoft Fluent Emoji; packaged by LobeHub)",
)
"""3-D renders, 256 px RGBA webp, named by code points."""

NOTO = NpmPackage(
    package="emoji-datasource-google",
    version="16.0.0",
    archive="emoji-datasource-google-16.0.0.tgz",
    sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    licence="table: MIT (Cal Henderson); pictures: Apache-2.0 (Google Noto Emoji)",
)
"""Flat drawings, 64 px RGBA PNG, and emoji.json with names, categories and code points."""


def fetch_package(source: NpmPackage, folder: Path) -> Path:
    """Return the package's archive in `folder`, downloading it with `npm pack` when it is not there.

    Raises `FetchError` when npm is missing, the registry does not answer, or the bytes have another SHA-256.
    """
    archive = folder / source.archive
    if not archive.exists():
        _pack(source, folder)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != source.sha256:
        raise FetchError(
            f"{archive}: SHA-256 is {digest}, expected {source.sha256} for {source.specifier}; "
            "delete the file and try again"
        )
    return archive


def _pack(source: NpmPackage, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            f"npm is not on PATH, so {source.specifier} cannot be downloaded: install Node.js (Debian: apt-get install "
            f"npm), or put {source.archive} into {folder} yourself"
        )
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [npm, "pack", "--silent", source.specifier], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 or not (folder / source.archive).exists():
        raise FetchError(
            f"`npm pack {source.specifier}` ended with {done.returncode}: {done.stderr.strip()[-400:]}; "
            f"is there a network? You can also put {source.archive} into {folder} yourself"
        )
