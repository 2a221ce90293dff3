"""What all tests begin with, and what they tell at the end, out of all processes that they are spread over."""

import os
import signal
from collections import Counter

import pytest


def pytest_configure(config):
    # Programs that tests start inherit what is ignored, and behind nohup or "&" that is what they are to be ended by.
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    config.compared_with_the_kernel = Counter()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """One more than there are processors: most tests wait for others, as users do."""
    return min((os.cpu_count() or 1) + 1, 4)


def pytest_sessionfinish(session):
    """Hand the counts to the process that prints them, where this is another one."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["compared"] = dict(session.config.compared_with_the_kernel)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.compared_with_the_kernel.update(getattr(node, "workeroutput", {}).get("compared", {}))


def pytest_terminal_summary(terminalreporter, config):
    """Say how many packets the evaluator and the kernel were asked about."""
    counts = config.compared_with_the_kernel
    if counts:
        listed = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"compared with the kernel: {listed}")
