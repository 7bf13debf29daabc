"""chat_server and a thousand people, by TCP: a million writes."""

import support
from chat import ChatCase
from support import MEBIBYTE

CHAT_SERVER = None


class TestCrowd(ChatCase):

    def test_1000_of_whom_100_talk(self):
        support.raise_descriptor_limit()
        server = self.serve()
        before = server.memory()
        lines = ["line %d" % i for i in range(10)]
        for member in self.assert_all_hear_all(server, 1000, 100, [lines]):
            member.close()
        server.wait_for_clients(0)
        if not server.is_sanitized():
            self.assertLess(server.memory() - before, 32 * MEBIBYTE)
        self.assert_serves(server)
        self.assert_stops(server)


if __name__ == "__main__":
    support.main(["CHAT_SERVER"])
