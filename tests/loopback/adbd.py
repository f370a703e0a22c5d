"""An adb daemon on 127.0.0.1: the device's side of adb's protocol, for a phone that is a folder.

Runs inside the phone (see `boot.sh`). Prints `{"port": N}` when it listens. The test's end of stdin and
stdout is the hand that holds the phone: one JSON object a line changes what it does, and is answered by one.

    {"authorise": "accept" | "ignore" | "close"}      the answer to "Allow USB debugging?"
    {"drop": {"service": "sync:", "after": 100000, "seconds": null, "away": 1.0}}
        once: cut the cable when that much has passed in that service, or when it has lasted so many seconds
    {"run": "ps -A"}                                  run a command, without adb

Protocol: AOSP packages/modules/adb/protocol.txt.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import queue
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adb_services

CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3
VERSION, MAX_DATA = 0x01000001, 1 << 20
FEATURES = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"
SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")
KEYS = Path("/data/misc/adb/adb_keys")
SERVICES: dict[str, Callable[[Stream, str], None]] = {
    "shell": adb_services.shell,
    "exec": adb_services.shell,
    "sync": adb_services.sync,
}


class Phone:
    """What the daemon's connections share: keys, properties and the faults to come."""

    def __init__(self) -> None:
        self.authorise = "accept"
        self.drop: dict[str, Any] = {}
        lines = Path("/system/build.prop").read_text().splitlines()
        self.properties = dict(line.split("=", 1) for line in lines if "=" in line)

    def banner(self) -> bytes:
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        pairs = "".join(f"{name}={self.properties[name]};" for name in names)
        return f"device::{pairs}features={FEATURES}".encode()

    def is_signed(self, token: bytes, signature: bytes) -> bool:
        """Whether a known key made this PKCS#1 v1.5 signature of the token (taken as a SHA-1 hash)."""
        known = KEYS.read_text().splitlines() if KEYS.exists() else []
        for line in known:
            # Android's RSA key: words of the modulus, n0inv, modulus and rr little-endian, exponent
            key = base64.b64decode(line.split()[0])
            size = 4 * int.from_bytes(key[:4], "little")
            modulus = int.from_bytes(key[8 : 8 + size], "little")
            exponent = int.from_bytes(key[-4:], "little")
            signed = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big")
            padding = b"\0\1" + b"\xff" * (size - len(SHA1_INFO) - len(token) - 3) + b"\0"
            if signed == padding + SHA1_INFO + token:
                return True
        return False

    def remember(self, key: bytes) -> None:
        KEYS.parent.mkdir(parents=True, exist_ok=True)
        with KEYS.open("a") as file:
            file.write(key.rstrip(b"\0\n").decode() + "\n")


class Stream:
    """One service's two-way stream of bytes; one packet is under way at a time."""

    def __init__(self, connection: Connection, local: int, remote: int, service: str) -> None:
        self.connection, self.local, self.remote, self.service = connection, local, remote, service
        self.incoming: queue.Queue[bytes] = queue.Queue()
        self.may_write = threading.Event()
        self.closed = threading.Event()

    def read(self) -> bytes:
        """Return the next packet's bytes; b"" once the other side has closed."""
        data = self.incoming.get()
        if data:
            self.connection.count(self.service, len(data))
            self.connection.send(OKAY, self.local, self.remote)
        return data

    def write(self, data: bytes) -> None:
        """Send bytes and wait until they were taken; raise BrokenPipeError when nobody takes them."""
        for start in range(0, len(data), self.connection.max_data):
            self.may_write.clear()
            chunk = data[start : start + self.connection.max_data]
            self.connection.send(WRTE, self.local, self.remote, chunk)
            self.connection.count(self.service, len(chunk))
            while not self.may_write.wait(0.2):
                if self.closed.is_set():
                    raise BrokenPipeError
        if self.closed.is_set():
            raise BrokenPipeError

    def end(self) -> None:
        """Tell the service that the other side has closed."""
        self.closed.set()
        self.incoming.put(b"")


class Connection:
    """One host's connection."""

    def __init__(self, peer: socket.socket, phone: Phone, cut: Callable[[float], None]) -> None:
        self.peer, self.phone, self.cut = peer, phone, cut
        self.lock = threading.Lock()
        self.streams: dict[int, Stream] = {}
        self.ids = itertools.count(1)
        self.online = False
        self.max_data = 4096
        self.token = b""
        self.passed: dict[str, int] = {}

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        header = struct.pack("<6I", command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        try:
            with self.lock:
                self.peer.sendall(header + data)
        except OSError as error:
            raise BrokenPipeError from error

    def count(self, service: str, size: int) -> None:
        """Cut the cable where a fault is due."""
        drop = self.phone.drop
        if drop and service.startswith(drop["service"]) and drop.get("after") is not None:
            self.passed[drop["service"]] = self.passed.get(drop["service"], 0) + size
            if self.passed[drop["service"]] >= drop["after"]:
                self.cut_now()

    def cut_if_open(self, stream: Stream) -> None:
        if self.phone.drop and not stream.closed.is_set():
            self.cut_now()

    def cut_now(self) -> None:
        away = float(self.phone.drop.get("away") or 0)
        self.phone.drop = {}
        self.cut(away)

    def serve(self) -> None:
        try:
            while True:
                header = self.receive(24)
                command, first, second, size, _, magic = struct.unpack("<6I", header)
                if command != magic ^ 0xFFFFFFFF or size > MAX_DATA:
                    return
                self.handle(command, first, second, self.receive(size))
        except (OSError, EOFError):
            pass
        finally:
            self.peer.close()
            for stream in list(self.streams.values()):
                stream.end()

    def receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self.peer.recv(min(size - len(data), 1 << 16))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)

    def handle(self, command: int, first: int, second: int, data: bytes) -> None:
        if command == CNXN:
            self.max_data = min(second, MAX_DATA)
            self.online = False
            self.challenge()
        elif command == AUTH:
            self.authenticate(first, data)
        elif not self.online:
            return
        elif command == OPEN:
            self.open(first, data.rstrip(b"\0").decode(errors="surrogateescape"))
        elif stream := self.streams.get(second):
            if command == OKAY:
                stream.may_write.set()
            elif command == WRTE:
                stream.incoming.put(data)
            elif command == CLSE:
                stream.end()

    def challenge(self) -> None:
        self.token = secrets.token_bytes(hashlib.sha1().digest_size)
        self.send(AUTH, TOKEN, 0, self.token)

    def authenticate(self, kind: int, data: bytes) -> None:
        if kind == SIGNATURE:
            if not self.phone.is_signed(self.token, data):
                self.challenge()
                return
        elif kind != PUBLIC_KEY or self.phone.authorise == "ignore":
            return
        elif self.phone.authorise == "close":
            raise EOFError
        else:
            self.phone.remember(data)
        self.online = True
        self.send(CNXN, VERSION, MAX_DATA, self.phone.banner())

    def open(self, remote: int, service: str) -> None:
        run = SERVICES.get(service.split(":", 1)[0].split(",", 1)[0])
        if run is None:
            self.send(CLSE, 0, remote)
            return
        local = next(self.ids)  # never used again: a late goodbye must not meet a new stream
        stream = self.streams[local] = Stream(self, local, remote, service)
        self.send(OKAY, local, remote)
        threading.Thread(target=self.run, args=(run, stream), daemon=True).start()
        drop = self.phone.drop
        if drop and service.startswith(drop["service"]) and drop.get("seconds") is not None:
            timer = threading.Timer(drop["seconds"], self.cut_if_open, [stream])
            timer.daemon = True
            timer.start()

    def run(self, service: Callable[[Stream, str], None], stream: Stream) -> None:
        with contextlib.suppress(BrokenPipeError, EOFError):
            service(stream, stream.service)
        del self.streams[stream.local]
        with contextlib.suppress(BrokenPipeError):
            self.send(CLSE, stream.local, stream.remote)


class Daemon:
    """Accepts hosts; the cable can be cut, which ends all connections and refuses new ones for a while."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.peers: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]

    def serve(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:  # the cable was cut: wait until it is back
                time.sleep(0.02)
                continue
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peers.append(peer)
            threading.Thread(target=Connection(peer, self.phone, self.cut).serve, daemon=True).start()

    def cut(self, away: float) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for peer in self.peers:
            try:
                # No goodbye: what was sent and not yet taken is lost.
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.peers = []
        time.sleep(away)
        self.listener = socket.create_server(("127.0.0.1", self.port))


def main() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup the shells would not be hung up on
    phone = Phone()
    daemon = Daemon(phone)
    threading.Thread(target=daemon.serve, daemon=True).start()
    print(json.dumps({"port": daemon.port}), flush=True)
    for line in sys.stdin:
        wish, answer = json.loads(line), {}
        phone.authorise = wish.get("authorise", phone.authorise)
        phone.drop = wish.get("drop", phone.drop)
        if "run" in wish:
            done = subprocess.run(
                ["/system/bin/sh", "-c", wish["run"]],
                capture_output=True,
                text=True,
                env=adb_services.ENVIRONMENT,
            )
            answer = {"status": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        print(json.dumps(answer), flush=True)
    os._exit(0)  # the test has let go of the phone


if __name__ == "__main__":
    main()
