"""http_get, against Python's http.server and worse ones."""

import http.server
import os
import socket
import threading
import unittest

import support
from support import DEADLINE, MEBIBYTE

HTTP_GET = None


class Files(http.server.SimpleHTTPRequestHandler):
    """What "python3 -m http.server" runs, and what it was asked."""

    seen = []

    def do_GET(self):
        self.seen.append((self.requestline, self.headers["Host"]))
        super().do_GET()

    def log_message(self, *_):
        pass


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def localhost_is_both():
    families = {a[0] for a in socket.getaddrinfo("localhost", 80)}
    return families >= {socket.AF_INET, socket.AF_INET6}


class HttpCase(support.Case):

    def serve(self, kind=http.server.ThreadingHTTPServer, host="127.0.0.1"):
        """Returns its port."""
        def files(*arguments):
            return Files(*arguments, directory=self.directory)

        Files.seen = []
        server = kind((host, 0), files)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,),
                                  daemon=True)
        thread.start()

        def stop():
            server.shutdown()
            server.server_close()
            thread.join(DEADLINE)
        self.addCleanup(stop)
        return server.server_address[1]

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)

    def get(self, url):
        """The head and the body that it prints."""
        status, out, err = support.run(HTTP_GET, url)
        self.assertEqual((status, err), (0, b""))
        head, _, body = out.partition(b"\r\n\r\n")
        return head, body


class TestGet(HttpCase):

    def test_file(self):
        self.write("page", b"<p>hello</p>\n")
        head, body = self.get("http://127.0.0.1:%d/page" % self.serve())
        self.assertIn(b"200 OK", head.splitlines()[0])
        self.assertIn(b"Content-Length: 13", head)
        self.assertEqual(body, b"<p>hello</p>\n")

    def test_large_file(self):
        data = os.urandom(8 * MEBIBYTE)
        self.write("large", data)
        _, body = self.get("http://127.0.0.1:%d/large" % self.serve())
        self.assertTrue(body == data, "not what the file holds")

    def test_directory(self):
        self.write("page", b"")
        for path in ("", "/"):
            _, body = self.get("http://127.0.0.1:%d%s" % (self.serve(), path))
            self.assertIn(b"page", body)

    def test_not_found(self):
        head, _ = self.get("http://127.0.0.1:%d/none" % self.serve())
        self.assertIn(b"404", head.splitlines()[0])

    def test_name(self):
        self.write("page", b"by name")
        port = self.serve()
        _, body = self.get("http://localhost:%d/page" % port)
        self.assertEqual(body, b"by name")
        self.assertEqual(Files.seen[0][1], "localhost:%d" % port)

    @unittest.skipUnless(support.has_ipv6() and localhost_is_both(),
                         "localhost is not of both families")
    def test_name_of_the_other_family(self):
        """The server has one of the addresses: whichever is tried first, the
        other one is found."""
        self.write("page", b"by name")
        for kind, host in ((http.server.ThreadingHTTPServer, "127.0.0.1"),
                           (Server6, "::1")):
            with self.subTest(host):
                port = self.serve(kind, host)
                _, body = self.get("http://localhost:%d/page" % port)
                self.assertEqual(body, b"by name")

    @unittest.skipUnless(support.has_ipv6(), "no IPv6")
    def test_ipv6(self):
        self.write("page", b"six")
        port = self.serve(Server6, "::1")
        _, body = self.get("http://[::1]:%d/page" % port)
        self.assertEqual(body, b"six")
        self.assertEqual(Files.seen[0][1], "[::1]:%d" % port)

    def test_what_is_asked(self):
        port = self.serve()
        host = "127.0.0.1:%d" % port
        for path, asked in (("", "/"), ("/", "/"), ("?a=b", "/?a=b"),
                            ("/a/../b?c", "/a/../b?c"), ("/a#part", "/a"),
                            ("#part", "/"), ("/%41", "/%41"),
                            ("/@:8007//x", "/@:8007//x")):
            with self.subTest(path):
                Files.seen.clear()
                self.get("http://%s%s" % (host, path))
                self.assertEqual(Files.seen,
                                 [("GET %s HTTP/1.0" % asked, host)])

    def test_scheme_in_capitals(self):
        self.get("HTTP://127.0.0.1:%d/" % self.serve())


class TestAnswer(HttpCase):
    """Servers that are none: what comes is printed."""

    def serve_once(self, answer):
        listener = self.listener()

        def serve():
            s, _ = listener.accept()
            with s:
                s.settimeout(DEADLINE)
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += s.recv(1000)
                answer(s)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, DEADLINE)
        return "http://127.0.0.1:%d/" % listener.getsockname()[1]

    def test_anything(self):
        url = self.serve_once(lambda s: s.sendall(b"\0anything"))
        self.assertEqual(support.run(HTTP_GET, url), (0, b"\0anything", b""))

    def test_nothing(self):
        url = self.serve_once(lambda s: None)
        status, out, err = support.run(HTTP_GET, url)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, url.encode())

    def test_reset(self):
        url = self.serve_once(lambda s: s.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"))
        status, out, err = support.run(HTTP_GET, url)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, url.encode(), b"Connection reset")

    def test_refused(self):
        listener = self.listener()
        url = "http://127.0.0.1:%d/" % listener.getsockname()[1]
        listener.close()
        status, out, err = support.run(HTTP_GET, url)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, url.encode(), b"Connection refused")

    def test_no_such_host(self):
        """At once, whoever may be asked for names."""
        url = "http://no-such-host.invalid/"
        status, out, err = support.run(HTTP_GET, url, deadline=3)
        self.assertEqual((status, out), (1, b""))
        self.assert_one_line(err, url.encode(), b"no such host")

    def test_output_full(self):
        for size in (1, MEBIBYTE):
            url = self.serve_once(lambda s: s.sendall(bytes(size)))
            with open("/dev/full", "wb") as full:
                status, _, err = support.run(HTTP_GET, url, stdout=full)
            self.assertEqual(status, 1)
            self.assert_one_line(err, b"standard output: No space left")


class TestMisuse(HttpCase):

    def test_bad_arguments(self):
        port = self.serve()
        good = "http://127.0.0.1:%d/" % port
        for arguments in (
                [], [good, good], [""], ["/"], ["127.0.0.1"], ["http://"],
                ["http:///x"], ["http://:80/"], ["http:/x"],
                ["https://127.0.0.1/"], ["ftp://127.0.0.1/"],
                ["http://::1/"], ["http://[::1/"], ["http://[127.0.0.1]/"],
                ["http://127.0.0.1:99999/"], ["http://127.0.0.1:x/"],
                ["http://127.0.0.1:123456/"], ["http://[::1]80/"],
                ["http://[::1]:x/"], ["http://[]/"], ["http://a:80:80/"],
                ["http://user@127.0.0.1/"], ["http://[::1]@127.0.0.1/"],
                [good + " HTTP/1.0"], [good + "\r\nX-Evil: yes"],
                [good + "\n"], [good + "\t"], [good + "\x7f"],
                [good + "\u00e9"], ["http://127.0.0.1\r\nX: y/"],
                ["http://" + "a" * 300 + "/"], [good + "a" * 100000],
                ["--nonsense"]):
            with self.subTest(arguments):
                self.assert_misuse(HTTP_GET, *arguments)
        self.assertEqual(Files.seen, [])

    def test_help(self):
        self.assert_help(HTTP_GET)


if __name__ == "__main__":
    support.main(["HTTP_GET"])
