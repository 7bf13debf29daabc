"""tail_f, on a file that grows, shrinks, and is large."""

import os
import pty
import fcntl
import subprocess

import support
from support import MEBIBYTE

TAIL_F = None

LOOKS = 5 + support.PAUSED_LOOKS


class TailCase(support.Case):

    def setUp(self):
        super().setUp()
        self.file = self.close_later(open(self.path("log"), "ab", buffering=0))
        self.file.write(b"from before\n")

    def tail(self, **kwargs):
        """One that watches already: what stood there before is passed over,
        so it must be known to have looked."""
        kwargs.setdefault("stdin", subprocess.PIPE)
        tail = self.program(TAIL_F, self.path("log"), **kwargs)
        support.wait_until(lambda: self.watches(tail), "it watches")
        return tail

    def watches(self, tail):
        """It has opened the file and gone to sleep."""
        paths = []
        for fd in os.listdir("/proc/%d/fd" % tail.pid):
            try:
                paths.append(os.readlink("/proc/%d/fd/%s" % (tail.pid, fd)))
            except FileNotFoundError:
                pass
        return (paths.count(os.path.realpath(self.path("log"))) == 2 and
                tail.sleeps())

    def end_input(self, tail):
        tail.stdin.close()
        tail.process.stdin = None


class TestTail(TailCase):

    def test_what_is_appended(self):
        tail = self.tail()
        for i in range(3):
            line = b"line %d\n" % i
            self.file.write(line)
            self.assertEqual(tail.read_until(b"\n"), line)
        self.end_input(tail)
        self.assertEqual(tail.finish(), (0, b"", b""))

    def test_nothing(self):
        tail = self.tail()
        self.end_input(tail)
        self.assertEqual(tail.finish(), (0, b"", b""))

    def test_the_last_is_printed_before_it_ends(self):
        for i in range(10):
            tail = self.tail()
            self.file.write(b"last %d\n" % i)
            self.end_input(tail)
            self.assertEqual(tail.finish(), (0, b"last %d\n" % i, b""))

    def test_lines_typed_are_not_the_end(self):
        tail = self.tail()
        tail.stdin.write(b"\nq\n")
        self.file.write(b"more\n")
        self.assertEqual(tail.read_until(b"\n"), b"more\n")

    def test_much(self):
        data = os.urandom(16 * MEBIBYTE)
        tail = self.tail()
        self.file.write(data)
        self.end_input(tail)
        status, out, err = tail.finish()
        self.assertEqual((status, err), (0, b""))
        self.assertTrue(out == data, "not what was appended")

    def test_truncated(self):
        """Twice as long before, so that it can be seen to be shorter."""
        self.file.write(b"x" * 100)
        tail = self.tail()
        self.file.truncate(0)
        self.file.write(b"anew\n")
        self.assertEqual(tail.read_until(b"\n"), b"anew\n")
        self.end_input(tail)
        self.assertEqual(tail.finish(), (0, b"", b""))

    def test_idle(self):
        """At the end of the file it does not spin."""
        tail = self.tail()
        self.assert_stays_asleep(tail, 2, LOOKS)

    def test_output_that_nobody_reads(self):
        tail = self.tail()
        before = tail.memory()
        data = os.urandom(MEBIBYTE)
        for _ in range(16):
            self.file.write(data)
        tail.stdin.write(b"\n")
        self.assertEqual(support.read_exactly(tail.stdout, 1), data[:1])
        self.assert_stays_asleep(tail, 1, LOOKS)
        self.assertLess(tail.memory() - before, 4 * MEBIBYTE)
        rest = support.read_exactly(tail.stdout, 16 * MEBIBYTE - 1)
        self.assertTrue(rest == data[1:] + data * 15, "not what was appended")


class TestTerminal(TailCase):

    def test_terminal(self):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        tail = self.tail(stdin=slave)
        self.file.write(b"seen\n")
        self.assertEqual(tail.read_until(b"\n"), b"seen\n")
        os.write(master, b"\x04")
        self.assertEqual(tail.finish(), (0, b"", b""))
        flags = fcntl.fcntl(slave, fcntl.F_GETFL)
        self.assertEqual(flags & os.O_NONBLOCK, 0)


class TestFailure(TailCase):

    def assert_fails(self, path, reason):
        status, out, err = support.run(TAIL_F, path)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, path.encode(), reason)

    def test_no_file(self):
        self.assert_fails(self.path("none"), b"No such file")

    def test_no_regular_file(self):
        os.mkfifo(self.path("fifo"))
        self.assert_fails(self.directory, b"Is a directory")
        self.assert_fails("/dev/null", b"Illegal seek")
        self.assert_fails(self.path("fifo"), b"Illegal seek")

    def test_output_full(self):
        with open("/dev/full", "wb") as full:
            tail = self.tail(stdout=full)
        self.file.write(b"x")
        status, _, err = tail.finish()
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"standard output: No space left")

    def test_output_closed(self):
        read, write = os.pipe()
        tail = self.tail(stdout=write)
        os.close(write)
        os.close(read)
        status, _, err = tail.finish()
        self.assertEqual(status, 1)
        self.assert_one_line(err, b"standard output: Broken pipe")

    def test_bad_arguments(self):
        for arguments in ([], ["1", "2"]):
            with self.subTest(arguments):
                self.assert_misuse(TAIL_F, *arguments)

    def test_help(self):
        self.assert_help(TAIL_F)


if __name__ == "__main__":
    support.main(["TAIL_F"])
