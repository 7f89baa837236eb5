"""Points the tests of the Python client aetcd at endpoints given by the environment.

Most of its tests make a client without an address, which goes to the default port.
"""

import os
from urllib.parse import urlparse

import aetcd

URL = urlparse(os.environ["TEST_ETCD_HTTP_URL"])
make = aetcd.Client.__init__
make.__defaults__ = (URL.hostname, URL.port, *make.__defaults__[2:])
