"""Tells the outcome of each test as a line of JSON; see src/clients/lines.rs."""

import json


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        name = report.nodeid.split("::", 1)[1]
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash else str(report.longrepr or "")
        line = {"test": name, "outcome": report.outcome, "text": text[:2000]}
        print("\n" + json.dumps(line, separators=(",", ":")), flush=True)
