"""A disk with a write cache that loses power: one file, `disk`, served by FUSE at a folder, to be looped over.

Usage: disk.py IMAGE FOLDER [--lies]. The image is what is durable: what is written stays in this process until it is
flushed, and reads see it. `--lies` forgets to flush, and says that it did.

Commands, a line each on standard input:
  cut MODE   the power goes, also in the middle of a flush, which takes 3 ms. Of the writes that were not flushed, `none`, `all`, `blocks` of 4,096 bytes or `sectors` of 512
             survive; of the last two each by the toss of a coin, in any of its versions since the flush. From then on the
             disk answers nothing but errors. Says `cut UNFLUSHED SURVIVED FLUSHES`, in sectors.
The end of standard input ends the process.
"""

import ctypes
import errno
import os
import random
import select
import stat
import struct
import sys

SECTOR = 512
(LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, INTERRUPT, DESTROY, BATCH_FORGET) = (
    1, 2, 3, 4, 14, 15, 16, 17, 18, 20, 25, 26, 36, 38, 42)
ROOT, DISK = 1, 2
MOST = 1 << 20


class Disk:
    def __init__(self, image, lies):
        self.file = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.lies = lies
        self.cache = {}  # sector: what was written there since the last flush, oldest first
        self.flushes = 0
        self.dead = False

    def read(self, offset, size):
        size = max(0, min(size, self.size - offset))
        data = bytearray(os.pread(self.file, size, offset))
        if self.cache:
            for at in range(offset, offset + size, SECTOR):
                versions = self.cache.get(at // SECTOR)
                if versions:
                    data[at - offset:at - offset + SECTOR] = versions[-1]
        return bytes(data[:size])

    def write(self, offset, data):
        if offset % SECTOR or len(data) % SECTOR or offset + len(data) > self.size:
            raise OSError(errno.EINVAL, "not in whole sectors")
        for at in range(0, len(data), SECTOR):
            self.cache.setdefault((offset + at) // SECTOR, []).append(data[at:at + SECTOR])

    def flush(self):
        self.flushes += 1
        if not self.lies:
            for sector, versions in self.cache.items():
                os.pwrite(self.file, versions[-1], sector * SECTOR)
            self.cache.clear()

    def cut(self, mode):
        self.dead = True
        survived = 0
        tossed = {}
        dice = random.SystemRandom()
        for sector, versions in self.cache.items():
            if mode == "none":
                continue
            version = versions[-1]
            if mode != "all":
                unit = sector if mode == "sectors" else sector * SECTOR // 4096
                if unit not in tossed:
                    tossed[unit] = (dice.random() < 0.5, dice.random())
                keeps, which = tossed[unit]
                if not keeps:
                    continue
                version = versions[int(which * len(versions))]
            os.pwrite(self.file, version, sector * SECTOR)
            survived += 1
        print("cut", len(self.cache), survived, self.flushes, flush=True)


def attributes(node, size):
    mode, links = (stat.S_IFDIR | 0o700, 2) if node == ROOT else (stat.S_IFREG | 0o600, 1)
    return struct.pack("<6Q10I", node, size, size // SECTOR, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 4096, 0)


def answer(disk, code, node, body):
    """The body of an answer, or an error."""
    size = disk.size if node == DISK else 0
    if code == INIT:
        readahead = struct.unpack_from("<I", body, 8)[0]
        # Large writes, in up to 256 pages.
        flags = 1 << 5 | 1 << 22
        return struct.pack("<4I2H2I2H2I24x", 7, 31, readahead, flags, 16, 12, MOST, 1, 256, 0, 0, 0)
    if code == LOOKUP:
        if node != ROOT or body.rstrip(b"\0") != b"disk":
            raise OSError(errno.ENOENT, "")
        return struct.pack("<4Q2I", DISK, 1, 3600, 3600, 0, 0) + attributes(DISK, disk.size)
    if code in (GETATTR, SETATTR):
        return struct.pack("<Q2I", 3600, 0, 0) + attributes(node, size)
    if code == OPEN and node == DISK:
        return struct.pack("<QIi", 1, 0, 0)
    if code == STATFS:
        return struct.pack("<5Q4I24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
    if code in (RELEASE, FLUSH, DESTROY):
        return b""
    if code in (READ, WRITE, FSYNC) and disk.dead:
        raise OSError(errno.EIO, "no power")
    if code == READ:
        _, offset, length = struct.unpack_from("<2QI", body)
        return disk.read(offset, length)
    if code == WRITE:
        _, offset, length = struct.unpack_from("<2QI", body)
        disk.write(offset, body[40:40 + length])
        return struct.pack("<2I", length, 0)
    if code == FSYNC:
        disk.flush()
        return b""
    raise OSError(errno.ENOSYS, "")


def obey(disk):
    """Does what standard input says; whether it goes on."""
    line = os.read(0, 100).split()
    if line:
        disk.cut(line[1].decode())
    return bool(line)


def serve(disk, device):
    while True:
        ready, _, _ = select.select([device, 0], [], [])
        # The cut first: what has not been taken yet was not written.
        if 0 in ready and not obey(disk):
            return
        if device not in ready:
            continue
        try:
            request = os.read(device, MOST + 8192)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return
            if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                continue
            raise
        _, code, unique, node = struct.unpack_from("<2I2Q", request)
        if code in (FORGET, BATCH_FORGET, INTERRUPT):
            continue
        if code == FSYNC and not disk.dead and select.select([0], [], [], 0.003)[0] and not obey(disk):
            return
        try:
            error, body = 0, answer(disk, code, node, request[40:])
        except OSError as fault:
            error, body = -fault.errno, b""
        try:
            os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
        except OSError as fault:
            # Whoever asked was killed meanwhile.
            if fault.errno != errno.ENOENT:
                raise


def main():
    image, folder = sys.argv[1:3]
    disk = Disk(image, "--lies" in sys.argv[3:])
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,max_read={MOST}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"ward-disk", os.fsencode(folder), b"fuse", 0, options.encode()):
        code = ctypes.get_errno()
        sys.exit(f"cannot mount a FUSE file system: {os.strerror(code)}")
    print("ready", flush=True)
    serve(disk, device)


main()
