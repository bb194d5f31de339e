# SPDX-License-Identifier: MIT
"""
The lab: hosts, containers and routers of one machine, kept in a directory of state, so that any
later command, also one after a crash, finds all there is to use or to remove.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal

from . import container, net, router, sysns, wire
from .errors import LabError

DEFAULT_NAME = "lab"
# The longest socket path under it must fit into sockaddr_un.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,23}$")
# A network interface of the host bears it.
_CONTAINER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,14}$")
_RESERVED = {"lo", "eth0", "br0", "vxlan0"}
_KILL_WAIT = 10.0


def base_dir():
    """Where labs keep their state; FF_LAB_DIR for a place of one's own."""
    return os.environ.get("FF_LAB_DIR", "/run/ff-lab")


def require_root():
    if os.geteuid() != 0:
        raise LabError("must be root (network and mount namespaces): use sudo")
    for tool in ("ip", "bridge"):
        if shutil.which(tool) is None:
            raise LabError(f"{tool} is missing: apt-get install iproute2")


class Lab:
    """One lab. self.state is what state.json holds."""

    def __init__(self, name):
        if not _NAME.match(name):
            raise LabError(f"--name {name}: up to 24 letters, digits, '_', '.', '-'", 2)
        self.name = name
        self.dir = os.path.join(base_dir(), name)
        self.state = None

    # State

    def _path(self, *parts):
        return os.path.join(self.dir, *parts)

    def load(self):
        """Reads the state; LabError when the lab is not up."""
        try:
            with open(self._path("state.json"), encoding="utf-8") as file:
                self.state = json.load(file)
        except FileNotFoundError:
            raise LabError(f"lab {self.name} is not up: ff-lab up") from None
        except PermissionError:
            raise LabError("must be root: use sudo") from None
        except ValueError:
            raise LabError(f"lab {self.name}: {self._path('state.json')} is damaged: "
                           "ff-lab down") from None
        return self

    def _save(self):
        temporary = self._path("state.json.new")
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.state, file, indent=1)
        os.rename(temporary, self._path("state.json"))

    @contextlib.contextmanager
    def _locked(self):
        fd = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise LabError(f"lab {self.name}: another ff-lab is at work on it") from None
        finally:
            os.close(fd)

    def find_container(self, name):
        for entry in self.state["containers"]:
            if entry["name"] == name:
                return entry
        known = ", ".join(e["name"] for e in self.state["containers"])
        raise LabError(f"no container {name} in lab {self.name} (there are: {known})")

    def find_host(self, name):
        for entry in self.state["hosts"]:
            if entry["name"] == name:
                return entry
        known = ", ".join(e["name"] for e in self.state["hosts"])
        raise LabError(f"no host {name} in lab {self.name} (there are: {known})")

    # Up

    def up(self, hosts, containers, binaries, options, tenants=None, impair=None,
           mtu=net.UNDERLAY_MTU, ports=None, encap="vxlan"):
        """
        hosts x containers; binaries: router.Binaries, or None for the plain overlay alone;
        options: router.config_make; tenants: of containers that are not of the default one;
        impair: wire.Impair, or None for a bridge of the kernel between the hosts; mtu: of the
        underlay; ports: {host's name: one of router.PORTS} of hosts whose port is not "udp";
        encap: "none": hosts route containers' addresses, on ports that all are not "udp". Leaves
        nothing behind when it fails.
        """
        names = [f"c{n}" for n in range(1, hosts * containers + 1)]
        for name in tenants or {}:
            if name not in names:
                raise LabError(f"--tenant: no container {name} (there are: {', '.join(names)})")
        if impair:
            wire.check(impair, [f"host{n}" for n in range(1, hosts + 1)])
        if impair and mtu != net.UNDERLAY_MTU:
            raise LabError("--mtu and --impair exclude each other")
        ports = ports or {}
        hosts_named = [f"host{n}" for n in range(1, hosts + 1)]
        for name in ports:
            if name not in hosts_named:
                raise LabError(f"--port: no host {name} (there are: {', '.join(hosts_named)})")
        if "memif" in ports.values() and ports != dict.fromkeys(("host1", "host2"), "memif"):
            raise LabError("--port memif: on both of two hosts", 2)
        if encap == "none" and (impair or set(hosts_named) != set(ports)):
            raise LabError("--encap none: without --impair, and no host on --port udp", 2)
        os.makedirs(base_dir(), mode=0o755, exist_ok=True)
        try:
            os.mkdir(self.dir, 0o755)
        except FileExistsError:
            raise LabError(f"lab {self.name} is already up, or half of it is left: "
                           "ff-lab status, ff-lab down") from None
        try:
            with self._locked():
                self._build(hosts, containers, binaries, options, tenants or {}, impair, mtu, ports,
                            encap)
        except BaseException:
            self.down()
            raise

    def _build(self, hosts, containers, binaries, options, tenants, impair, mtu, ports, encap):
        self.state = {"version": 1, "name": self.name, "hosts": [], "containers": [],
                      "next": 1, "tenants": tenants, "mtu": mtu,
                      "visible": binaries.visible if binaries else [],
                      "ports": ports, "encap": encap,
                      "underlay": self._path("ns", "underlay"), "wire": None}
        os.mkdir(self._path("ns"), 0o700)
        os.mkdir(self._path("root"), 0o700)
        self._save()
        net.netns_make(self.state["underlay"])
        net.underlay_configure(self.state["underlay"], not impair)
        for index in range(1, hosts + 1):
            self._host_make(index, hosts, containers, not impair)
        if impair:
            wire.start(self.dir, self.state, impair, self._save)
        for host in self.state["hosts"] if binaries else []:
            wire_options = router.wire_options(ports.get(host["name"], "udp"), encap, host) \
                if hosts > 1 else {}
            router.start(host, f"ff-{self.name}-{host['name']}", binaries,
                         wire_options | options, self._save)
        self._hosts_file_write(hosts * containers)
        for host in self.state["hosts"]:
            for _ in range(containers):
                self._container_make(f"c{self.state['next']}", host)

    def _host_make(self, index, count, containers, bridge):
        name = f"host{index}"
        host = {"name": name, "index": index, "netns": self._path("ns", name),
                "address": net.host_address(index), "dir": self._path(name), "router": None}
        self.state["hosts"].append(host)
        os.mkdir(host["dir"], 0o755)
        self._save()
        net.netns_make(host["netns"])
        if self.state["encap"] == "none":
            routes = [way for n in range(1, count * containers + 1)
                      if 1 + (n - 1) // containers != index
                      for way in zip(net.flat_addresses(n),
                                     net.host_addresses(1 + (n - 1) // containers))]
            net.flat_host_configure(host["netns"], self.state["underlay"], index,
                                    self.state["mtu"], routes)
            return
        net.host_configure(host["netns"], self.state["underlay"], index, count, bridge,
                           self.state["mtu"], bool(self.state["ports"]))

    def _hosts_file_write(self, count):
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        for index in range(1, count + 1):
            lines += [f"{address} c{index}" for address in net.container_addresses(index)]
        with open(self._path("hosts"), "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")

    def _endpoint_make(self, name, host):
        """Network namespace, addresses and registration: all of a container but its processes."""
        index = self.state["next"]
        entry = {"name": name, "host": host["name"], "netns": self._path("ns", name), "pid": None,
                 "addresses": net.container_addresses(index), "freeflow": None}
        self.state["next"] = index + 1
        self.state["containers"].append(entry)
        self._save()
        net.netns_make(entry["netns"])
        if self.state["encap"] == "none":
            entry["addresses"] = net.flat_addresses(index)
            net.flat_container_configure(entry["netns"], host["netns"], name, index,
                                         self.state["mtu"])
        else:
            net.container_configure(entry["netns"], host["netns"], name, index,
                                    self.state["mtu"] - net.VXLAN_OVERHEAD)
        if host["router"]:
            entry["freeflow"] = router.container_add(host, name, entry["netns"],
                                                     self.state["tenants"].get(name))
            self._save()
        return entry

    def _container_make(self, name, host):
        entry = self._endpoint_make(name, host)

        def started(pid):
            entry.update(pid=pid, start=sysns.start_time(pid))
            self._save()

        container.spawn(name, entry["netns"], lambda: container.make_root(
            self._path("root"), entry["freeflow"], self._path("hosts"),
            self.state["visible"]), started)

    def attach(self, name, host_name):
        """A network namespace on the overlay for a container that someone else runs."""
        self.load()
        if not _CONTAINER.match(name) or name in _RESERVED:
            raise LabError(f"{name}: up to 15 letters, digits, '_', '-', a letter first", 2)
        if any(name == e["name"] for e in self.state["containers"] + self.state["hosts"]):
            raise LabError(f"{name} is there already")
        host = self.find_host(host_name)
        with self._locked():
            try:
                return self._endpoint_make(name, host)
            except BaseException:
                self._detach(name)
                raise

    def detach(self, name):
        self.load()
        if self.find_container(name)["pid"] is not None:
            raise LabError(f"{name} is one of the lab's own: it goes with ff-lab down")
        with self._locked():
            self._detach(name)

    def _detach(self, name):
        entry = self.find_container(name)
        if entry["freeflow"]:
            router.container_del(self.find_host(entry["host"]), name)
        net.netns_drop(entry["netns"])
        self.state["containers"].remove(entry)
        self._save()

    def router_restart(self, freeflowd, sig, host_name="host1", meanwhile=None):
        """
        Ends a host's router by a signal and starts freeflowd in its place; its exit status.
        meanwhile() is called when there is none.
        """
        self.load()
        host = self.find_host(host_name)
        with self._locked():
            status = router.end(host, sig)
        if meanwhile:
            meanwhile()
        with self._locked():
            router.launch(host, freeflowd, host["router"]["config"], host["router"]["run_dir"],
                          self._save)
        return status

    # Down

    def down(self):
        """
        Removes the lab, also one that is half built. Returns what went wrong in its routers, as
        lines of text, worst first: nothing when all was well.
        """
        if not os.path.isdir(self.dir):
            raise LabError(f"lab {self.name} is not up")
        with self._locked():
            with contextlib.suppress(LabError):
                self.load()
            state = self.state or {"hosts": [], "containers": []}
            namespaces = self._namespaces()
            # Containers first: a router must never be seen to lose a live peer to our clean-up.
            faults = self._kill_all(state, {i for p, i in namespaces.items()
                                            if not os.path.basename(p).startswith(
                                                ("host", "underlay"))})
            faults += [fault for host in state["hosts"] for fault in router.stop(host)]
            faults += wire.stop(state)
            faults += self._kill_all(state, set(namespaces.values()))
            for path in namespaces:
                net.netns_drop(path)
            shutil.rmtree(self.dir)
        with contextlib.suppress(OSError):
            os.rmdir(base_dir())
        return faults

    def _namespaces(self):
        try:
            names = os.listdir(self._path("ns"))
        except FileNotFoundError:
            return {}
        paths = [self._path("ns", name) for name in names]
        return {path: net.netns_inode(path) for path in paths}

    def _kill_all(self, state, inodes):
        """
        Every first process of a container, and every process in one of the namespaces. Returns
        what went wrong.
        """
        inodes.discard(None)
        targets = [e["pid"] for e in state["containers"]
                   if e["pid"] and sysns.start_time(e["pid"]) == e["start"]]
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{pid}/ns/net").st_ino in inodes:
                    targets.append(int(pid))
        late = _kill_and_wait(set(targets) - {os.getpid()})
        return [f"processes {late} do not end"] if late else []


def _kill_and_wait(pids):
    """
    SIGKILL, and waits for the ends, which a pidfd tells for processes not our own. Returns the
    ids of those that did not end.
    """
    late = []
    fds = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fds[pid] = os.pidfd_open(pid)
            signal.pidfd_send_signal(fds[pid], signal.SIGKILL)
    for pid, fd in fds.items():
        if not router.wait_end(fd, _KILL_WAIT):
            late.append(pid)
        os.close(fd)
    return late
