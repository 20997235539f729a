"""Starts LocalStack, and changes three behaviours for which it has no settings. strict_s3.py runs this script.

Unchanged, LocalStack listens on every address of the machine, whatever address is set. If its port is
taken, it runs without one. And all instances put objects into one folder of /tmp, which each empties when it ends.
"""

import os
import sys

from localstack import config
from localstack.runtime.main import main
from localstack.services.s3 import provider
from twisted.internet import endpoints


class Endpoint(endpoints.TCP4ServerEndpoint):
    def __init__(self, reactor, port):
        super().__init__(reactor, port, interface=config.GATEWAY_LISTEN[0].host)

    def listen(self, factory):
        return super().listen(factory).addErrback(give_up)


def give_up(failure):
    print(failure.getErrorMessage(), file=sys.stderr, flush=True)
    os._exit(1)


endpoints.TCP4ServerEndpoint = Endpoint
provider.DEFAULT_S3_TMP_DIR = os.path.join(config.dirs.tmp, "objects")
main()
