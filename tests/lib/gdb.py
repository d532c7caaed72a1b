# SPDX-License-Identifier: GPL-2.0
"""The registers of a guest's profiling units, read through QEMU's gdb stub, without the guest."""

import re
import socket
from contextlib import closing

#: The system registers of the profiling unit. PMSICR_EL1 is not among them: a debugger cannot read it.
REGISTER = re.compile(r'<reg name="(PM(?:S(?!EL|W)|B)\w+)" bitsize="64" regnum="(\d+)"')


class Stub:
    """A connection to the stub, which stops the machine."""

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
        """Sends a command of gdb's remote protocol and returns its answer. Neither may need escaping."""
        self._socket.sendall(b"$%s#%02x" % (command.encode(), sum(command.encode()) & 0xff))
        assert self._answers.read(2) == b"+$", command
        answer = b""
        while (byte := self._answers.read(1)) != b"#":
            answer += byte
        self._answers.read(2)
        self._socket.sendall(b"+")
        return answer.decode()

    def document(self, name):
        """Returns a description of the machine."""
        text = ""
        while True:
            part = self.ask(f"qXfer:features:read:{name}:{len(text):x},800")
            text += part[1:]
            if part[0] == "l":
                return text

    def close(self):
        """Closes the connection. The machine stays stopped."""
        self._answers.close()
        self._socket.close()
        self._serve("none")


def units(guest):
    """Returns the registers of each CPU's profiling unit: [{name: value}]. The caller has to continue the guest."""
    found = []
    with closing(Stub(guest)) as stub:
        stub.document("target.xml")     # until then the stub knows the core registers only
        numbers = {name: int(number) for name, number in REGISTER.findall(stub.document("system-registers.xml"))}
        for thread in range(1, len(guest.qmp("query-cpus-fast")) + 1):
            assert stub.ask(f"Hg{thread}") == "OK"
            found.append({name: int.from_bytes(bytes.fromhex(stub.ask(f"p{number:x}")), "little")
                          for name, number in numbers.items()})
    return found


#: Core registers of the remote protocol: the first argument and the result, the return address, the program counter.
X0, X30, PC = 0, 30, 32


def return_null(guest, function, caller, script, timeout=120):
    """Runs a script while the first call of function (its address) from caller (a range of addresses) returns NULL.

    Returns the exit status and the output of the script.
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
