# SPDX-License-Identifier: GPL-2.0
"""A guest that may sleep (suspend-to-idle): its second serial port wakes it, each time that its console says that it sleeps."""

import socket
import subprocess
import threading

#: So that the console says it at once: what the power management would say by itself (pm_debug_messages) is printed when it
#: wakes up.
APPEND = "no_console_suspend tp_printk"
#: The last words before it sleeps.
TRACEPOINT = "/sys/kernel/tracing/events/power/suspend_resume"
ASLEEP = "machine_suspend[1] begin"

#: The port that wakes, in the guest: it has to be open.
PORT = "/dev/ttyAMA1"
#: Where it is told that it may.
WAKEUP = "/sys/class/tty/ttyAMA1/power/wakeup"

#: Commands in the guest, and their status. The port that this talks through does not always find out, when the machine has
#: slept, that the host is there: it goes before and comes back afterwards.
AROUND = """\
cd /sys/bus/virtio/drivers/virtio_console && echo virtio0 >unbind
{}
status=$?
echo virtio0 >bind
exit $status
"""


class Waker:
    """What a guest is booted with to be woken, and the one who does it."""

    def __init__(self, scratch):
        """scratch: an empty directory with a short name."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{scratch}/waker")
        self.listener.listen(1)
        self.arguments = ("-chardev", f"socket,id=waker,path={scratch}/waker", "-serial", "chardev:waker")

    def watch(self, guest, asleep=lambda: None):
        """From now on wake the guest whenever it sleeps, after a call of asleep()."""
        guest.sh(f"echo 1 >{TRACEPOINT}/enable")
        threading.Thread(target=self._wake, args=(guest, self.listener.accept()[0], asleep), daemon=True).start()

    @staticmethod
    def _wake(guest, port, asleep):
        follow = ["tail", f"--pid={guest.pid}", "-n", "+1", "-f", guest.console]
        with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True, errors="replace") as log:
            for line in log.stdout:
                if ASLEEP in line:
                    asleep()
                    port.sendall(b"\n")
