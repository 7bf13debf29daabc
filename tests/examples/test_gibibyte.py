"""A gibibyte through echo_server and echo_client, byte by byte the same."""

import os
import subprocess
import threading

import support
from support import BACKEND, MEBIBYTE

ECHO_SERVER = ECHO_CLIENT = None


class TestGibibyte(support.Case):

    def test_gibibyte(self):
        """echo_client ADDRESS < file | cmp - file, of what does not fit into
        anyone's memory unseen."""
        backend = ["--backend", BACKEND] if BACKEND else []
        server = support.Server(ECHO_SERVER, *backend, "0")
        self.addCleanup(server.end)
        client = self.program(ECHO_CLIENT, server.address,
                              stdin=subprocess.PIPE)
        block = os.urandom(MEBIBYTE + 1)
        count = 1024

        def send():
            for _ in range(count):
                support.write_all(client.stdin, block)
            client.stdin.close()
            client.process.stdin = None

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        for i in range(count):
            peaks = client.memory("VmHWM"), server.memory("VmHWM")
            self.assertTrue(
                support.read_exactly(client.stdout, len(block)) == block,
                "not what was sent, in mebibyte %d" % i)
        sender.join(support.DEADLINE)
        self.assertEqual(client.finish(), (0, b"", b""))
        if not server.is_sanitized():
            self.assertLess(max(peaks), 16 * MEBIBYTE)
        self.assertEqual(server.stop(), (0, b"", b""))


if __name__ == "__main__":
    support.main(["ECHO_SERVER", "ECHO_CLIENT"])
