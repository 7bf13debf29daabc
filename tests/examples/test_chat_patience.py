"""chat_server waits a minute for a name, and no longer."""

import time

import support
from chat import HELLO, ChatCase

CHAT_SERVER = None


class TestPatience(ChatCase):

    def test_a_minute(self):
        server = self.serve()
        silent, babbling, late = [self.guest(server) for _ in range(3)]
        started = time.monotonic()
        ann, = self.people(server, "ann")
        babbling.say("not a name")
        babbling.line()
        self.assert_stays_asleep(server, 50)
        late.say("bob")
        late.expect(HELLO % "bob")
        for guest in (silent, babbling):
            guest.expect("* No name? Another time, then. Goodbye!")
            guest.expect_end()
        self.assertGreater(time.monotonic() - started, 59)
        self.assertLess(time.monotonic() - started, 75)
        # Those with a name may be silent, and hear nothing of it.
        server.wait_for_clients(2)
        ann.expect("* bob has come in")
        ann.say("still here?")
        late.line()
        late.expect("ann: still here?")
        ann.expect_nothing()


if __name__ == "__main__":
    support.main(["CHAT_SERVER"])
