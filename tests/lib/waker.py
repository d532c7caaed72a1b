# SPDX-License-Identifier: GPL-2.0
"""Wakes a guest from suspend-to-idle by its second serial port, each time that its console says that it sleeps."""

import socket
import subprocess
import threading

#: Prints it on the console at once: power management's own messages (pm_debug_messages) are printed after the wakeup.
APPEND = "no_console_suspend tp_printk"
#: The tracepoint of the last message before it sleeps.
TRACEPOINT = "/sys/kernel/tracing/events/power/suspend_resume"
ASLEEP = "machine_suspend[1] begin"

#: The wakeup port in the guest, which has to be open.
PORT = "/dev/ttyAMA1"
#: Enables the port for wakeup.
WAKEUP = "/sys/class/tty/ttyAMA1/power/wakeup"

#: Runs commands in the guest with the agent's port unbound. After a sleep the port does not always notice that the host
#: is connected.
AROUND = """\
cd /sys/bus/virtio/drivers/virtio_console && echo virtio0 >unbind
{}
status=$?
echo virtio0 >bind
exit $status
"""


class Waker:
    """The arguments for a guest that can be woken, and the thread that wakes it."""

    def __init__(self, scratch):
        """Listens in scratch, an empty directory with a short name."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"{scratch}/waker")
        self.listener.listen(1)
        self.arguments = ("-chardev", f"socket,id=waker,path={scratch}/waker", "-serial", "chardev:waker")

    def watch(self, guest, asleep=lambda: None):
        """Wakes the guest whenever it sleeps from now on, after a call of asleep()."""
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
