# SPDX-License-Identifier: GPL-2.0
"""The registers of a guest's profiling units, as QEMU's stub for gdb shows them: the guest takes no part in it."""

import re
import socket
from contextlib import closing

#: Of all system registers those of the profiling unit. PMSICR_EL1 is not among them: a debugger cannot read it.
REGISTER = re.compile(r'<reg name="(PM(?:S(?!EL|W)|B)\w+)" bitsize="64" regnum="(\d+)"')


class Stub:
    """A connection to the stub. The machine stands still from now on, if it did not."""

    def __init__(self, guest):
        self._guest = guest
        address = guest.scratch / "gdb"
        address.unlink(missing_ok=True)
        self._serve(f"unix:{address},server=on,wait=off")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(address))
        self._answers = self._socket.makefile("rb")

    def _serve(self, where):
        self._guest.qmp("human-monitor-command", command_line=f"gdbserver {where}")

    def ask(self, command):
        """A command of gdb's remote protocol; its answer. Neither may have what has to be escaped."""
        self._socket.sendall(b"$%s#%02x" % (command.encode(), sum(command.encode()) & 0xff))
        assert self._answers.read(2) == b"+$", command
        answer = b""
        while (byte := self._answers.read(1)) != b"#":
            answer += byte
        self._answers.read(2)
        self._socket.sendall(b"+")
        return answer.decode()

    def document(self, name):
        """A description of the machine."""
        text = ""
        while True:
            part = self.ask(f"qXfer:features:read:{name}:{len(text):x},800")
            text += part[1:]
            if part[0] == "l":
                return text

    def close(self):
        """The machine goes on standing still."""
        self._answers.close()
        self._socket.close()
        self._serve("none")


def units(guest):
    """The registers of the profiling unit of each CPU: [{name: value}]. The guest has to be let go on by hand."""
    found = []
    with closing(Stub(guest)) as stub:
        stub.document("target.xml")     # the stub wants to have been asked before it knows more than the core
        numbers = {name: int(number) for name, number in REGISTER.findall(stub.document("system-registers.xml"))}
        for thread in range(1, len(guest.qmp("query-cpus-fast")) + 1):
            assert stub.ask(f"Hg{thread}") == "OK"
            found.append({name: int.from_bytes(bytes.fromhex(stub.ask(f"p{number:x}")), "little")
                          for name, number in numbers.items()})
    return found


#: Core registers of the remote protocol: the first argument and the result, the return address, the program counter.
X0, X30, PC = 0, 30, 32


def return_null(guest, function, caller, script, timeout=120):
    """Run a script in the guest. The first call of function (its address) from the code of caller (a range) returns NULL.

    The exit status and the output of the script.
    """
    with closing(Stub(guest)) as stub:
        assert stub.ask(f"Z0,{function:x},4") == "OK"
        guest.begin(script)
        while True:
            thread = re.match(r"T05thread:([^;]+);", stub.ask("vCont;c"))[1]
            assert stub.ask(f"Hg{thread}") == "OK"
            back = stub.ask(f"p{X30:x}")
            if int.from_bytes(bytes.fromhex(back), "little") in range(*caller):
                break
            assert stub.ask(f"z0,{function:x},4") == "OK"
            stub.ask(f"vCont;s:{thread}")
            assert stub.ask(f"Z0,{function:x},4") == "OK"
        assert stub.ask(f"P{X0:x}={0:016x}") == stub.ask(f"P{PC:x}={back}") == "OK"
        assert stub.ask(f"z0,{function:x},4") == "OK"
    guest.qmp("cont")
    return guest.finish(timeout)
