"""What a submission's process can see: a read-only view of Python, the encoders and its own folder, and one scratch folder.

The view is a list of what is allowed; the rest of the machine is not in it. bubblewrap or unshare (util-linux) make it, each
with namespaces of its own for users, processes, the network and mounts, so that there is no network and nothing to signal.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from benchmark.sandbox.limits import Limits, SandboxUnavailable

Confinement = Literal["bubblewrap", "unshare", "none"]

PACKAGE = Path(__file__).resolve().parents[1]
VISIBLE = (
    "__init__.py",
    "errors.py",
    "types.py",
    "explanations.py",
    "explaining.py",
    "plugins.py",
    "encoders",
    "games",
    "bridges",
    "explainers",
    "sandbox",
    "data/__init__.py",
    "data/base.py",
)
"""What of this package an explainer may import: no data set, no metric, no task, no store."""
EMBEDDED = ("embedded/__init__.py", "embedded/model.py", "embedded/config.json", "embedded/model.safetensors")
EMBEDDED_SETTINGS = ("embedded/preprocessor_config.json", "embedded/tokenizer.json", "embedded/tokenizer_config.json")

LIBRARY, SUBMISSION, SCRATCH, MODELS = "/library", "/submission", "/tmp", "/models"
DEVICES = ("null", "zero", "full", "random", "urandom")
SHARED_MEMORY_MB = 64
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin")
_SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_TOOLS = {"bubblewrap": ("bwrap",), "unshare": ("unshare", "setpriv", "mount", "umount", "pivot_root", "sh")}
_WHERE = f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"
N_OWN = {"bubblewrap": 2, "unshare": 1, "none": 0}
"""Processes that a confinement itself adds to the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is seen, as (here, there) read-only; ``empty`` folders there hide what lies here; ``links`` are (text, there)."""

    shown: tuple[tuple[Path, str], ...]
    devices: tuple[str, ...]
    empty: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    scratch_mb: int


def view(folder: Path, limits: Limits, *, encoder: str | None = None, accelerator: bool = False) -> View:
    """Return the view of a submission in ``folder``; ``encoder`` is the name of one that it loads itself, or ``None``."""
    links = tuple((str(Path(path).readlink()), path) for path in _SYSTEM if Path(path).is_symlink())
    system = [path for path in (*_SYSTEM, *_SETTINGS) if Path(path).exists() and not Path(path).is_symlink()]
    prefixes = dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)))
    shown = [(Path(path), path) for path in (*system, *(path for path in prefixes if not _inside(path, system)))]
    empty = [str(PACKAGE)] if _inside(str(PACKAGE), (*system, *prefixes)) else []
    shown += [(PACKAGE / name, f"{LIBRARY}/benchmark/{name}") for name in VISIBLE]
    shown.append((folder.resolve(), SUBMISSION))
    devices = list(DEVICES)
    if encoder is not None:
        shown += _weights(encoder)
        if accelerator:
            devices += [
                path.relative_to("/dev").as_posix() for path in sorted(Path("/dev").glob("nvidia*")) if not path.is_dir()
            ]
    return View(shown=tuple(shown), devices=tuple(devices), empty=tuple(empty), links=links, scratch_mb=limits.scratch_mb)


def _weights(encoder: str) -> list[tuple[Path, str]]:
    """Return where an encoder's weights lie; of the hub's cache only models, never data sets or a token."""
    shown = [(PACKAGE / name, f"{LIBRARY}/benchmark/{name}") for name in (*EMBEDDED, *EMBEDDED_SETTINGS)]
    folder = Path(encoder).expanduser()
    if folder.is_dir():
        shown.append((folder.resolve(), str(folder.resolve())))
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    shown += [(path.resolve(), f"{MODELS}/hub/{path.name}") for path in sorted(hub.glob("models--*"))]
    clip = Path("~/.cache/clip").expanduser()
    return [*shown, (clip, f"{SCRATCH}/.cache/clip")] if clip.is_dir() else shown


def _inside(path: str, folders: Sequence[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def environment(confinement: Confinement) -> dict[str, str]:
    """Return the whole environment of a submission's process: nothing of ours but where programs and models are."""
    found = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": SCRATCH,
        "TMPDIR": SCRATCH,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HOME": MODELS,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    if confinement == "none":
        found |= {name: os.environ[name] for name in ("HOME", "HF_HOME", "HF_HUB_CACHE") if name in os.environ}
        if "HF_HOME" not in os.environ:
            del found["HF_HOME"]
    return found


def confined(command: Sequence[str], seen: View, confinement: Confinement) -> list[str]:
    """Return the command that runs ``command`` in a view; it ends with whoever starts it."""
    setpriv = shutil.which("setpriv", path=_WHERE)
    ends_with_us = [] if setpriv is None else [setpriv, "--pdeathsig", "KILL"]
    match confinement:
        case "bubblewrap":
            return [*ends_with_us, *_bubblewrap(seen), "--", *command]
        case "unshare":
            return [*ends_with_us, *_unshare(seen), *command]
        case "none":
            return [*ends_with_us, *command]


def _bubblewrap(seen: View) -> list[str]:
    found = [_tool("bwrap"), "--unshare-all", "--unshare-user", "--disable-userns", "--uid", "1000", "--gid", "1000"]
    found += ["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"]
    found += ["--perms", "0755", "--size", str(2**24), "--tmpfs", "/dev"]
    for name in seen.devices:
        found += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    found += ["--symlink", "/proc/self/fd", "/dev/fd"]
    found += ["--size", str(SHARED_MEMORY_MB * 2**20), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    found += ["--size", str(seen.scratch_mb * 2**20), "--tmpfs", SCRATCH]
    for here, there in seen.shown:
        found += ["--ro-bind", str(here), there]
    for there in seen.empty:
        found += ["--tmpfs", there, "--remount-ro", there]
    for text, there in seen.links:
        found += ["--symlink", text, there]
    return [*found, "--proc", "/proc", "--remount-ro", "/proc", "--remount-ro", "/", "--chdir", SCRATCH]


def _unshare(seen: View) -> list[str]:
    """Build the view by hand, then drop every capability, so that nothing of it can be undone.

    Mounts are made under the folder ``/mnt`` of a mount namespace of our own; the machine's ``/mnt`` is not touched.
    """
    lines = ["set -e", "echo 0 > /proc/sys/user/max_user_namespaces"]  # of this namespace: there are none inside it
    lines += ["mount -t tmpfs -o size=16m,mode=755 tmpfs /mnt", "cd /mnt", f"mkdir -p old proc dev/shm .{SCRATCH}"]
    lines.append(f"mount -t tmpfs -o size={seen.scratch_mb}m tmpfs .{SCRATCH}")
    lines.append(f"mount -t tmpfs -o size={SHARED_MEMORY_MB}m tmpfs dev/shm")
    lines += [f"touch dev/{name}; mount --bind /dev/{name} dev/{name}" for name in seen.devices]
    lines.append("ln -s /proc/self/fd dev/fd")
    for here, there in seen.shown:
        source, target = shlex.quote(str(here)), shlex.quote(f".{there}")
        make = f"mkdir -p {target}" if here.is_dir() else f"mkdir -p $(dirname {target}); touch {target}"
        lines.append(f"{make}; mount --rbind {source} {target}")
        for below, options in _mounts(here):
            lines.append(f"mount -o {options} {shlex.quote(f'.{there}{below}')}")
    lines += [f"mount -t tmpfs -o ro tmpfs {shlex.quote(f'.{there}')}" for there in seen.empty]
    lines += [f"ln -s {shlex.quote(text)} {shlex.quote(f'.{there}')}" for text, there in seen.links]
    lines += ["mount -t proc -o ro proc proc", "pivot_root . old", "cd /", "umount -l /old", "rmdir /old"]
    lines += ["mount -o remount,ro,bind /", f"cd {SCRATCH}"]
    lines.append('exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all -- "$@"')
    namespaces = ["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
    script = "\n".join((f"PATH={_WHERE}", *lines, ""))
    return [_tool("unshare"), *namespaces, "--", _tool("sh"), "-c", script, "sandbox"]


def _mounts(here: Path) -> list[tuple[str, str]]:
    """Return the mount that a path lies on ("") and those below it, each with the options that make it read-only.

    What a mount forbids already must stay forbidden, or the system refuses to change it.
    """
    found: dict[str, str] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        point = Path(fields[4].encode().decode("unicode_escape"))
        kept = [option for option in fields[5].split(",") if option in ("nosuid", "nodev", "noexec", "noatime", "nodiratime")]
        options = ",".join(("remount", "bind", "ro", *kept))
        if here.is_relative_to(point):
            found[""] = options  # a later line lies on top of an earlier one, or deeper
        elif point.is_relative_to(here):
            found[f"/{point.relative_to(here).as_posix()}"] = options
    return list(found.items())


def _tool(name: str) -> str:
    found = shutil.which(name, path=_WHERE)
    if found is None:
        raise SandboxUnavailable(f"the program {name} is not here")
    return found


def works(confinement: Confinement) -> str | None:
    """Return why a means of confinement cannot be used on this system, or ``None`` when a trial went well."""
    if confinement == "none":
        return None
    missing = [tool for tool in _TOOLS[confinement] if shutil.which(tool, path=_WHERE) is None]
    return f"{', '.join(missing)} not installed" if missing else _trial(confinement)


@cache
def _trial(confinement: Confinement) -> str | None:
    command = confined([sys.executable, "-I", "-S", "-c", ""], view(PACKAGE / "sandbox", Limits()), confinement)
    try:
        done = subprocess.run(
            command, env=environment(confinement), stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip()[-200:] or "it fails"


def best_confinement(allow_none: bool = False) -> Confinement:
    """Return the best means of confinement that works here; ``none`` only where there is no other and it is allowed.

    Otherwise ``SandboxUnavailable`` says why each fails and what to install.
    """
    reasons: list[str] = []
    for confinement in get_args(Confinement):
        reason = works(confinement)
        if reason is None and (confinement != "none" or allow_none):
            return confinement
        if reason is not None:
            reasons.append(f"{confinement}: {reason}")
    raise SandboxUnavailable(
        f"submitted code is not run here, since nothing can confine it ({'; '.join(reasons)}). On Linux install bubblewrap "
        "(for example: apt install bubblewrap) and allow user namespaces; or, for code that you trust as your own, say "
        "--unconfined: it then runs with your rights, files and network, and only time and memory are limited"
    )
