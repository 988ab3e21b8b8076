"""Mounts a volume that never answers on a directory, and executes a command. usage: hanging-volume.py DIRECTORY COMMAND..."""

import ctypes
import os
import sys

path, command = sys.argv[1], sys.argv[2:]
libc = ctypes.CDLL(None, use_errno=True)
# No process reads the requests. The volume exists as long as a process holds the descriptor.
fd = os.open("/dev/fuse", os.O_RDWR)
os.set_inheritable(fd, True)
options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
if libc.mount(b"hanging", path.encode(), b"fuse", 0, options) != 0:
    sys.exit(f"cannot mount a volume on {path}: {os.strerror(ctypes.get_errno())}")
os.execvp(command[0], command)
