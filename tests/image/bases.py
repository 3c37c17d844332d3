"""What an image is built with and from, where there is no engine and no registry: buildah and two bases of Debian's packages.

Everything is unpacked below `.servers/image`, once. It takes root; as a plain user with subordinate ids (`/etc/subuid`) and
`newuidmap` it has not been tried.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".servers" / "image"
POLICY = HOME / "builder" / "policy.json"
LOCKS = [ROOT / "requirements" / name for name in ("build.txt", "runtime.txt")]
BUILDER = ("buildah", "libgpgme11", "libdevmapper1.02.1", "libseccomp2")
PYTHON = (
    *("libc6", "libpython3.11-minimal", "libpython3.11-stdlib", "python3.11-minimal"),
    *("libbz2-1.0", "libcrypt1", "libexpat1", "libffi8", "liblzma5", "libsqlite3-0", "libssl3", "libuuid1", "zlib1g"),
    *("libgcc-s1", "libstdc++6", "ca-certificates"),
)
"""What the daemon runs on: no shell, no pip, no package manager."""
SHELL = ("dash", "coreutils", "libselinux1", "libpcre2-8-0", "libacl1", "libattr1", "libgmp10")
BUILD = (*PYTHON, *SHELL, "python3.11-venv", "python3-pip-whl", "python3-setuptools-whl")
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
BASE = f"""FROM scratch
COPY . /
ENV PATH=/usr/sbin:/usr/bin SSL_CERT_FILE=/{CERTIFICATES}
"""
TRUST = '{"default": [{"type": "insecureAcceptAnything"}]}'
"""Both bases are of this machine: there is no signature to look at. Debian's packages come signed."""


def isolated(command: Sequence[str | Path]) -> list[str]:
    """The command as root of mounts of its own."""
    ids = [] if os.geteuid() == 0 else ["--user", "--map-root-user", "--map-auto"]
    return [_program("unshare"), *ids, "--mount", *map(str, command)]


def buildah(*arguments: str | Path) -> str:
    """What buildah prints. Raises AssertionError with all that it said."""
    program = HOME / "builder" / "usr" / "bin" / "buildah"
    # Its helpers start without our environment: they find its libraries by the linker's cache.
    mounted = f'mount --bind {HOME}/builder/ld.so.cache /etc/ld.so.cache && exec "$@"'
    command = [program, "--root", HOME / "store", "--runroot", HOME / "run", *arguments]
    ended = subprocess.run(
        isolated(["sh", "-c", mounted, "sh", *command]),
        start_new_session=True,  # what it signals is its own
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(HOME),
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_CONF": os.devnull,
            "CONTAINERS_REGISTRIES_CONF": os.devnull,
            "_CONTAINERS_USERNS_CONFIGURED": "done",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip()


def prepare() -> None:
    """Fetch and unpack what is missing."""
    HOME.mkdir(parents=True, exist_ok=True)
    _once("builder", (*BUILDER, TRUST), _make_builder)
    _once("wheels", [path.read_text() for path in LOCKS], _download_wheels)
    for tag, packages in (("build", BUILD), ("runtime", PYTHON)):
        _once(f"base-{tag}", (*packages, BASE), partial(_make_base, tag, packages))


def build(*arguments: str | Path, tag: str, file: Path = ROOT / "Dockerfile", context: Path = ROOT) -> str:
    """Build an image; its id. Every file is of one time, so that the same sources are the same image."""
    fixed = ("--quiet", "--signature-policy", POLICY, "--pull-never", "--layers=false", "--timestamp", "315532800")
    return buildah("build", *fixed, *arguments, "--tag", tag, "--file", file, context)


def build_image(tag: str) -> str:
    """The Dockerfile's image on the two bases, without a network; its id."""
    prepare()
    arguments = {
        "BASE": "localhost/base:build",
        "RUNTIME_BASE": "localhost/base:runtime",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": "/mnt",
    }
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    return build("--network", "none", "--volume", f"{HOME}/wheels:/mnt:ro", *given, tag=tag)


def _program(name: str) -> str:
    """A program of the system: a plain user's PATH may lack the folders of the administrator's."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert found is not None, f"{name} is missing"
    return found


def _once(name: str, of: Sequence[str], make: Callable[[Path], None]) -> None:
    """Make a folder, unless it is there and of the same."""
    target, made_of = HOME / name, hashlib.sha256("\0".join(of).encode()).hexdigest()
    mark = HOME / f"{name}.sha256"
    if mark.exists() and mark.read_text() == made_of:
        return
    mark.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    make(target)
    mark.write_text(made_of)


def _make_builder(folder: Path) -> None:
    _unpack(BUILDER, folder)
    libraries = folder.glob("usr/lib/*-linux-gnu")
    subprocess.run([_program("ldconfig"), "-C", folder / "ld.so.cache", *libraries], check=True)
    POLICY.write_text(TRUST)


def _download_wheels(folder: Path) -> None:
    options = ("--quiet", "--only-binary=:all:", "--require-hashes", "--no-deps", "--dest", str(folder))
    for lock in LOCKS:
        subprocess.run([sys.executable, "-m", "pip", "download", *options, "-r", lock], check=True)


def _make_base(tag: str, packages: Sequence[str], folder: Path) -> None:
    file, root = folder / "Containerfile", folder / "root"
    file.write_text(BASE)
    _make_root(packages, root)
    build(tag=f"base:{tag}", file=file, context=root)
    shutil.rmtree(root)  # the store has it from here on


def _make_root(packages: Sequence[str], root: Path) -> None:
    """Packages unpacked, without the scripts that would run at an installation: what these would do is done here."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    _unpack(packages, root)
    (root / "usr" / "bin" / "python3").symlink_to("python3.11")
    (root / CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    (root / CERTIFICATES).write_text("".join(path.read_text() for path in authorities))
    for folder in ("usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / folder, ignore_errors=True)


def _unpack(packages: Sequence[str], root: Path) -> None:
    """Debian's packages, by package lists of our own: no root is needed, and none on the machine."""
    with TemporaryDirectory(prefix="debian-") as name:
        directory = Path(name)
        for made in ("state/lists/partial", "cache/archives/partial"):
            (directory / made).mkdir(parents=True)
        options = {
            "Dir::State": directory / "state",
            "Dir::State::status": "/var/lib/dpkg/status",
            "Dir::Cache": directory / "cache",
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
        subprocess.run([*apt, "update"], check=True)
        subprocess.run([*apt, "download", *packages], check=True, cwd=directory)
        for package in sorted(directory.glob("*.deb")):
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as packed:
                extract = ["tar", "--extract", "--no-same-owner", "--keep-directory-symlink", "--directory", str(root)]
                subprocess.run(extract, stdin=packed.stdout, check=True)
            assert packed.returncode == 0, package
