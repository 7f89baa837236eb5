"""Points the tests of the Python client etcd3 at endpoints given by the environment.

The tests were written for members on the default port; here a client without an address goes to
PYTHON_ETCD_HTTP_URL, as the rest of the tests do by themselves.
"""

import os
from urllib.parse import urlparse

import etcd3
from hypothesis import HealthCheck, settings

URL = urlparse(os.environ["PYTHON_ETCD_HTTP_URL"])
client = etcd3.client


def client_at_url(host=URL.hostname, port=URL.port, **rest):
    return client(host=host, port=port, **rest)


etcd3.client = client_at_url

# The tests register their profile themselves. Newer versions of hypothesis refuse fixtures that
# live longer than one example, and each example here starts a process or two.
register_profile = settings.register_profile


def register_profile_for_us(name, parent=None, **rest):
    rest.update(suppress_health_check=list(HealthCheck), max_examples=20, derandomize=True)
    rest.update(database=None)
    register_profile(name, parent, **rest)


# The class refuses to be changed by a plain assignment.
type.__setattr__(settings, "register_profile", staticmethod(register_profile_for_us))
