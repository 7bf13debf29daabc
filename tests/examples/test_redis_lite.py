"""redis_lite, driven by a client of its own, by redis-cli and redis-benchmark;
what it answers is compared with redis-server where that is installed."""

import array
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import termios
import time
import unittest

import support
from support import BACKEND, DEADLINE, MEBIBYTE

REDIS_LITE = None

NIL = object()


class Error(str):
    """An error reply."""


class Client:
    """Redis's protocol, as simply as it can be read."""

    def __init__(self, s):
        self.socket = s
        self.data = b""

    def request(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        return b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(w), w) for w in words)

    def send(self, *words):
        self.socket.sendall(self.request(*words))

    def fill(self):
        piece = self.socket.recv(MEBIBYTE)
        if not piece:
            raise EOFError
        self.data += piece

    def line(self):
        while b"\r\n" not in self.data:
            self.fill()
        line, self.data = self.data.split(b"\r\n", 1)
        return line

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind != b"$":
            raise AssertionError("no reply: %r" % line)
        if rest == b"-1":
            return NIL
        pieces, size = [self.data], int(rest) + 2 - len(self.data)
        while size > 0:
            pieces.append(self.socket.recv(min(size, MEBIBYTE)))
            if not pieces[-1]:
                raise EOFError
            size -= len(pieces[-1])
        data = b"".join(pieces)
        end = int(rest)
        if data[end:end + 2] != b"\r\n":
            raise AssertionError("no CRLF after %d bytes" % end)
        self.data = data[end + 2:]
        return data[:end]

    def call(self, *words):
        self.send(*words)
        return self.reply()

    def at_end(self):
        """Whether the server has closed, with nothing more to say."""
        return not self.data and self.socket.recv(1) == b""


# Requests, as words or as a line to be sent as it is, and what redis-server
# 7.0 answers to them one after another, beginning with an empty database.
DIALOGUE = [
    (("PING",), b"+PONG\r\n"),
    (("ping", "hello"), b"$5\r\nhello\r\n"),
    (("PING", ""), b"$0\r\n\r\n"),
    (("PING", "a", "b"),
     b"-ERR wrong number of arguments for 'ping' command\r\n"),
    (("ECHO", "a\r\nb\0c"), b"$6\r\na\r\nb\0c\r\n"),
    (("echo",), b"-ERR wrong number of arguments for 'echo' command\r\n"),
    (("GET", "k"), b"$-1\r\n"),
    (("SET", "k", "v"), b"+OK\r\n"),
    (("GET", "k"), b"$1\r\nv\r\n"),
    (("GET", "K"), b"$-1\r\n"),
    (("gEt", "k"), b"$1\r\nv\r\n"),
    (("GET",), b"-ERR wrong number of arguments for 'get' command\r\n"),
    (("GET", "k", "l"),
     b"-ERR wrong number of arguments for 'get' command\r\n"),
    (("SET", "k"), b"-ERR wrong number of arguments for 'set' command\r\n"),
    (("SET", "k", "", "EX", "100"), b"+OK\r\n"),
    (("GET", "k"), b"$0\r\n\r\n"),
    (("TTL", "k"), b":100\r\n"),
    (("SET", "k", "w"), b"+OK\r\n"),
    (("TTL", "k"), b":-1\r\n"),
    (("TTL", "none"), b":-2\r\n"),
    (("TTL",), b"-ERR wrong number of arguments for 'ttl' command\r\n"),
    (("SET", "k", "x", "px", "100000"), b"+OK\r\n"),
    (("TTL", "k"), b":100\r\n"),
    (("SET", "k", "x", "EX"), b"-ERR syntax error\r\n"),
    (("SET", "k", "x", "NONSENSE"), b"-ERR syntax error\r\n"),
    (("SET", "k", "x", "EX", "1", "PX", "1"), b"-ERR syntax error\r\n"),
    (("SET", "k", "x", "EX", "0"),
     b"-ERR invalid expire time in 'set' command\r\n"),
    (("SET", "k", "x", "PX", "-1"),
     b"-ERR invalid expire time in 'set' command\r\n"),
    (("SET", "k", "x", "EX", "9223372036854775807"),
     b"-ERR invalid expire time in 'set' command\r\n"),
    (("SET", "k", "x", "EX", "9223372036854775808"),
     b"-ERR value is not an integer or out of range\r\n"),
    (("SET", "k", "x", "EX", "1.5"),
     b"-ERR value is not an integer or out of range\r\n"),
    (("SET", "k", "x", "EX", ""),
     b"-ERR value is not an integer or out of range\r\n"),
    (("EXISTS", "k", "k", "none"), b":2\r\n"),
    (("EXISTS",), b"-ERR wrong number of arguments for 'exists' command\r\n"),
    (("DEL", "k", "k", "none"), b":1\r\n"),
    (("DEL", "k"), b":0\r\n"),
    (("DEL",), b"-ERR wrong number of arguments for 'del' command\r\n"),
    (("INCR", "n"), b":1\r\n"),
    (("INCR", "n"), b":2\r\n"),
    (("GET", "n"), b"$1\r\n2\r\n"),
    (("SET", "n", "-1", "EX", "100"), b"+OK\r\n"),
    (("INCR", "n"), b":0\r\n"),
    (("TTL", "n"), b":100\r\n"),
    (("SET", "n", "-9223372036854775808"), b"+OK\r\n"),
    (("INCR", "n"), b":-9223372036854775807\r\n"),
    (("SET", "n", "9223372036854775806"), b"+OK\r\n"),
    (("INCR", "n"), b":9223372036854775807\r\n"),
    (("INCR", "n"), b"-ERR increment or decrement would overflow\r\n"),
    (("GET", "n"), b"$19\r\n9223372036854775807\r\n"),
    (("SET", "n", "01"), b"+OK\r\n"),
    (("INCR", "n"), b"-ERR value is not an integer or out of range\r\n"),
    (("SET", "n", "-0"), b"+OK\r\n"),
    (("INCR", "n"), b"-ERR value is not an integer or out of range\r\n"),
    (("SET", "n", " 1"), b"+OK\r\n"),
    (("INCR", "n"), b"-ERR value is not an integer or out of range\r\n"),
    (("SET", "n", "9223372036854775808"), b"+OK\r\n"),
    (("INCR", "n"), b"-ERR value is not an integer or out of range\r\n"),
    (("INCR",), b"-ERR wrong number of arguments for 'incr' command\r\n"),
    (("EXPIRE", "n", "100"), b":1\r\n"),
    (("TTL", "n"), b":100\r\n"),
    (("EXPIRE", "n", "x"),
     b"-ERR value is not an integer or out of range\r\n"),
    (("EXPIRE", "n", "9223372036854775807"),
     b"-ERR invalid expire time in 'expire' command\r\n"),
    (("EXPIRE", "n", "-9223372036854775808"),
     b"-ERR invalid expire time in 'expire' command\r\n"),
    (("EXPIRE", "n", "1", "NONSENSE"),
     b"-ERR Unsupported option NONSENSE\r\n"),
    (("EXPIRE", "n"),
     b"-ERR wrong number of arguments for 'expire' command\r\n"),
    (("EXPIRE", "none", "100"), b":0\r\n"),
    (("DBSIZE",), b":1\r\n"),
    (("EXPIRE", "n", "-1"), b":1\r\n"),
    (("DBSIZE",), b":0\r\n"),
    (("DBSIZE", "x"),
     b"-ERR wrong number of arguments for 'dbsize' command\r\n"),
    (("SET", "a\r\n\0", "\0\r\n"), b"+OK\r\n"),
    (("GET", "a\r\n\0"), b"$3\r\n\0\r\n\r\n"),
    (("SET", "", "empty"), b"+OK\r\n"),
    (("GET", ""), b"$5\r\nempty\r\n"),
    (("DBSIZE",), b":2\r\n"),
    (("FLUSHALL",), b"+OK\r\n"),
    (("DBSIZE",), b":0\r\n"),
    (("CONFIG", "GET", "appendonly"),
     b"*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"),
    (("CONFIG", "GET", "save"), b"*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
    (("CONFIG", "GET", "nonsense"), b"*0\r\n"),
    (("CONFIG",), b"-ERR wrong number of arguments for 'config' command\r\n"),
    (("CONFIG", "NONSENSE", "save"),
     b"-ERR unknown subcommand 'NONSENSE'. Try CONFIG HELP.\r\n"),
    (("COMMAND", "NONSENSE"),
     b"-ERR unknown subcommand 'NONSENSE'. Try COMMAND HELP.\r\n"),
    (("NONSENSE",),
     b"-ERR unknown command 'NONSENSE', with args beginning with: \r\n"),
    (("nonsense", "a", "b\r\nc"),
     b"-ERR unknown command 'nonsense', with args beginning with: "
     b"'a' 'b  c' \r\n"),
    (("x" * 200, "y" * 200, "z"),
     b"-ERR unknown command '" + b"x" * 128 + b"', with args beginning with: "
     b"'" + b"y" * 128 + b"' \r\n"),
    (("x", "y" * 100, "z" * 100),
     b"-ERR unknown command 'x', with args beginning with: "
     b"'" + b"y" * 100 + b"' '" + b"z" * 25 + b"' \r\n"),
    (("",), b"-ERR unknown command '', with args beginning with: \r\n"),
    (b"PING\r\n", b"+PONG\r\n"),
    (b"PING\n", b"+PONG\r\n"),
    (b" \t ping  \t hello \r\n", b"$5\r\nhello\r\n"),
    (b"\r\n\n  \r\nPING\r\n", b"+PONG\r\n"),
    (b"*0\r\n*-1\r\nPING\r\n", b"+PONG\r\n"),
    (b"ECHO \"a b\"\r\n", b"$3\r\na b\r\n"),
    (b"ECHO a\"b c\"\r\n", b"$4\r\nab c\r\n"),
    (b"ECHO 'a\\'b\\n'\r\n", b"$5\r\na'b\\n\r\n"),
    (b"ECHO \"\\x41\\xg\\n\\r\\t\\b\\a\\\"\\\\\\q\"\r\n",
     b"$11\r\nAxg\n\r\t\b\a\"\\q\r\n"),
    (b"ECHO \"\\x00\\xff\"\r\n", b"$2\r\n\0\xff\r\n"),
    (b"ECHO ''\r\n", b"$0\r\n\r\n"),
    (b"ECHO \\n\r\n", b"$2\r\n\\n\r\n"),
    (b"$4\r\nPING\r\n",
     b"-ERR unknown command '$4', with args beginning with: \r\n+PONG\r\n"),
]

# What ends the conversation, and the last word that it gets.
PROTOCOL_ERRORS = [
    (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"* 1\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*01\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*+1\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*99999999999999999999\r\n",
     b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*1\r\nPING\r\n", b"-ERR Protocol error: expected '$', got 'P'\r\n"),
    (b"*1\r\n*1\r\n", b"-ERR Protocol error: expected '$', got '*'\r\n"),
    (b"*1\r\n$x\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$04\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$9999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*2\r\n$4\r\nECHO\r\n$18446744073709551615\r\n",
     b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"ECHO \"a\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"ECHO 'a\\'\r\n",
     b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"ECHO \"a\"b\r\n",
     b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"x" * 70000, b"-ERR Protocol error: too big inline request\r\n"),
    (b"PING\r\n*x\r\nPING\r\n",
     b"+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
]

# Limits lower than Redis's.
LOWER_LIMITS = [
    (b"*1025\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*2\r\n$4\r\nECHO\r\n$16777217\r\n",
     b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"x " * 1025 + b"\r\n", b"-ERR Protocol error: too many words\r\n"),
    (b"*1\r\n$" + b"1" * 70000,
     b"-ERR Protocol error: too big bulk count string\r\n"),
]


class RedisCase(support.Case):

    def command(self, *arguments):
        backend = ["--backend", BACKEND] if BACKEND else []
        return [REDIS_LITE] + backend + list(arguments)

    def serve(self, address="0", *options, **kwargs):
        server = support.Server(*self.command(*options, address), **kwargs)
        self.addCleanup(server.end)
        return server

    def serve_unix(self):
        return self.serve("unix:" + self.path("redis"))

    def connect(self, server):
        return Client(self.close_later(server.connect()))

    def assert_stops(self, server, number=signal.SIGTERM):
        self.assertEqual(server.stop(number), (0, b"", b""))


def bytes_of(request):
    if isinstance(request, bytes):
        return request
    return Client(None).request(*request)


def everything(s):
    """What comes until the end."""
    data = b""
    while True:
        piece = s.recv(65536)
        if not piece:
            return data
        data += piece


class TestReplies(RedisCase):

    def test_one_by_one(self):
        server = self.serve()
        s = self.connect(server).socket
        for request, reply in DIALOGUE:
            s.sendall(bytes_of(request))
            self.assertEqual(support.receive_exactly(s, len(reply)), reply,
                             request)
        self.assert_stops(server)

    def test_all_at_once(self):
        server = self.serve()
        s = self.connect(server).socket
        s.sendall(b"".join(bytes_of(q) for q, _ in DIALOGUE))
        s.shutdown(socket.SHUT_WR)
        self.assertEqual(everything(s), b"".join(r for _, r in DIALOGUE))
        self.assert_stops(server)

    def send_apart(self, s, pieces):
        """Each is read by the server before the next one is sent: what waits
        in a unix socket is the sender's until then."""
        waiting = array.array("i", [0])

        def is_read():
            fcntl.ioctl(s, termios.TIOCOUTQ, waiting)
            return waiting[0] == 0
        for piece in pieces:
            s.sendall(piece)
            end = time.monotonic() + DEADLINE
            while not is_read():
                self.assertLess(time.monotonic(), end, "it does not read")

    def test_byte_by_byte(self):
        server = self.serve_unix()
        s = self.connect(server).socket
        data = b"".join(bytes_of(q) for q, _ in DIALOGUE)
        self.send_apart(s, [data[i:i + 1] for i in range(len(data))])
        s.shutdown(socket.SHUT_WR)
        self.assertEqual(everything(s), b"".join(r for _, r in DIALOGUE))
        self.assert_stops(server)

    def test_cut_at_every_byte(self):
        server = self.serve_unix()
        c = self.connect(server)
        data = (c.request("SET", "key", "a\r\nb") + b"ECHO 'x y'\r\n"
                + c.request("GET", "key") + c.request("DEL", "key"))
        for i in range(1, len(data)):
            self.send_apart(c.socket, [data[:i], data[i:]])
            self.assertEqual([c.reply() for _ in range(4)],
                             ["OK", b"x y", b"a\r\nb", 1])
        self.assert_stops(server)

    def test_protocol_errors(self):
        server = self.serve()
        for request, reply in PROTOCOL_ERRORS + LOWER_LIMITS:
            s = self.connect(server).socket
            s.sendall(request)
            self.assertEqual(everything(s), reply, request[:100])
            s.close()
        server.wait_for_clients(0)
        self.assert_stops(server)

    def test_like_redis_server(self):
        """That what is above is true."""
        if shutil.which("redis-server") is None:
            self.skipTest("no redis-server")
        _, version, _ = support.run("redis-server", "--version")
        if b" v=7.0." not in version:
            self.skipTest("not 7.0: " + version.decode())
        path = self.path("real")
        self.program("redis-server", "--port", "0", "--unixsocket", path,
                     "--save", "", "--appendonly", "no",
                     "--dir", self.directory)
        s = self.close_later(socket.socket(socket.AF_UNIX))
        s.settimeout(DEADLINE)

        def connects():
            try:
                s.connect(path)
                return True
            except OSError:
                return False
        support.wait_until(connects, "redis-server listens")
        for request, reply in DIALOGUE:
            s.sendall(bytes_of(request))
            self.assertEqual(support.receive_exactly(s, len(reply)), reply,
                             request)
        for request, reply in PROTOCOL_ERRORS:
            with socket.socket(socket.AF_UNIX) as t:
                t.settimeout(DEADLINE)
                t.connect(path)
                t.sendall(request)
                # It may close with our bytes unread, which resets.
                self.assertEqual(support.receive_exactly(t, len(reply)), reply,
                                 request[:100])

    def test_quit(self):
        server = self.serve()
        c = self.connect(server)
        c.socket.sendall(b"QUIT\r\nPING\r\n")
        self.assertEqual(c.reply(), "OK")
        self.assertTrue(c.at_end())
        server.wait_for_clients(0)
        self.assert_stops(server)


class TestValues(RedisCase):

    def test_large(self):
        server = self.serve()
        c = self.connect(server)
        for size in (65535, 65536, 65537, MEBIBYTE, 16 * MEBIBYTE - 100):
            value = os.urandom(size)
            self.assertEqual(c.call("SET", "large", value), "OK")
            self.assertEqual(c.call("GET", "large"), value)
            self.assertEqual(c.call("ECHO", value), value)
        # As the key and among others too.
        key = os.urandom(MEBIBYTE)
        self.assertEqual(c.call("SET", key, "x", "EX", "100"), "OK")
        self.assertEqual(c.call("EXISTS", key, "none", key), 2)
        self.assertEqual(c.call("DEL", key, "large"), 2)
        self.assert_stops(server)

    def test_many_keys(self):
        count = 20000
        server = self.serve()
        c = self.connect(server)
        for start in range(0, count, 1000):
            keys = range(start, start + 1000)
            c.socket.sendall(b"".join(c.request("SET", k, k * k)
                                      for k in keys))
            self.assertEqual([c.reply() for _ in keys], ["OK"] * 1000)
        self.assertEqual(c.call("DBSIZE"), count)
        for start in range(0, count, 1000):
            keys = range(start, start + 1000)
            c.socket.sendall(b"".join(c.request("GET", k) for k in keys))
            self.assertEqual([c.reply() for _ in keys],
                             [b"%d" % (k * k) for k in keys])
        self.assertEqual(c.call("DEL", *range(1000)), 1000)
        self.assertEqual(c.call("DBSIZE"), count - 1000)
        self.assertEqual(c.call("FLUSHALL"), "OK")
        self.assertEqual(c.call("DBSIZE"), 0)
        self.assertIs(c.call("GET", 5000), NIL)
        self.assert_stops(server)

    def test_1024_words(self):
        server = self.serve()
        c = self.connect(server)
        self.assertEqual(c.call("DEL", *range(1023)), 0)
        c.socket.sendall(b"DEL" + b" x" * 1023 + b"\r\n")
        self.assertEqual(c.reply(), 0)
        self.assert_stops(server)

    def test_clients_share_keys(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(50)]
        for _ in range(20):
            for c in clients:
                c.socket.sendall(c.request("INCR", "n") * 10)
        numbers = [c.reply() for c in clients for _ in range(200)]
        self.assertEqual(sorted(numbers), list(range(1, 10001)))
        self.assert_stops(server)


class TestExpiry(RedisCase):

    def test_not_early_and_not_late(self):
        server = self.serve()
        c = self.connect(server)
        started = time.monotonic()
        self.assertEqual(c.call("SET", "k", "v", "PX", "60"), "OK")
        self.assertIn(c.call("TTL", "k"), (0, -2))
        support.wait_until(lambda: c.call("GET", "k") is NIL, "it expires", 5)
        # The server counts whole milliseconds.
        self.assertGreaterEqual(time.monotonic() - started, 0.059)
        self.assertEqual(c.call("TTL", "k"), -2)
        self.assertEqual(c.call("EXISTS", "k"), 0)
        self.assertEqual(c.call("DEL", "k"), 0)
        self.assertEqual(c.call("INCR", "k"), 1)
        self.assertEqual(c.call("TTL", "k"), -1)
        self.assert_stops(server)

    def test_what_nobody_asks_for(self):
        """It is swept out, and then nothing is left to do."""
        server = self.serve()
        c = self.connect(server)
        c.send("SET", "stays", "v")
        for i in range(3000):
            c.send("SET", i, "v", "PX", 1 + i % 50)
        self.assertEqual([c.reply() for _ in range(3001)], ["OK"] * 3001)
        support.wait_until(lambda: c.call("DBSIZE") == 1, "they are swept out")
        self.assertEqual(c.call("GET", "stays"), b"v")
        # Not even a timer wakes it, after the last that was set.
        self.assert_stays_asleep(server, 1)
        self.assert_stops(server)

    def test_new_value_new_life(self):
        server = self.serve()
        c = self.connect(server)
        c.socket.sendall(c.request("SET", "a", "1", "PX", "20")
                         + c.request("SET", "a", "2")
                         + c.request("SET", "b", "1", "PX", "20")
                         + c.request("EXPIRE", "b", "100")
                         + c.request("SET", "c", "1", "PX", "20"))
        self.assertEqual([c.reply() for _ in range(5)],
                         ["OK", "OK", "OK", 1, "OK"])
        support.wait_until(lambda: c.call("DBSIZE") == 2, "c expires")
        self.assertEqual(c.call("GET", "a"), b"2")
        self.assertEqual(c.call("GET", "b"), b"1")
        self.assertEqual(c.call("EXPIRE", "a", "0"), 1)
        self.assertEqual(c.call("DBSIZE"), 1)
        self.assert_stops(server)


class TestRudeClients(RedisCase):

    def test_reset(self):
        server = self.serve()
        whole = bytes_of(("SET", "k", "v" * 1000))
        for i in range(0, 200):
            s = self.connect(server).socket
            s.sendall(whole[:i * 7 % len(whole)])
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         struct.pack("ii", 1, 0))
            s.close()
        server.wait_for_clients(0)
        self.assertEqual(self.connect(server).call("PING"), "PONG")
        self.assert_stops(server)

    def test_ends_in_the_middle(self):
        server = self.serve()
        for part in (b"*", b"*2\r\n", b"*2\r\n$4", b"*2\r\n$4\r\nEC",
                     b"*2\r\n$4\r\nECHO\r\n$1000\r\nxx", b"PIN"):
            s = self.connect(server).socket
            s.sendall(b"PING\r\n" + part)
            s.shutdown(socket.SHUT_WR)
            self.assertEqual(everything(s), b"+PONG\r\n", part)
        server.wait_for_clients(0)
        self.assert_stops(server)

    def test_words_that_never_come(self):
        """Announcing is not enough to get memory."""
        server = self.serve()
        before = server.memory()
        for _ in range(50):
            s = self.connect(server).socket
            s.sendall(b"*1024\r\n$16000000\r\n")
        self.assertEqual(self.connect(server).call("PING"), "PONG")
        self.assertLess(server.memory() - before, 16 * MEBIBYTE)
        self.assert_stops(server)

    def test_a_byte_at_a_time(self):
        """Who is never silent and never done is cut off, and nobody else."""
        server = self.serve("0", "--timeout", "1")
        quick = self.connect(server)
        silent = self.connect(server)
        for begun in (b"PING", b"*2\r\n$4\r\nECHO\r\n$1000\r\n"):
            slow = self.connect(server).socket
            slow.sendall(begun)
            started = time.monotonic()
            slow.settimeout(0.1)
            end = None
            while end is None:
                self.assertLess(time.monotonic() - started, DEADLINE)
                try:
                    slow.sendall(b"x")
                    end = slow.recv(1)
                except socket.timeout:
                    pass
                except (ConnectionResetError, BrokenPipeError):
                    end = b""
                self.assertEqual(quick.call("PING"), "PONG")
            self.assertEqual(end, b"")
            self.assertGreaterEqual(time.monotonic() - started, 0.9)
        self.assertEqual(silent.call("PING"), "PONG")
        self.assert_stops(server)

    def test_replies_not_taken(self):
        """For so long is too long; who only asks for nothing may stay."""
        server = self.serve("0", "--timeout", "1")
        silent = self.connect(server)
        self.assertEqual(silent.call("SET", "k", bytes(MEBIBYTE)), "OK")
        started = time.monotonic()
        stuck = self.connect(server)
        stuck.socket.sendall(stuck.request("GET", "k") * 100)
        server.wait_for_clients(2)
        server.wait_for_clients(1)
        self.assertGreater(time.monotonic() - started, 0.9)
        self.assertEqual(silent.call("PING"), "PONG")
        self.assert_stops(server)

    def test_reader_that_does_not_read(self):
        """It costs little, holds nobody up, and may change its mind."""
        server = self.serve()
        value = os.urandom(MEBIBYTE)
        c = self.connect(server)
        self.assertEqual(c.call("SET", "k", value), "OK")
        before = server.memory()
        stuck = self.connect(server)
        stuck.socket.sendall(stuck.request("GET", "k") * 100)
        stuck.send("PING")
        flood = self.connect(server)
        flood.socket.sendall(b"x\r\n" * 20000)
        for _ in range(100):
            self.assertEqual(c.call("PING"), "PONG")
        if not server.is_sanitized():
            self.assertLess(server.memory() - before, 16 * MEBIBYTE)
        for _ in range(100):
            self.assertEqual(stuck.reply(), value)
        self.assertEqual(stuck.reply(), "PONG")
        for _ in range(20000):
            self.assertIsInstance(flood.reply(), Error)
        self.assert_stops(server)

    def test_what_has_arrived_is_answered(self):
        server = self.serve()
        clients = [self.connect(server) for _ in range(20)]
        for client in clients:
            client.call("PING")
        server.freeze()
        for client in clients:
            client.socket.sendall(client.request("INCR", "n") * 500 +
                                  b"*2\r\n$4\r\nINCR\r\n$1\r\n")
            support.wait_until_arrived(client.socket)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        server.thaw()
        numbers = [client.reply() for client in clients for _ in range(500)]
        self.assertEqual(sorted(numbers), list(range(1, 20 * 500 + 1)))
        for client in clients:
            self.assertEqual(client.socket.recv(1), b"")
        self.assert_stops_in_time(server, started, None)

    def test_stops_without_those_who_do_not_read(self):
        server = self.serve()
        stuck = self.connect(server)
        stuck.call("SET", "k", "v" * 100000)
        stuck.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                stuck.socket.send(stuck.request("GET", "k") * 100)
        self.connect(server).call("PING")
        self.assert_stops_in_time(server, time.monotonic())

    def test_second_signal(self):
        def connect():
            server = self.serve()
            client = self.connect(server)
            client.call("PING")
            return server, client.socket
        self.assert_heeds_second_signal(connect)

    def test_stops_with_clients_inside(self):
        server = self.serve()
        for part in (b"", b"*2\r\n$4", b"PING\r\nPIN"):
            self.connect(server).socket.sendall(part)
        self.assertEqual(self.connect(server).call("PING"), "PONG")
        self.assert_stops(server, signal.SIGINT)


class TestProgram(RedisCase):

    def test_unix(self):
        path = self.path("redis")
        server = self.serve("unix:" + path)
        self.assertEqual(server.address, "unix:" + path)
        self.assertEqual(self.connect(server).call("PING"), "PONG")
        self.assert_stops(server)
        self.assertFalse(os.path.lexists(path))

    @unittest.skipUnless(support.has_ipv6(), "no IPv6")
    def test_ipv6(self):
        server = self.serve("[::1]:0")
        self.assertRegex(server.address, r"^\[::1\]:[1-9][0-9]*$")
        self.assertEqual(self.connect(server).call("PING"), "PONG")
        self.assert_stops(server)

    def test_busy(self):
        server = self.serve()
        status, out, err = support.run(*self.command(server.address))
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, server.address.encode(), b"in use")
        self.assert_stops(server)

    def test_misuse(self):
        self.assert_help(REDIS_LITE)
        self.assert_misuse(REDIS_LITE, "0", "0")
        self.assert_misuse(REDIS_LITE, "--nonsense")
        self.assert_misuse(REDIS_LITE, "--backend", "nonsense")
        for seconds in ("-1", "x", "", "9999999999"):
            self.assert_misuse(REDIS_LITE, "--timeout", seconds, "0")
        self.assert_misuse(REDIS_LITE, "nonsense")


@unittest.skipUnless(shutil.which("redis-cli"), "no redis-cli")
class TestRedisCli(RedisCase):

    def cli(self, server, *arguments, **kwargs):
        path = server.address[len("unix:"):]
        status, out, err = support.run("redis-cli", "-s", path, *arguments,
                                       **kwargs)
        self.assertEqual((status, err), (0, b""))
        return out

    def test_commands(self):
        server = self.serve_unix()
        for arguments, out in (
                (["PING"], b"PONG\n"),
                (["SET", "k", "a b"], b"OK\n"),
                (["GET", "k"], b"a b\n"),
                (["GET", "none"], b"\n"),
                (["EXPIRE", "k", "100"], b"1\n"),
                (["TTL", "k"], b"100\n"),
                (["-x", "SET", "k"], b"OK\n"),
                (["--no-raw", "GET", "k"], b"\"from standard input\"\n"),
                (["NONSENSE"], b"ERR unknown command 'NONSENSE', with args "
                               b"beginning with: \n\n")):
            given = {"input": b"from standard input"} if "-x" in arguments \
                else {}
            self.assertEqual(self.cli(server, *arguments, **given), out)
        self.assert_stops(server)

    def test_script(self):
        server = self.serve_unix()
        out = self.cli(server, input=b"SET k v\nINCR n\nINCR n\nGET k\n")
        self.assertEqual(out, b"OK\n1\n2\nv\n")
        self.assert_stops(server)

    def test_mass_insertion(self):
        server = self.serve_unix()
        c = self.connect(server)
        data = b"".join(c.request("SET", i, "v" * 100) for i in range(10000))
        out = self.cli(server, "--pipe", input=data)
        self.assertIn(b"errors: 0, replies: 10000", out)
        self.assertEqual(c.call("DBSIZE"), 10000)
        self.assert_stops(server)


@unittest.skipUnless(shutil.which("redis-benchmark"), "no redis-benchmark")
class TestRedisBenchmark(RedisCase):

    def test_it_runs(self):
        server = self.serve_unix()
        status, out, err = support.run(
            "redis-benchmark", "-s", server.address[len("unix:"):], "-q",
            "-t", "ping,set,get,incr", "-P", "16", "-n", "20000", "-r", "1000")
        self.assertEqual((status, err), (0, b""))
        for test in (b"PING_INLINE", b"PING_MBULK", b"SET", b"GET", b"INCR"):
            self.assertRegex(out, re.escape(test)
                             + rb": [0-9.]+ requests per second")
        self.assertNotIn(b"WARN", out)
        self.assertNotIn(b"Error", out)
        self.assert_stops(server)


if __name__ == "__main__":
    support.main(["REDIS_LITE"])
