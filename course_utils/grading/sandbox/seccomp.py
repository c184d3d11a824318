"""A filter of system calls for the sandbox, as the classic BPF program that the kernel loads.

What no answer needs and what has been a way out of sandboxes is refused: further namespaces,
mounts, debugging of other processes, outliving the parent, keys, kernel modules, sockets other than
Unix ones, memory that no limit counts (memfd, System V, shared memory without a file, larger
buffers of sockets, pages held in pipes), and what tells which pages of shared files are in memory
or moves them, which would be a way from one process to a later one. Everything else is allowed; the
list is what container engines refuse too, and the namespaces do most of the work.

Sources: Linux, Documentation/userspace-api/seccomp_filter.rst; asm/unistd.h of both architectures.
"""

from __future__ import annotations

import errno
import platform
import struct

# The number on x86-64 and on 64-bit ARM; None where it does not exist.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "cachestat": (451, 451),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fadvise64": (221, 223),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "inotify_add_watch": (254, 27),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mincore": (27, 232),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "preadv2": (327, 286),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "readahead": (187, 213),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "splice": (275, 76),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "tee": (276, 77),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
    "vmsplice": (278, 75),
}
CLONE, CLONE3, SOCKET = (56, 220), (435, 435), (41, 198)
SOCKETPAIR, SETSOCKOPT, MMAP, PRCTL = (53, 199), (54, 208), (9, 222), (157, 167)
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
AF_UNIX = 1
SOL_SOCKET, SO_SNDBUF = 1, 7
PR_SET_PDEATHSIG = 1
MAP_SHARED, MAP_ANONYMOUS = 0x01, 0x20
MADVISE, MADV_COLD, MADV_PAGEOUT = (28, 233), 20, 21
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
X32 = 0x40000000  # set in the number of a call of x86's 32-bit-pointer interface

_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000


def program(machine: str | None = None) -> bytes | None:
    """The filter, as `bwrap --seccomp` reads it: instructions of 8 bytes.

    Args:
        machine: as `platform.machine()` says; this one by default.

    Returns:
        None for an architecture whose numbers are not known here.
    """
    found = ARCHITECTURES.get(machine or platform.machine())
    if found is None:
        return None
    architecture, column = found
    code = [
        _load(_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        _load(_NUMBER),
        (_JUMP_SET, 0, 1, X32),
        (_RETURN, 0, 0, _KILL),
    ]
    for numbers in REFUSED.values():
        if (number := numbers[column]) is not None:
            code += _refuse(number, errno.EPERM)
    code += _refuse(CLONE3[column], errno.ENOSYS)  # glibc then uses clone, whose flags can be read
    code += [
        (_JUMP_EQUAL, 0, 4, CLONE[column]),
        _load_argument(0),
        (_JUMP_SET, 0, 1, NEW_NAMESPACES),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code += [
        (_JUMP_EQUAL, 0, 4, PRCTL[column]),
        _load_argument(0),
        (_JUMP_EQUAL, 0, 1, PR_SET_PDEATHSIG),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for call in (SOCKET, SOCKETPAIR):
        code += [
            (_JUMP_EQUAL, 0, 4, call[column]),
            _load_argument(0),
            (_JUMP_EQUAL, 1, 0, AF_UNIX),
            (_RETURN, 0, 0, _ERROR | errno.EACCES),
            (_RETURN, 0, 0, _ALLOW),
        ]
    for call, first, test, second in (
        # A page of shared memory can be left behind, counted nowhere, while its mapping lasts.
        (MMAP, (3, MAP_SHARED), _JUMP_SET, (3, MAP_ANONYMOUS)),
        (SETSOCKOPT, (1, SOL_SOCKET), _JUMP_EQUAL, (2, SO_SNDBUF)),
    ):
        code += [
            (_JUMP_EQUAL, 0, 6, call[column]),
            _load_argument(first[0]),
            (test, 0, 3, first[1]),
            _load_argument(second[0]),
            (test, 0, 1, second[1]),
            (_RETURN, 0, 0, _ERROR | errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    code += [
        (_JUMP_EQUAL, 0, 5, MADVISE[column]),
        _load_argument(2),
        (_JUMP_EQUAL, 1, 0, MADV_COLD),
        (_JUMP_EQUAL, 0, 1, MADV_PAGEOUT),
        (_RETURN, 0, 0, _ERROR | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _load(offset: int) -> tuple[int, int, int, int]:
    return (_LOAD, 0, 0, offset)


def _load_argument(index: int) -> tuple[int, int, int, int]:
    """Its lower 32 bits, where all that is looked at stands."""
    return _load(_ARGUMENTS + 8 * index)


def _refuse(number: int, error: int) -> list[tuple[int, int, int, int]]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]
