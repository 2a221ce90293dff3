"""Where the single-file program begins: it unpacks itself once, and runs what it unpacked.

Theory. Compiled modules cannot be imported out of an archive, so for each Python that the file is made for it holds an
archive of packages. That is unpacked into the user's cache, where the next start finds it: as a virtual environment, so
that programs which svcdoctor starts with ``sys.executable`` find the packages too, and no variable leaks into others.

A folder is trusted if it belongs to this user, nobody else may write to it, and none of its parents belongs to another
user or is open to all: anybody may make a folder in /tmp that looks like one of ours.

Pythons as old as 2.7 can read this, to say that they are too old.
"""

import sys

BUILDS = {}  # of each Python, as (3, 11), the checksum of its archive; filled in by build.py
NAME = "svcdoctor"


def main():
    own = sys.path[0]
    found = sys.version_info[:2]
    if found not in BUILDS:
        made_for = ", ".join("%d.%d" % version for version in sorted(BUILDS))
        advice = "take the file for this one, or start it with another: python%d.%d %s" % (
            max(BUILDS) + (own,)
        )
        if found < min(BUILDS):
            advice = "it is too old; start the file with another: python%d.%d %s" % (max(BUILDS) + (own,))
        fail(
            "this file is made for Python %s; %s is %d.%d: %s"
            % ((made_for, sys.executable) + found + (advice,))
        )
    folder = unpacked(own, found)
    sys.path[0] = packages(folder)
    sys.dont_write_bytecode = (
        False  # what is compiled once belongs to what was unpacked, whatever the environment says
    )
    sys.executable = folder + "/bin/python"
    from svcdoctor.cli.entry import main as run

    run()


def fail(message):
    sys.exit("%s: error: %s" % (NAME, message))


def packages(folder):
    """Where a virtual environment of this Python has its packages."""
    return "%s/lib/python%d.%d/site-packages" % ((folder,) + sys.version_info[:2])


def unpacked(own, version):
    """The folder with everything; it is made where it is not there yet."""
    import os
    import zlib

    python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    # Another Python of the same version gets a folder of its own: bin/python leads to this one.
    name = "%s-%08x" % (BUILDS[version], zlib.crc32(python.encode()) & 0xFFFFFFFF)
    problems = []
    for base in bases():
        folder = os.path.join(base, name)
        try:
            if not os.path.isdir(base):
                os.makedirs(base, 0o700)
            problem = distrusted(base)
            if problem:
                problems.append(problem)
                continue
            if not os.path.isdir(folder):
                unpack(own, version, python, folder)
            return folder
        except OSError as e:
            problems.append("%s: %s" % (base, e.strerror or e))
    fail("no folder to unpack into: %s; set XDG_CACHE_HOME to one of your own" % "; ".join(problems))


def bases():
    """The folders that may hold unpacked files, the best first."""
    import os

    cache = os.environ.get("XDG_CACHE_HOME", "")
    home = os.path.expanduser("~")
    if os.path.isabs(cache):
        yield os.path.join(cache, NAME)
    elif os.path.isabs(home):
        yield os.path.join(home, ".cache", NAME)
    for place in (os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp"):
        if os.path.isabs(place):
            yield os.path.join(place, "%s-%d" % (NAME, os.geteuid()))


def distrusted(base):
    """Why files in a folder are not run; nothing where they may be."""
    import os
    import stat

    mine = os.lstat(base)
    if stat.S_ISLNK(mine.st_mode):
        return "%s is a link" % base
    if mine.st_uid != os.geteuid():
        return "%s belongs to another user" % base
    if mine.st_mode & 0o022:
        return "%s can be written to by others" % base
    place = os.path.realpath(base)
    while place != os.path.dirname(place):
        place = os.path.dirname(place)
        parent = os.stat(place)
        if parent.st_uid not in (0, os.geteuid()):
            return "%s belongs to another user" % place
        if parent.st_mode & 0o002 and not parent.st_mode & stat.S_ISVTX:
            return "%s can be written to by all" % place
    return ""


def unpack(own, version, python, folder):
    """Makes the folder: whole, or not at all. Two starts at the same time do it twice, and one of them counts."""
    import os
    import shutil
    import tempfile
    import zipfile

    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write("%s: unpacking into %s, once\n" % (NAME, folder))
    made = tempfile.mkdtemp(prefix=".unpacking-", dir=os.path.dirname(folder))
    try:
        with zipfile.ZipFile(own) as archive, archive.open("cp%d%d.zip" % version) as inner:
            zipfile.ZipFile(inner).extractall(packages(made))
        os.mkdir(made + "/bin")
        os.symlink(python, made + "/bin/python")
        with open(made + "/pyvenv.cfg", "w") as config:
            config.write("home = %s\ninclude-system-site-packages = false\n" % os.path.dirname(python))
        try:
            os.rename(made, folder)
        except OSError:
            if not os.path.isdir(folder):
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


if __name__ == "__main__":
    main()
