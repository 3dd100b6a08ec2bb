import os
import sys
import threading

import corefn


@corefn.function
def seen() -> dict:
    files = {}
    for folder, _, names in os.walk("/function"):
        if not folder.endswith("__pycache__"):
            for name in names:
                with open(os.path.join(folder, name)) as file:
                    path = os.path.relpath(file.name, "/function")
                    files[path] = file.read(1000)
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines())
    return {
        "files": files,
        "modes": {name: oct(os.stat(name).st_mode & 0o111) for name in [".", "main.py"]},
        "could_write": could_write(),
        "variables": dict(os.environ),
        "arguments": sys.argv,
        "path": sys.path,
        "folder": os.getcwd(),
        "file": __file__,
        "pid": os.getpid(),
        "processes": sorted(name for name in os.listdir("/proc") if name.isdigit()),
        "descriptors": sorted(os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in os.listdir("/proc/self/fd")
                              if os.path.exists(f"/proc/self/fd/{fd}")),
        "threads": threading.active_count(),
        "account": [status[name] for name in ["Uid", "Gid", "CapBnd", "NoNewPrivs", "SigIgn", "SigCgt"]],
        "temporary": os.listdir("/tmp"),
    }


def could_write():
    for name in ["new.txt", "main.py", "data/greeting.txt", "/new", "/stack/new"]:
        try:
            with open(name, "a"):
                return True
        except OSError:
            pass
    return False


@corefn.function
def fail():
    raise ValueError("on purpose")
