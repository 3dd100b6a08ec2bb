"""Waits in a sandbox until it is told which function to become, with all imported that serving takes.

`stacks/README.md` has what it is told, and how. Run as a program, it says which modules of a function can't be imported into
what waits.
"""

import errno
import importlib
import os
import socket
import stat
import struct
import sys
import time

# What serves, and what it imports when it begins.
import asgiref.wsgi  # noqa: F401
import uvicorn.lifespan.on  # noqa: F401
import uvicorn.loops.auto  # noqa: F401
import uvicorn.middleware.proxy_headers  # noqa: F401
import uvicorn.protocols.http.auto  # noqa: F401
import uvicorn.protocols.websockets.auto  # noqa: F401

import corefn.find  # noqa: F401
import corefn.functions  # noqa: F401

FOLDER = "/function"

# Folders of modules, below it.
MODULES = ["app", "packages"]

# Seconds between two attempts to connect, and how many there are in a row: for half a minute.
PAUSE, ATTEMPTS = 0.05, 600

# The status with which it ends if it can't become the function, as a shell's would.
CANNOT_EXECUTE = 126

# What has been looked for and was not there.
LOOKED_FOR = {"httptools", "sitecustomize", "usercustomize", "uvloop", "websockets", "wsproto"}

# The bytes of an entry's head in the archive.
HEAD = 110


def wait(path):
    """Returns when this process has become a function, whose files are there; or begins anew as one."""
    attempts = 0
    while attempts < ATTEMPTS:
        attempts += 1
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                attempts = 0
                variables, archive = told(connection)
                become(connection, variables, archive)
                return
        except (OSError, EOFError):
            # Whoever is there may go away, and another come.
            time.sleep(PAUSE)
    sys.exit(1)


def told(connection):
    """The variables of a function, and the archive of its files."""
    lengths = struct.unpack("<II", exactly(connection, 8))
    order, archive = (exactly(connection, length) for length in lengths)
    arguments, variables = struct.unpack_from("<II", order)
    texts = bytes(order[8:]).split(b"\0")[arguments:arguments + variables]
    return dict(text.split(b"=", 1) for text in texts), bytes(archive)


def exactly(connection, count):
    """So many bytes."""
    received = bytearray(count)
    rest = memoryview(received)
    while rest:
        length = connection.recv_into(rest)
        if length == 0:
            raise EOFError
        rest = rest[length:]
    return received


def become(connection, variables, archive):
    """Becomes a function. If that can't be, says why and ends."""
    try:
        unpack(archive, FOLDER)
        os.environb.update(variables)
        os.chdir(f"{FOLDER}/app")
        if clashes(FOLDER):
            # (The connection is closed by the program's beginning.)
            os.execv(sys.executable, [sys.executable, "-m", "corefn"])
    except Exception as error:
        connection.sendall(struct.pack("<i", getattr(error, "errno", None) or errno.EINVAL))
        sys.exit(CANNOT_EXECUTE)
    # As if it had begun there.
    sys.path[0] = os.getcwd()
    sys.path_importer_cache.clear()
    importlib.invalidate_caches()
    sys.argv[1:] = []


def unpack(archive, folder):
    """Unpacks an archive (cpio(5), in the form "newc"), so that nobody writes to what was in it."""
    folders = [folder]
    at = 0
    while True:
        mode, size, name_size = (int(archive[at + 6 + 8 * n:at + 14 + 8 * n], 16) for n in (1, 6, 11))
        name = os.fsdecode(archive[at + HEAD:at + HEAD + name_size - 1])
        if name == "TRAILER!!!":
            break
        begin = (at + HEAD + name_size + 3) & ~3
        contents = archive[begin:begin + size]
        at = (begin + size + 3) & ~3
        path = f"{folder}/{name}"
        if stat.S_ISDIR(mode):
            os.mkdir(path)
            folders.append(path)
        elif stat.S_ISLNK(mode):
            os.symlink(contents, path)
        else:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o555)
            with open(file, "wb", buffering=0) as file:
                rest = memoryview(contents)
                while rest:
                    rest = rest[file.write(rest):]
    for folder in reversed(folders):
        os.chmod(folder, 0o555)


def clashes(folder):
    """Modules of a function that are found before some that have been imported already, or were looked for."""
    known = {name.partition(".")[0] for name in sys.modules} | LOOKED_FOR
    own = set()
    for modules in MODULES:
        try:
            entries = list(os.scandir(f"{folder}/{modules}"))
        except FileNotFoundError:
            continue
        for entry in entries:
            name, dot, _ = entry.name.partition(".")
            if not dot or entry.name.endswith((".py", ".pyc", ".so")):
                own.add(name)
    return sorted(known & own)


def main(folder):
    """Says what can't be imported into what waits."""
    if found := clashes(folder):
        print(f"The interpreter starts with the function, as it has its own {', '.join(found)}")


if __name__ == "__main__":
    main(sys.argv[1])
