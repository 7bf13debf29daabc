"""What the tests of the examples share: programs under test, sockets, and
deadlines. Nothing here waits without one."""

import fcntl
import functools
import os
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

DEADLINE = 30.0
# So long a server waits for its clients after the signal, to end within a
# second of it; and so long that takes at most where everything is slow.
LINGERS = 0.7
STOPS_WITHIN = 6.0
BACKEND = os.environ.get("ASYNCORE_BACKEND", "")
# select(2) tells no hangup while nothing is asked: the library looks so many
# times a second.
PAUSED_LOOKS = 10 if BACKEND == "select" else 0
MEBIBYTE = 1 << 20


def wait_until(condition, what, deadline=DEADLINE):
    """For what no descriptor tells: looks again until it is so."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("not within %g s: %s" % (deadline, what))
        time.sleep(0.005)


def wait_until_arrived(s):
    """What was sent on a socket is in the peer's kernel; if it is a unix
    socket, with the peer."""
    def is_there():
        left = fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4))
        return struct.unpack("i", left)[0] == 0
    wait_until(is_there, "what was sent arrives")


def process_state(pid):
    """Its state in one letter; "X": it is no more."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def has_nothing_to_do(pid):
    """It waits in the kernel, and not for a thread that it has just started;
    or it is stopped, or gone."""
    try:
        with open("/proc/%d/wchan" % pid) as f:
            asleep = process_state(pid) not in "DR"
            where = f.read()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return (asleep and not where.startswith("futex") and
            process_state(pid) not in "DR")


def run(*command, deadline=DEADLINE, **kwargs):
    """Runs a program to its end: (status, stdout, stderr) as bytes."""
    if "input" not in kwargs:
        kwargs.setdefault("stdin", subprocess.DEVNULL)
    kwargs.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=deadline,
                          check=False, **kwargs)
    return done.returncode, done.stdout, done.stderr


def limit_descriptors(count):
    """For preexec_fn: like ulimit -n."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


def raise_descriptor_limit():
    """As many descriptors as we may have; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


@functools.lru_cache(maxsize=None)
def has_thread_sanitizer(path):
    with open(shutil.which(path), "rb") as f:
        return b"__tsan_init" in f.read()


class Program:
    """A program under test, with pipes for standard output and error."""

    def __init__(self, *command, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.PIPE)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE,
                                        bufsize=0, **kwargs)
        self.pid = self.process.pid
        self.subject = self.pid  # whom /proc is asked about
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout

    def read_until(self, end, deadline=DEADLINE):
        """Standard output up to and with end, or to its end."""
        data = b""
        until = time.monotonic() + deadline
        while not data.endswith(end):
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.stdout], [], [], left)[0]:
                raise AssertionError("no %r within %g s; got %r"
                                     % (end, deadline, data[-200:]))
            byte = os.read(self.stdout.fileno(), 1)
            if not byte:
                break
            data += byte
        return data

    def signal(self, number):
        self.signal_process(self.subject, number)

    def signal_process(self, pid, number):
        """The thread sanitizer (of gcc 12) gets memory for signals in the
        first call that may block. One that comes while it does so is lost."""
        if has_thread_sanitizer(self.process.args[0]):
            wait_until(lambda: has_nothing_to_do(pid), "it gets ready")
        os.kill(pid, number)

    def finish(self, deadline=DEADLINE):
        """Waits for its end: (status, rest of stdout, stderr)."""
        out, err = self.process.communicate(timeout=deadline)
        return self.process.returncode, out, err

    def end(self):
        """Whatever has happened, it is gone after this."""
        if self.process.poll() is None:
            for pid in {self.subject, self.pid}:
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout,
                     self.process.stderr):
            if pipe is not None:
                pipe.close()

    def proc(self, name):
        with open("/proc/%d/%s" % (self.subject, name)) as f:
            return f.read()

    def threads(self):
        """What /proc says of each, by its number."""
        tasks = os.listdir("/proc/%d/task" % self.subject)
        if has_thread_sanitizer(self.process.args[0]):
            # Its own is the second, and looks around ten times a second.
            tasks = tasks[:1] + tasks[2:]
        return {int(task): self.proc("task/%s/status" % task)
                for task in tasks}

    def sleeps(self):
        return all("\nState:\tS" in status
                   for status in self.threads().values())

    def activity(self):
        """How often each thread has gone to sleep: what does nothing at all
        does not even do that."""
        return {task: int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)",
                                    status, re.MULTILINE).group(1))
                for task, status in self.threads().items()}

    def memory(self, field="VmRSS"):
        for line in self.proc("status").splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no %s in /proc" % field)

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.subject))

    def is_sanitized(self):
        """Built with a sanitizer, which reserves terabytes."""
        return self.memory("VmSize") > 1 << 40


class Server(Program):
    """One that says "listening on ADDRESS"."""

    def __init__(self, *command, **kwargs):
        super().__init__(*command, **kwargs)
        line = self.read_until(b"\n").decode()
        if not line.startswith("listening on ") or not line.endswith("\n"):
            _, _, err = self.finish()
            raise AssertionError("said %r, %r" % (line, err))
        self.address = line[len("listening on "):-1]
        self.subject = self.find_subject()
        # What it uses by itself; no client is there yet.
        self.idle_descriptors = self.descriptors()
        self.sanitized = self.is_sanitized()

    def find_subject(self):
        return self.pid

    def sockaddr(self):
        """Its address as Python's socket module has it: family, address."""
        if self.address.startswith("unix:"):
            return socket.AF_UNIX, self.address[len("unix:"):]
        host, port = self.address.rsplit(":", 1)
        if host.startswith("["):
            return socket.AF_INET6, (host[1:-1], int(port))
        return socket.AF_INET, (host, int(port))

    def connect(self, kind=socket.SOCK_STREAM):
        family, address = self.sockaddr()
        s = socket.socket(family, kind)
        s.settimeout(DEADLINE)
        try:
            s.connect(address)
        except OSError:
            s.close()
            raise
        return s

    def wait_for_clients(self, count):
        """Until it serves so many, all others closed."""
        wanted = self.idle_descriptors + count
        wait_until(lambda: self.descriptors() == wanted,
                   "%d clients; there are %d" % (
                       count, self.descriptors() - self.idle_descriptors))

    def workers(self):
        """The processes that serve: its children, or it alone."""
        path = "/proc/%d/task/%d/children" % (self.subject, self.subject)
        with open(path) as f:
            return [int(pid) for pid in f.read().split()] or [self.subject]

    def freeze(self):
        """What is sent now is received by its kernel only."""
        self.frozen = self.workers()
        for pid in self.frozen:
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: process_state(pid) == "T", "it stops")

    def thaw(self):
        """Only those: a worker born since may be on its last way, where what
        looks for leaks waits for ever after a SIGCONT."""
        for pid in self.frozen:
            os.kill(pid, signal.SIGCONT)

    def stop(self, number=signal.SIGTERM):
        self.signal(number)
        return self.finish()


class Case(unittest.TestCase):
    """A test with a temporary directory, which ends what it has started."""

    maxDiff = 500

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name

    def path(self, name):
        return os.path.join(self.directory, name)

    def program(self, *command, **kwargs):
        program = Program(*command, **kwargs)
        self.addCleanup(program.end)
        return program

    def close_later(self, closable):
        self.addCleanup(closable.close)
        return closable

    def listener(self, family=socket.AF_INET, address=None):
        if address is None:
            address = ("127.0.0.1", 0)
        s = self.close_later(socket.socket(family))
        s.settimeout(DEADLINE)
        s.bind(address)
        s.listen(16)
        return s

    def assert_one_line(self, text, *parts):
        """One line and no more, which holds each of parts."""
        self.assertEqual(text.count(b"\n"), 1, text)
        self.assertTrue(text.endswith(b"\n"), text)
        for part in parts:
            self.assertIn(part, text)

    def assert_stays_asleep(self, program, seconds=2, looks=0):
        """It comes to rest, and stays so, but for so many looks a second. To
        be asleep at one moment is not enough: it may be waiting for another
        that is busy. Processor time would not do: what a machine takes for it
        differs, and ticks are coarse."""
        def wakes(seconds):
            before, started = program.activity(), time.monotonic()
            time.sleep(seconds)
            wait_until(program.sleeps, "it sleeps")
            after, taken = program.activity(), time.monotonic() - started
            return (sum(after.values()) - sum(before.values()) -
                    looks * taken)
        wait_until(lambda: wakes(0.5) <= 2, "it comes to rest")
        # A kernel that probes a peer's window may find room for a byte.
        self.assertLessEqual(wakes(seconds), 2)

    def assert_stops_in_time(self, server, started, number=signal.SIGTERM,
                             printed=b""):
        """number is sent, unless it is None, after what has been sent at
        started. Returns how long it all took."""
        if number is not None:
            server.signal(number)
        self.assertEqual(server.finish(), (0, printed, b""))
        taken = time.monotonic() - started
        self.assertLess(taken, STOPS_WITHIN)
        return taken

    def assert_does_not_linger(self, attempt):
        """attempt returns a server that has ended, and how long that took.
        Whoever waits never takes less than LINGERS, and who does not wait may
        take more on a busy machine, but not every time."""
        for _ in range(5):
            server, taken = attempt()
            if server.sanitized or taken < LINGERS:
                return
        self.fail("it waits: %g s, and never less than %g" % (taken, LINGERS))

    def assert_heeds_second_signal(self, connect):
        """connect returns a server and a client, which hears of the first
        signal and stays."""
        def attempt():
            server, client = connect()
            started = time.monotonic()
            server.signal(signal.SIGTERM)
            while client.recv(65536):
                pass
            return server, self.assert_stops_in_time(server, started,
                                                     signal.SIGINT)
        self.assert_does_not_linger(attempt)

    def assert_misuse(self, *command):
        status, out, err = run(*command)
        self.assertEqual(status, 2, (command, err))
        self.assertEqual(out, b"")
        self.assert_one_line(err, b"usage: ")

    def assert_help(self, program):
        status, out, err = run(program, "--help")
        self.assertEqual((status, err), (0, b""))
        self.assert_one_line(out, b"usage: ")


def receive_exactly(s, size):
    data = bytearray()
    while len(data) < size:
        piece = s.recv(min(size - len(data), MEBIBYTE))
        if not piece:
            raise AssertionError("the end after %d of %d bytes"
                                 % (len(data), size))
        data += piece
    return bytes(data)


def read_exactly(pipe, size):
    data = bytearray()
    while len(data) < size:
        if not select.select([pipe], [], [], DEADLINE)[0]:
            raise AssertionError("no more after %d of %d bytes"
                                 % (len(data), size))
        piece = os.read(pipe.fileno(), min(size - len(data), MEBIBYTE))
        if not piece:
            raise AssertionError("the end after %d of %d bytes"
                                 % (len(data), size))
        data += piece
    return bytes(data)


def write_all(pipe, data):
    data = memoryview(data)
    while data:
        data = data[os.write(pipe.fileno(), data):]


def main(arguments):
    """Gives the programs' paths to the test module's globals, in the order of
    arguments; options that are left name the cases to run, as in unittest.
    Exits with 77, ctest's "skipped", if every case was skipped."""
    module = sys.modules["__main__"]
    given = sys.argv[1:1 + len(arguments)]
    if len(given) < len(arguments):
        sys.exit("usage: %s %s [CASE...]"
                 % (sys.argv[0], " ".join(arguments)))
    for name, value in zip(arguments, given):
        setattr(module, name, os.path.abspath(value))
    program = unittest.main(argv=sys.argv[:1] + sys.argv[1 + len(arguments):],
                            exit=False, verbosity=2)
    result = program.result
    if not result.wasSuccessful() or result.testsRun == 0:
        sys.exit(1)
    sys.exit(77 if len(result.skipped) == result.testsRun else 0)
