"""Addresses that a run holds on this machine: Services' own, on a device of svcdoctor's, or on ``lo`` where the kernel
has no such device.

Theory. An address that is local is delivered to whoever listens, whatever it came in by. It is given for this machine
alone (scope host, in IPv6 deprecated), so that nothing else is sent from it, and ARP requests for it are dropped
(``arpsilence``). Before an address is added it is written into the run's directory: what a crash leaves is found there
by the next start, of whatever run, and removed once no other run has it and no worker serves it. Runs share the device,
which goes with its last address.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.serving.arpsilence import keep_silent
from svcdoctor.proxy.serving.rtnetlink import LOOPBACK, RouteLink
from svcdoctor.proxy.serving.rundir import ADDRESSES, RUNS, RunDirectory, unusable

DEVICE = "svcdoctor0"
DEVICE_KIND = "dummy"

_OF_OTHERS = ("kube-ipvs0",)
"""What kube-proxy in IPVS mode holds Services' addresses on."""

_NAMESPACE = Path("/proc/self/ns/net")


class Holding:
    """The addresses of one run, those that an earlier process of it held among them. ``tell`` gets lines for the user.

    Raises SvcdoctorError, as all of its methods do, where addresses cannot be added or removed.
    """

    def __init__(self, directory: RunDirectory, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._above = directory.path.parent
        self._own = directory.path
        self.earlier = recorded(directory.path)
        """What an earlier process of the run left."""
        self._held: dict[str, None] = dict.fromkeys(self.earlier)
        self._silent = True
        self._opened: RouteLink | None = None

    @property
    def _link(self) -> RouteLink:
        if self._opened is None:
            self._opened = RouteLink()
        return self._opened

    @property
    def held(self) -> tuple[str, ...]:
        return tuple(self._held)

    def hold(self, ips: Iterable[str]) -> None:
        """Make these addresses of this machine, as far as they are not."""
        wanted = list(dict.fromkeys(ips))
        if not wanted:
            return
        with _told():
            here = {found.ip for found in self._link.addresses()}
            ours = {ip for path in runs_here(self._above) for ip in recorded(path)}
            new = [ip for ip in wanted if ip not in self._held and (ip not in here or ip in ours)]
            missing = [ip for ip in (*self._held, *new) if ip not in here]
            if not new and not missing:
                return
            self._held.update(dict.fromkeys(new))
            self._record()
            device = self._device()
            for ip in missing:
                self._link.add(ip, device)
            self._silence()

    def drop(self, ips: Iterable[str]) -> None:
        """Hold these no longer. What cannot be removed stays written down."""
        gone = [ip for ip in ips if ip in self._held]
        if gone:
            with _told("removed from"):
                self._remove(gone, self._own)
                for ip in gone:
                    del self._held[ip]
                self._record()
                self._silence()

    def clear_leftovers(self) -> None:
        """Remove what other runs left that have no process any more."""
        with _told("removed from"):
            for path in runs_here(self._above):
                if path == self._own or not (left := recorded(path)):
                    continue
                directory = RunDirectory(path.name, self._above)
                if directory.try_lock() is not None:
                    continue
                if not directory.living_workers():
                    self._remove(left, path)
                    (path / ADDRESSES).unlink(missing_ok=True)
                    self._silence()
                    self._tell(f"removed of a run that has crashed: {', '.join(left)}")
                directory.release()

    def close(self) -> None:
        """The end; `drop` what is not to stay before."""
        if self._opened is not None:
            self._opened.close()

    def _device(self) -> int:
        with contextlib.suppress(OSError):
            return socket.if_nametoindex(DEVICE)
        try:
            self._link.make_device(DEVICE, DEVICE_KIND)
        except OSError as e:
            if e.errno != errno.EOPNOTSUPP:
                raise
            return socket.if_nametoindex(LOOPBACK)
        return socket.if_nametoindex(DEVICE)

    def _remove(self, ips: Iterable[str], run: Path) -> None:
        """Take addresses of a run away that no other run has, and the device with its last one."""
        others = {ip for path in runs_here(self._above) if path != run for ip in recorded(path)}
        gone = set(ips) - others
        own = {index for name in (DEVICE, LOOPBACK) if (index := _index(name))}
        for found in self._link.addresses():
            if found.ip in gone and found.device in own:
                self._link.remove(found.ip, found.device)
        device = _index(DEVICE)
        if device and not any(
            found.device == device and not found.ip.startswith("fe80:") for found in self._link.addresses()
        ):
            self._link.remove_device(device)

    def _silence(self) -> None:
        every = {ip for path in runs_here(self._above) for ip in recorded(path)}
        why = keep_silent(sorted(ip for ip in every if ":" not in ip))
        if why and self._silent:
            self._tell(
                f"ARP requests for these addresses are answered, which nftables would keep down: {why}"
            )
        self._silent = not why

    def _record(self) -> None:
        """What is held, for those who come after this process."""
        if not self._held:
            (self._own / ADDRESSES).unlink(missing_ok=True)
            return
        new = self._own / f"{ADDRESSES}.new"
        try:
            new.write_text("\n".join((_namespace(), *self._held, "")))
            new.replace(self._own / ADDRESSES)
        except OSError as e:
            raise unusable(self._own, e) from None


def machine_addresses() -> tuple[str, ...]:
    """This machine's own addresses that others may reach it by: not loopback, link-local, nor Services'."""
    if sys.platform != "linux":
        return ()
    link = RouteLink()
    try:
        held = {index for name in (DEVICE, LOOPBACK, *_OF_OTHERS) if (index := _index(name))}
        return tuple(
            a.ip for a in link.addresses() if a.device not in held and not ip_address(a.ip).is_link_local
        )
    finally:
        link.close()


def recorded(run: Path) -> tuple[str, ...]:
    """The addresses that a run holds, or has left, in this network namespace."""
    try:
        namespace, *ips = (run / ADDRESSES).read_text().splitlines() or ("",)
    except (FileNotFoundError, NotADirectoryError):
        return ()
    return tuple(ips) if namespace == _namespace() else ()


def runs_here(above: Path) -> tuple[Path, ...]:
    """The directories of all runs of this user."""
    return tuple(sorted(above.glob(RUNS)))


def _namespace() -> str:
    held = _NAMESPACE.stat()
    return f"{held.st_dev}:{held.st_ino}"


def _index(name: str) -> int:
    with contextlib.suppress(OSError):
        return socket.if_nametoindex(name)
    return 0


@contextlib.contextmanager
def _told(what: str = "held on") -> Iterator[None]:
    try:
        yield
    except PermissionError:
        raise SvcdoctorError(
            f"Services' addresses cannot be {what} this machine: that needs the capability CAP_NET_ADMIN; run it as "
            "root, grant the capability (systemd: AmbientCapabilities=CAP_NET_ADMIN), or use --listen",
            3,
        ) from None
    except OSError as e:
        raise SvcdoctorError(
            f"Services' addresses cannot be {what} this machine: {e.strerror or e}; use --listen", 3
        ) from None
