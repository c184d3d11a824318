"""Attacks on the grader, as data: what is handed in, and the verdicts that it may end in.

An attack replaces answers of a tiny challenge (`tiny_challenge`); the other cells stay empty, so
that a submission's verdict is that of the attacked part. Where an attack gets what it should not,
it raises `GOT THROUGH`, which no test lets pass. `$ROOT` and other words in capitals are filled in
by the test.
"""

from __future__ import annotations

from dataclasses import dataclass

INSIDE = "forging inside the process"
OUTSIDE = "forging outside the process"
READING = "reading what it should not"
DENIAL = "denial of service"
MEMORY = "denial of service: memory"
PROTOCOL = "denial of service: the protocol"
INJECTION = "report injection"


@dataclass(frozen=True)
class Attack:
    """One submission.

    Attributes:
        name, family: for the table.
        cells: source by cell id.
        verdicts: it ends in one of them.
        challenge: 90 has numbers and text, 91 tensors, 92 less time.
        points: the most that it may give.
        seconds: the most that grading may take, on a machine with nothing else to do.
        words: that the message to the learner has.
    """

    name: str
    family: str
    cells: dict[str, str]
    verdicts: tuple[str, ...]
    challenge: str = "90"
    points: float = 0.0
    seconds: float = 12.0
    words: str = ""


THROUGH = "def through(what):\n    raise SystemError(f'GOT THROUGH: {what}')\n"
RAW = """
import json, os, struct

def raw(tree, blobs=(), sizes=None):
    head = json.dumps({"sizes": [len(b) for b in blobs] if sizes is None else sizes}).encode()
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    return struct.pack(">QQ", len(head), len(text)) + head + text + b"".join(blobs)

def npy(descr, shape, data):
    head = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\\n"
    return b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(head)) + head + data

def out(data):
    for fd in range(3, 20):
        try:
            while data:
                data = data[os.write(fd, data):]
            return
        except OSError:
            pass

ZERO = raw({"op": "value", "value": [0.0, 0.0, 0.0], "printed": ""})
"""


def double(body: str, before: str = "", raw: bool = False) -> dict[str, str]:
    """An answer `double` with these lines, after other lines."""
    lines = "\n".join(f"    {line}" for line in body.strip().split("\n"))
    return {"double": f"{THROUGH}{RAW if raw else ''}{before}\ndef double(numbers):\n{lines}\n"}


def inside(name: str, body: str, *verdicts: str, before: str = "", **more: object) -> Attack:
    raw = bool(more.pop("raw", False))
    return Attack(name, INSIDE, double(body, before, raw), verdicts, **more)  # type: ignore[arg-type]


def of(
    family: str, name: str, body: str, *verdicts: str, before: str = "", **more: object
) -> Attack:
    raw = bool(more.pop("raw", False))
    if "timeout" in verdicts:
        more.setdefault("challenge", "92")
    return Attack(name, family, double(body, before, raw), verdicts, **more)  # type: ignore[arg-type]


FORGED_INSIDE = [
    inside(
        "a list that equals everything",
        "return Always(0 for _ in numbers)",
        "wrong",
        before="class Always(list):\n    def __eq__(self, other): return True\n"
        "    def __sub__(self, other): return 0\n    __hash__ = None",
    ),
    inside(
        "a number that equals everything",
        "return [Always(0) for _ in numbers]",
        "error",
        before="class Always(float):\n    def __eq__(self, other): return True\n"
        "    def __sub__(self, other): return 0.0\n    __rsub__ = __sub__",
        words="a value is a Always",
    ),
    inside(
        "an object that calls itself a float",
        "return [Lie() for _ in numbers]",
        "error",
        before="class Lie:\n    __class__ = float\n    def __float__(self): return 0.0\n"
        "    def __format__(self, spec): return '0.0, Full marks.'\n    __repr__ = __str__ = "
        "lambda self: 'Full marks.'",
        words="a value is a Lie",
    ),
    Attack(
        "a tensor with __torch_function__",
        INSIDE,
        {
            "twice": "class Sly(torch.Tensor):\n    @classmethod\n"
            "    def __torch_function__(cls, func, types, args=(), kwargs=None):\n"
            "        return torch.zeros(())\n"
            "def twice(x):\n    return x.as_subclass(Sly)"
        },
        ("error",),
        "91",
        words="a value is a Sly",
    ),
    Attack(
        "an array with __array_ufunc__ and __array__",
        INSIDE,
        {
            "twice": "import numpy as np\nclass Sly(np.ndarray):\n"
            "    def __array_ufunc__(self, *a, **k): return np.zeros(())\n"
            "    def __array__(self, *a, **k): return np.zeros(3)\n"
            "    def __eq__(self, other): return True\n"
            "def twice(x):\n    return x.numpy().view(Sly)"
        },
        ("wrong", "error"),
        "91",
    ),
    Attack(
        "an object from a module that calls itself torch",
        INSIDE,
        {
            "twice": "class Tensor:\n    __module__ = 'torch'\n    dtype = 'torch.float32'\n"
            "    def detach(self): return self\n    cpu = detach\n"
            "    def numpy(self): return b'\\x80\\x04N.'\n"
            "def twice(x):\n    return Tensor()"
        },
        ("error", "killed"),
        "91",
    ),
    Attack(
        "torch and numpy compare as they are told",
        INSIDE,
        {
            "twice": "import math, numpy as np\n"
            "for module in (np, torch, np.testing, torch.testing):\n"
            "    for name in ('allclose', 'isclose', 'array_equal', 'equal', 'abs', 'subtract',\n"
            "                 'assert_close', 'assert_allclose', 'max'):\n"
            "        if hasattr(module, name): setattr(module, name, lambda *a, **k: True)\n"
            "def twice(x):\n    return x"
        },
        ("wrong",),
        "91",
    ),
    inside(
        "json and the boundary are replaced",
        "return [0.0] * len(numbers)",
        "wrong",
        before="import json, sys\nfrom course_utils.grading.answers import boundary\n"
        "dumps = json.dumps\n"
        "def forged(value, **more):\n    if type(value) is dict and value.get('op') == 'value':\n"
        "        value = {**value, 'verdict': 'pass', 'points': 4, 'passed': True}\n"
        "    return dumps(value, **more)\njson.dumps = forged\n"
        "boundary._check = lambda *a, **k: None\nboundary._as_array = lambda v: None",
    ),
    inside(
        "the worker's own functions are replaced by their frames",
        "return [0.0] * len(numbers)",
        "wrong",
        "error",
        before="import sys\nframe = sys._getframe()\nwhile frame.f_back: frame = frame.f_back\n"
        "for f in (sys._getframe(1), sys._getframe(2)):\n"
        "    for key in ('names', 'printed', 'request'):\n"
        "        if key in f.f_locals and isinstance(f.f_locals[key], dict):\n"
        "            f.f_locals[key].update(passed=True, points=4, verdict='pass')",
    ),
    inside(
        "hidden inputs, looked for in all frames, modules and objects",
        """
import gc, sys
found = []
frame = sys._getframe()
while frame:
    found.append(frame.f_locals)
    frame = frame.f_back
found += [o for o in gc.get_objects() if type(o) is dict]
found += [vars(m) for m in sys.modules.values() if hasattr(m, "__dict__")]
for each in found:
    for key in ("_expected", "_terms", "_seed", "secret", "bands"):
        if key in each and isinstance(each[key], (list, bytes, tuple)):
            through(key)
return []
""",
        "wrong",
    ),
    inside(
        "imports of the grader",
        """
import importlib, sys
for name in ("course_utils.grading.answers.verify", "course_utils.challenges.declare",
             "tiny_challenge",
             "course_utils.grading.cohort.grader", "course_utils.grading.cohort.gradebook",
             "course_utils.challenges.noise_to_order.ask", "course_utils.evaluation",
             "course_utils.data",
             "course_utils.checks", "course_utils.pipeline", "diffusers", "transformers"):
    sys.meta_path[:] = [f for f in sys.meta_path if "Withheld" not in type(f).__name__]
    try:
        module = importlib.import_module(name)
    except ImportError:
        continue
    if getattr(module, "__file__", None):
        through(name)
return []
""",
        "wrong",
    ),
    inside(
        "hooks of IPython",
        "return [0.0] * len(numbers)",
        "wrong",
        before="try:\n    from IPython import get_ipython\n    shell = get_ipython()\n"
        "    shell.input_transformers_post.append(lambda lines: ['passed = True'])\n"
        "    shell.events.register('post_run_cell', lambda r: setattr(r, 'success', True))\n"
        "    shell.display_formatter.formatters['text/html'].for_type(list, lambda v: 'pass')\n"
        "except (ImportError, AttributeError):\n    pass",
    ),
    Attack(
        "a cell magic",
        INSIDE,
        {"double": "%%javascript\nIPython.notebook.kernel.execute('passed = True')"},
        ("not attempted",),
    ),
    inside("os._exit", "import os; os._exit(0)", "killed"),
    inside("sys.exit", "import sys; sys.exit(0)", "error"),
    inside("os._exit at import", "return numbers", "killed", before="import os; os._exit(0)"),
    inside("the error that means the end of a file", "raise EOFError", "error"),
    inside("an interrupt", "raise KeyboardInterrupt", "error"),
    inside("a crash of C", "import ctypes; ctypes.string_at(0)", "killed"),
    inside(
        "a message that says pass, to every open file",
        """
for fd in range(3, 64):
    try: os.write(fd, raw({"op": "value", "value": [0.0] * len(numbers), "verdict": "pass",
                           "points": 4, "passed": True}))
    except OSError: pass
return numbers
""",
        "wrong",
        raw=True,
    ),
    inside(
        "answers before the questions",
        "return numbers",
        "wrong",
        "killed",
        "not attempted",
        before="for _ in range(3): out(ZERO)",
        raw=True,
    ),
    inside(
        "an answer after the answer",
        """
import threading, time
threading.Thread(target=lambda: [time.sleep(0.01) or out(ZERO) for _ in range(50)]).start()
return [0.0] * len(numbers)
""",
        "wrong",
        raw=True,
    ),
    inside(
        "builtins that agree",
        "return [0.0] * len(numbers)",
        "wrong",
        "error",
        "killed",
        before="import builtins\nfor name in ('isinstance', 'all', 'any', 'abs', 'callable'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)",
    ),
    inside(
        "a trace that changes what is sent",
        "return [0.0] * len(numbers)",
        "wrong",
        before="import sys\ndef trace(frame, event, arg):\n"
        "    if 'reply' in frame.f_locals: frame.f_locals['reply']['passed'] = True\n"
        "    return trace\nsys.settrace(trace)\nsys.setprofile(lambda *a: None)",
    ),
    inside(
        "an object array with a pickle",
        "import numpy as np; return np.array([Sly()], dtype=object)",
        "error",
        before="class Sly:\n    def __reduce__(self): return (print, ('pwned',))",
        words="dtype object",
    ),
    inside(
        "a pickle where an array should be",
        """
import pickle
sly = type("Sly", (), {"__reduce__": lambda self: (exit, (0,))})()
globals()["Sly"] = type(sly)
blob = b"\\x93NUMPY\\x01\\x00" + pickle.dumps([1]) + b"cposix\\n_exit\\n(I0\\ntR."
out(raw({"op": "value", "value": {"__array__": 0}}, [blob]))
return numbers
""",
        "killed",
        raw=True,
    ),
    inside(
        "an array of objects with a forged header",
        """
out(raw({"op": "value", "value": {"__array__": 0}}, [npy("|O", (1,), b"\\x80\\x04N.")]))
return numbers
""",
        "killed",
        raw=True,
    ),
    Attack(
        "bool that is more than true",
        INSIDE,
        {
            "positive": RAW + "def positive(x):\n    out(raw({'op': 'value', 'value': "
            "{'__array__': 0}}, [npy('|b1', (500000,), bytes([255]) * 500000)]))\n    return x > 9",
            "twice": "",
        },
        ("killed",),
        "91",
    ),
    Attack(
        "numbers in another byte order",
        INSIDE,
        {
            "twice": RAW + "def twice(x):\n    out(raw({'op': 'value', 'value': "
            "{'__array__': 0}}, [npy('>f8', (500000,), bytes(4000000))]))\n    return x"
        },
        ("killed",),
        "91",
    ),
    Attack(
        "more questions than allowed, and no word of the refusal",
        INSIDE,
        {
            "total": "def total(count, term):\n    found = []\n    for i in range(count * 3):\n"
            "        try: found.append(term(i % count))\n        except BaseException: pass\n"
            "    return sum(found[:count])"
        },
        ("refused",),
        words="more than 3 times",
    ),
    Attack(
        "questions of an oracle that was not offered",
        INSIDE,
        {
            "total": RAW + "def total(count, term):\n"
            "    out(raw({'op': 'oracle', 'name': 'answer', 'args': [], 'kwargs': {}}))\n"
            "    import time; time.sleep(1)\n    return 0"
        },
        ("killed",),
    ),
    Attack(
        "questions that are none",
        INSIDE,
        {
            "total": RAW + "def total(count, term):\n    for args, kwargs in (({}, []), ([[]], {}),"
            " (['__array__'], {'index': 0}), ([10**19], {}), ([None], {'x': 1}), ([1e999], {})):\n"
            "        try: term(*args, **kwargs) if type(args) is list and type(kwargs) is dict "
            "else out(raw({'op': 'oracle', 'name': 'term', 'args': args, 'kwargs': kwargs}))\n"
            "        except Exception: pass\n    return 0"
        },
        ("refused", "error", "killed", "wrong"),
    ),
]

FORGED_OUTSIDE = [
    of(
        OUTSIDE,
        "results and a gradebook, in every folder",
        """
import os, sqlite3
for root, folders, files in os.walk("/"):
    if root.startswith(("/proc", "/tmp", "/dev/shm")):
        folders.clear()
        continue
    for name in ("results.json", "gradebook.sqlite", "secret"):
        try:
            with open(os.path.join(root, name), "w") as file: file.write("{}")
        except OSError:
            continue
        through(root)
    if root.count("/") > 3: folders.clear()
return []
""",
        "wrong",
    ),
    of(
        OUTSIDE,
        "the results folder by its name",
        """
import os
for path in ("$RESULTS/gradebook.sqlite", "$RESULTS/secret", "$SUBMISSIONS/x/90.ipynb"):
    if os.path.lexists(path): through(path)
for path in ("$RESULTS/gradebook.sqlite", "$RESULTS/secret", "$SUBMISSIONS/x/90.ipynb"):
    try: os.makedirs(os.path.dirname(path), exist_ok=True); open(path, "a").write("pass")
    except OSError: pass
raise ValueError("written, in a /tmp that is nobody else's")
return []
""",
        "error",
        words="nobody else's",
    ),
    of(
        OUTSIDE,
        "templates, weights and the worker's own source",
        """
import os, sys
import course_utils.grading.answers.worker as worker
for path in (worker.__file__, os.path.dirname(worker.__file__) + "/__pycache__/worker.pyc",
             "$ROOT/course_utils/weights/model.safetensors", "$ROOT/solutions/x.ipynb",
             sys.executable, os.__file__, sys.prefix + "/lib/python3.11/site-packages/evil.pth"):
    for act in (lambda: open(path, "ab").write(b"#"), lambda: os.remove(path),
                lambda: os.rename(path, path + "~"), lambda: os.chmod(path, 0o777)):
        try: act()
        except OSError: continue
        through(path)
return []
""",
        "wrong",
    ),
    of(
        OUTSIDE,
        "symbolic links in /tmp to what is outside",
        """
import os
for number, target in enumerate(("$RESULTS", "$ROOT", "/proc/1/root", "/proc/1/cwd", "/etc")):
    link = f"/tmp/link{number}"
    try: os.symlink(target, link)
    except FileExistsError: pass
    try: open(link + "/written", "w").write("x")
    except OSError: continue
    if not os.path.realpath(link).startswith("/tmp"): through(target)
return []
""",
        "wrong",
    ),
    Attack(
        "what is left in files for the next process",
        OUTSIDE,
        {
            "keep": "import os\nPLACES = ('/tmp/left', '/dev/shm/left', '/tmp/sitecustomize.py')\n"
            "def keep(digits):\n    os.makedirs('/tmp/.local/lib', exist_ok=True)\n"
            "    for place in PLACES: open(place, 'w').write('x = ' + repr(digits))\n"
            "    return ''\n"
            "def recall(text):\n    for place in PLACES:\n"
            "        if os.path.exists(place): return eval(open(place).read()[4:])\n    return []"
        },
        ("wrong",),
    ),
    Attack(
        "what is left in a daemon for the next process",
        OUTSIDE,
        {
            "keep": "import os, socket, time\nNAME = '\\0left behind'\ndef keep(digits):\n"
            "    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
            "            s = socket.socket(socket.AF_UNIX); s.bind(NAME); s.listen()\n"
            "            while True:\n                c, _ = s.accept(); c.send(bytes(digits))\n"
            "        os._exit(0)\n    time.sleep(0.3)\n    return ''\n"
            "def recall(text):\n    s = socket.socket(socket.AF_UNIX)\n    s.settimeout(2)\n"
            "    try: s.connect(NAME); return list(s.recv(9))\n    except OSError: return []"
        },
        ("wrong",),
    ),
    Attack(
        "a checkpoint that runs code when it is loaded",
        OUTSIDE,
        {
            "twice": "import io, pickle\nclass Sly:\n"
            "    def __reduce__(self): return (print, ('x',))\n"
            "def twice(x):\n    buffer = io.BytesIO()\n    torch.save({'w': Sly()}, buffer)\n"
            "    return buffer.getvalue()"
        },
        ("error",),
        "91",
        words="a value is a bytes",
    ),
]

READ = [
    of(
        READING,
        "tests, references, solutions, weights, other submissions, results",
        """
import os
for path in ("$ROOT/tests", "$ROOT/solutions", "$ROOT/challenges", "$ROOT/.git", "$SUBMISSIONS",
             "$ROOT/course_utils/grading/answers/verify.py",
             "$ROOT/course_utils/challenges/noise_to_order/ask.py",
             "$ROOT/course_utils/checks", "$ROOT/course_utils/weights", "$ROOT/course_utils/data",
             "$ROOT/course_utils/evaluation", "$RESULTS", "$RESULTS/secret", "$CANARY",
             "/course/course_utils/grading/answers/verify.py", "/course/course_utils/checks"):
    if os.path.lexists(path): through(path)
    try: open(path).close(); through(path)
    except OSError: pass
return []
""",
        "wrong",
    ),
    of(
        READING,
        "files of the machine",
        """
import glob, os
for pattern in ("/etc/passwd", "/etc/shadow", "/etc/hosts", "/root/*.*", "/root/.ssh", "/home/*",
                "/var/*", "/run/*", "/boot/*", "/mnt/*", "/opt/*/secret", "/sys/class/*",
                "/sys/firmware/*", "/proc/kcore", "/dev/vd*", "/dev/sd*", "/dev/mem", "/dev/kmsg",
                "/dev/tty*", "/dev/zero", "/dev/fuse", "/dev/kvm"):
    for path in glob.glob(pattern): through(path)
return []
""",
        "wrong",
    ),
    of(
        READING,
        "the environment, of all processes",
        """
import glob, os
texts = [str(dict(os.environ))]
for path in glob.glob("/proc/*/environ"):
    try: texts.append(open(path, errors="replace").read())
    except OSError: pass
for word in ("$WORD", "$ROOT/tests", "COURSE_SECRET", "HOSTNAME", "SSH_", "VIRTUAL_ENV"):
    if any(word in text for text in texts): through(word)
return []
""",
        "wrong",
    ),
    of(
        READING,
        "processes outside",
        """
import ctypes, glob, os
pids = [int(p) for p in os.listdir("/proc") if p.isdigit()]
if len(pids) > 3: through(pids)
for pid in pids:
    if pid != os.getpid():
        for name in ("root/etc/passwd", "cwd/tests", "root$ROOT/tests"):
            if os.path.exists(f"/proc/{pid}/{name}"): through(name)
        try: open(f"/proc/{pid}/mem", "rb").close(); through("memory")
        except OSError: pass
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(16, pid, 0, 0) == 0: through("ptrace")
for pid in (int("$PID"), 1 << 15):
    try: os.kill(pid, 0); through(pid)
    except OSError: pass
return []
""",
        "wrong",
    ),
    of(
        READING,
        "the network",
        """
import socket
for host in ("127.0.0.1", "localhost", "::1", "10.0.0.1", "169.254.169.254", "8.8.8.8"):
    for port in (int("$PORT"), 80, 53):
        try: socket.create_connection((host, port), timeout=0.5).close(); through((host, port))
        except OSError: pass
for family, kind in ((socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_RAW),
                     (socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW),
                     (40, socket.SOCK_STREAM), (38, socket.SOCK_SEQPACKET)):
    try: socket.socket(family, kind); through(family)
    except OSError: pass
return []
""",
        "wrong",
    ),
    of(
        READING,
        "names of hosts",
        """
import socket, urllib.request
try: socket.getaddrinfo("example.com", 80); through("DNS")
except OSError: pass
try: urllib.request.urlopen("http://127.0.0.1:$PORT/", timeout=0.5); through("HTTP")
except OSError: pass
return []
""",
        "wrong",
    ),
    of(
        READING,
        "an abstract Unix socket of the machine",
        """
import socket
for name in ("\\0$ABSTRACT", "\\0/tmp/.X11-unix/X0", "\\0dbus", "/run/docker.sock",
             "/run/dbus/system_bus_socket"):
    try: s = socket.socket(socket.AF_UNIX); s.connect(name); through(name)
    except OSError: pass
return []
""",
        "wrong",
    ),
    of(
        READING,
        "other namespaces, mounts, roots and identities",
        """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x8000000, 0x4000000, 0x2000000):
    if libc.unshare(flag) == 0: through(f"unshare {flag:x}")
if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0: through("mount")
if libc.umount2(b"/proc", 2) == 0: through("umount")
if libc.chroot(b"/tmp") == 0: through("chroot")
if libc.setns(os.open("/proc/1/ns/mnt", os.O_RDONLY), 0) == 0: through("setns")
if libc.prctl(1, 0) == 0: through("it need not die with the grader")
for act in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]),
            lambda: os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0)),
            lambda: os.chown("/tmp", 0, 0), lambda: os.sched_setscheduler(
                0, os.SCHED_FIFO, os.sched_param(1)), lambda: os.nice(-5),
            lambda: os.fchdir(os.open("/proc/1/cwd/..", os.O_RDWR))):
    try: act()
    except (OSError, PermissionError): continue
    through(act.__code__.co_names)
if os.getuid() in (0, int("$UID") or -1): through("the grader's identity")
return []
""",
        "wrong",
    ),
    of(
        READING,
        "programs that run as root",
        """
import os, subprocess
for command in (["su", "-c", "id"], ["sudo", "-n", "id"], ["mount"], ["bwrap", "--bind", "/", "/",
                "--unshare-user", "id"], ["unshare", "-r", "id"], ["newgrp"], ["passwd", "-S"]):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=2)
    except (OSError, subprocess.TimeoutExpired):
        continue
    if b"uid=0(" in done.stdout or (command[0] == "bwrap" and done.returncode == 0):
        through(command)
return []
""",
        "wrong",
    ),
    of(
        READING,
        "calls of the kernel that sandboxes were left by",
        """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
calls = {"x86_64": dict(bpf=321, keyctl=250, perf=298, userfaultfd=323, io_uring=425, memfd=319,
                        shmget=29, msgget=68, semget=64, kexec=246, pidfd_getfd=438, vmread=310,
                        open_by_handle=304, fsopen=430, clone3=435, add_key=248)}
for name, number in calls.get(platform.machine(), {}).items():
    if libc.syscall(number, 0, 0, 0, 0, 0, 0) >= 0: through(name)
    if ctypes.get_errno() not in (1, 38): through(f"{name}: {ctypes.get_errno()}")
return []
""",
        "wrong",
    ),
]

CONSUME = [
    of(DENIAL, "a loop", "while True: pass", "timeout"),
    of(DENIAL, "a loop at import", "return numbers", "timeout", before="while True: pass"),
    of(DENIAL, "a loop in C", "return [sum(range(10**13))]", "timeout"),
    of(DENIAL, "a regular expression that never ends",
       "import re; re.match(r'(a|aa)+$', 'a' * 60 + 'b')", "timeout"),
    of(DENIAL, "sleep", "import time; time.sleep(1e6)", "timeout"),
    of(DENIAL, "it stops itself", "import os; os.kill(os.getpid(), 19)", "timeout", "wrong"),
    of(
        DENIAL,
        "every signal is ignored",
        "while True:\n    try: signal.pause()\n    except BaseException: pass",
        "timeout",
        before="import signal\nfor n in range(1, 65):\n"
        "    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass",
    ),
    of(DENIAL, "a fork bomb",
       "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
       "timeout", "memory", "killed", "wrong"),
    of(
        DENIAL,
        "orphans that stay",
        """
import os, time
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True: time.sleep(0.01)
        os._exit(0)
    os.wait()
return [2 * x for x in numbers]
""",
        "partial",
        "memory",  # all processes count, those that stay too
        points=4,
    ),
    of(
        DENIAL,
        "threads without end",
        """
import threading, time
try:
    while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()
except RuntimeError: return []
""",
        "wrong",
    ),
    of(
        DENIAL,
        "signals to everybody",
        """
import os
for pid in (-1, 1, os.getppid(), int("$PID"), 0):
    try: os.kill(pid, 9)
    except OSError: pass
return []
""",
        "killed",
        "wrong",
    ),
    of(DENIAL, "all files closed", "import os, time; os.closerange(0, 999); time.sleep(99)",
       "killed", "timeout"),
    of(
        DENIAL,
        "a full disk",
        """
import os
total = 0
for folder in ("/tmp", "/dev/shm", "/var/tmp", ".", "/dev", "/run"):
    for number in range(40):
        try:
            with open(f"{folder}/{number}", "wb") as file:
                for _ in range(16): total += file.write(bytes(2**20))
        except OSError: break
if total > 200 * 2**20: through(total)
return []
""",
        "wrong",
    ),
    of(
        DENIAL,
        "a file without end, and holes",
        """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for size in (2**50, 2**31):
    try: os.truncate(os.open("/tmp/hole", os.O_CREAT | os.O_RDWR), size); through(size)
    except OSError: pass
return []
""",
        "wrong",
    ),
    of(
        DENIAL,
        "limits raised",
        """
import resource
for name in ("NPROC", "DATA", "FSIZE", "NOFILE", "CPU", "MEMLOCK", "CORE"):
    limit = getattr(resource, "RLIMIT_" + name)
    if resource.getrlimit(limit)[1] == resource.RLIM_INFINITY: through(name)
    try: resource.setrlimit(limit, (resource.RLIM_INFINITY,) * 2); through(name)
    except (OSError, ValueError): pass
return []
""",
        "wrong",
    ),
    of(DENIAL, "a flood of printed text", "while True: print('x' * 9999)", "timeout"),
    of(
        DENIAL,
        "a flood on the old standard output",
        "import os\nfor _ in range(3000):\n    for fd in (1, 2): os.write(fd, bytes(65536))\n"
        "return []",
        "wrong",
    ),
    of(DENIAL, "recursion without end in C",
       "import sys; sys.setrecursionlimit(10**9)\ndef f(x): return [f(x)]\nreturn f(0)",
       "killed", "memory", "error"),
    of(DENIAL, "an error that can't be told", "raise Sly", "killed", "error",
       before="class Sly(Exception):\n    def __str__(self): raise Sly"),
    of(DENIAL, "an error with a gigabyte to say", "raise ValueError('x' * 10**9)", "memory",
       "error"),
    of(DENIAL, "ten million numbers come back", "return [0] * 10**7", "error", "memory", "timeout"),
    of(DENIAL, "a list that holds itself", "x = []; x.append(x); return x", "error"),
]  # fmt: skip

FILL = [
    of(MEMORY, "anonymous", "return [bytearray(2**24) for _ in range(10**4)]", "memory"),
    of(
        MEMORY,
        "shared, without a file",
        """
import mmap
held = mmap.mmap(-1, 2**30)
for start in range(0, 2**30, 2**24):
    held[start:start + 2**24] = bytes([1]) * 2**24
    held.madvise(mmap.MADV_DONTNEED, start, 2**24)
through("a gigabyte of shared memory that nobody counts")
""",
        "error",
        "memory",
        words="PermissionError",
    ),
    of(
        MEMORY,
        "memfd and System V",
        """
import ctypes, os
libc = ctypes.CDLL(None)
try: os.memfd_create("x"); through("memfd")
except OSError: pass
if libc.shmget(0, 2**30, 0o1666) >= 0: through("shmget")
try: os.posix_fallocate(os.open("/dev/shm/x", os.O_CREAT | os.O_RDWR), 0, 2**28); through("shm")
except OSError: pass
return []
""",
        "wrong",
    ),
    of(
        MEMORY,
        "many processes, each below the limit",
        """
import os, time
for _ in range(40):
    if os.fork() == 0:
        held = [os.urandom(2**20) for _ in range(30)]
        time.sleep(99)
time.sleep(99)
""",
        "memory",
    ),
    of(
        MEMORY,
        "page tables",
        """
import mmap
held = mmap.mmap(-1, 2**42, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000,
                 prot=mmap.PROT_READ)
held.madvise(15)
for start in range(0, 2**42, 2**21): held[start]
return []
""",
        "memory",
    ),
    of(
        MEMORY,
        "buffers of sockets",
        """
import os, socket, time
held = []
for _ in range(60):
    if os.fork() == 0:
        try:
            while True:
                pair = socket.socketpair()
                held.append(pair)
                for end in pair:
                    end.setblocking(False)
                    try: end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)
                    except OSError: pass
                    try:
                        while True: end.send(bytes(65536))
                    except OSError: pass
        except OSError: time.sleep(99)
time.sleep(99)
""",
        "memory",
    ),
    of(
        MEMORY,
        "files without content",
        """
import os
number = 0
while True:
    os.close(os.open(f"/tmp/{number}", os.O_CREAT | os.O_WRONLY))
    number += 1
""",
        "memory",
        "timeout",
        "error",
    ),
    Attack(
        "while an oracle is asked",
        MEMORY,
        {
            "total": "import threading\nheld = []\n"
            "def fill():\n    while True: held.append(bytearray(2**24))\n"
            "def total(count, term):\n    threading.Thread(target=fill).start()\n"
            "    while True: term(0)"
        },
        ("memory", "refused"),
    ),
]

SPEAK = [
    of(PROTOCOL, "a flood of answers", "while True: out(ZERO)", "wrong", "killed", raw=True),
    of(
        PROTOCOL,
        "a flood of the largest answers",
        """
blob = npy("<f8", (8000000,), bytes(64000000))
while True: out(raw({"op": "value", "value": [{"__array__": 0}] * 3}, [blob]))
""",
        "wrong",
        "refused",
        "memory",
        raw=True,
    ),
    Attack(
        "a flood of questions whose answers nobody reads",
        PROTOCOL,
        {
            "total": RAW + "def total(count, term):\n    ask = raw({'op': 'oracle', "
            "'name': 'term', 'args': [0], 'kwargs': {}})\n    while True: out(ask)"
        },
        ("refused",),
    ),
    Attack(
        "large inputs that nobody reads",
        PROTOCOL,
        {
            "twice": RAW + "out(raw({'op': 'value', 'value': ['twice']}))\nwhile True: pass",
        },
        ("timeout",),
        "91",
        seconds=20,
    ),
    of(
        PROTOCOL,
        "bytes that trickle",
        "import time\nfor byte in ZERO * 9:\n    out(bytes([byte])); time.sleep(0.2)",
        "timeout",
        raw=True,
    ),
    of(
        PROTOCOL,
        "much is announced, and nothing follows",
        "import time\nout(raw({}, [], [60 * 2**20])); time.sleep(99)",
        "timeout",
        raw=True,
    ),
    of(PROTOCOL, "more is announced than there is",
       "import time; out(struct.pack('>QQ', 2**60, 2**60)); time.sleep(9)", "killed", raw=True),
    of(PROTOCOL, "text that is no message", "import time; out(b'junk' * 999); time.sleep(9)",
       "killed", raw=True),
    of(PROTOCOL, "lists in lists, 400,000 deep",
       "import time; out(raw(b'[' * 400000 + b']' * 400000)); time.sleep(9)", "killed", raw=True),
    of(
        PROTOCOL,
        "lists in lists in an error's text",
        """
import time
deep = b"[" * 900 + b"]" * 900
out(raw(b'{"op": "error", "kind": ' + deep + b', "text": ' + deep + b', "line": 3}'))
time.sleep(9)
""",
        "killed",
        "error",
        raw=True,
    ),
    of(PROTOCOL, "a number of 4,000 digits",
       "import time; out(raw(b'{\"op\": \"value\", \"value\": [' + b'9' * 4000 + b']}')); "
       "time.sleep(9)", "killed", raw=True),
    of(PROTOCOL, "half a character", "import time; out(raw({'op': 'value', 'value': '\\ud800'}));"
       " time.sleep(9)", "killed", raw=True),
    of(PROTOCOL, "a shape that overflows",
       "import time; out(raw({'op': 'value', 'value': {'__array__': 0}}, "
       "[npy('<f8', (0, 2**62, 2**62), b'')])); time.sleep(9)", "killed", raw=True),
    of(PROTOCOL, "a shape beyond any integer",
       "import time; out(raw({'op': 'value', 'value': {'__array__': 0}}, "
       "[npy('<f8', (0, 2**100), b'')])); time.sleep(9)", "killed", raw=True),
    Attack(
        "what can't be handed to the next call",
        PROTOCOL,
        {
            "keep": RAW + "def keep(digits):\n"
            "    out(raw({'op': 'value', 'value': {'__array__': 0, 'x': 1}}))\n    return ''\n"
            "def recall(text):\n    return []"
        },
        ("killed", "wrong"),
    ),
]  # fmt: skip

INJECT = [
    of(INJECTION, "markup in an error",
       "raise ValueError('</td><script>alert(1)</script><img src=x onerror=alert(1)>')", "error"),
    of(INJECTION, "a formula in an error", "raise type('=HYPERLINK(\"http://x\")', (Exception,), "
       "{})('=1+1, -2+3\\t@SUM(A1)')", "error"),
    of(INJECTION, "escape sequences in an error and in printed text",
       "print('\\x1b]0;owned\\x07\\x1b[2J'); raise ValueError('\\x1b[31mpass\\x1b[0m\\r4 of 4')",
       "error"),
    of(INJECTION, "half a character in an error", "raise ValueError('\\ud800 \\udfff')", "error"),
]  # fmt: skip

ATTACKS = [
    *FORGED_INSIDE,
    *FORGED_OUTSIDE,
    *READ,
    *CONSUME,
    *FILL,
    *SPEAK,
    *INJECT,
]
