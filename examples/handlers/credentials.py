"""Only devices whose user name and password are in a TOML file may connect: ``credentials:devices.toml``.

Each line of the file is ``name = "salt:hash"``; ``python credentials.py NAME`` asks for a password and prints one. The
file is read at each connection, so a change counts at once. Reading and hashing take milliseconds: they run in a thread
while the gateway goes on, and only this device waits.
"""

import hashlib
import hmac
import os
import tomllib
from pathlib import Path

from twisted.internet.threads import deferToThreadPool

from mgate.handler import Denied, Handler, MakerContext, Session, plugin


class Credentials(Handler):
    def __init__(self, arguments: str, context: MakerContext) -> None:
        super().__init__(arguments, context)
        self.path = Path(context.directory, arguments)
        if not self.path.is_file():
            raise ValueError(f"there is no file {self.path}")

    async def auth_connect(self, session: Session) -> None:
        reactor = self.context.reactor
        given = session.username or "", session.password or b""
        if not await deferToThreadPool(reactor, reactor.getThreadPool(), self.known, *given):
            raise Denied("bad credentials", "wrong user name or password")

    def known(self, name: str, password: bytes) -> bool:
        stored = tomllib.loads(self.path.read_text()).get(name, ":")
        salt, _, expected = stored.partition(":")
        return hmac.compare_digest(hashed(password, salt), expected)


def hashed(password: bytes, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password, salt.encode(), 100_000).hex()


credentials = plugin("credentials", Credentials)

if __name__ == "__main__":
    import sys
    from getpass import getpass

    salt = os.urandom(8).hex()
    print(f'{sys.argv[1]} = "{salt}:{hashed(getpass().encode(), salt)}"')
