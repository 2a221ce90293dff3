"""Lists of several kinds are decoded by threads: whoever makes a kind's decoder first must not meet half of one."""

import subprocess
import sys

# In a process of its own, where nothing was decoded before; threads change places as often as they can.
CODE = """
import sys, threading
sys.setswitchinterval(1e-6)
from svcdoctor.cluster.kinds import KINDS
from svcdoctor.sources import pages
infos, begin = list(KINDS.values()), threading.Barrier(8)
def work(first):
    begin.wait()
    for n in range(6):
        info = infos[(first * 3 + n) % len(infos)]
        page = pages._page_decoder(info).decode(b'{"kind": "L", "items": [{"metadata": {"name": "a"}, "spec": {}}]}')
        assert page.items[0].metadata.name == "a"
threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
for t in threads: t.start()
for t in threads: t.join()
"""


def test_decoders_are_made_once_by_one_thread():
    running = [subprocess.Popen([sys.executable, "-c", CODE]) for _ in range(6)]
    assert [process.wait(60) for process in running] == [0] * 6
