# SPDX-License-Identifier: GPL-2.0
"""What tools/board-test does where something is not as expected: parts of it, without a machine with SPE."""

import pwd

import pytest

import board_report

pytestmark = [pytest.mark.quick, pytest.mark.independent]


def user(name, uid=1000, gecos=""):
    """An account."""
    return pwd.struct_passwd((name, "x", uid, uid, gecos, f"/home/{name}", "/bin/sh"))


# --- The report ---------------------------------------------------------------------------------


@pytest.fixture
def described(monkeypatch, tmp_path):
    """A function that says what the files of the machine have, and its accounts: those that are listed, and others."""
    def describe(files=(), firmware=(), listed=(), others=()):
        for name, text in dict(firmware).items():
            (tmp_path / name).write_text(f"{text}\n")
        read, texts = board_report.read, {"/etc/hostname": "host-of-alice", "/proc/self/loginuid": "4294967295", **dict(files)}

        def read_here(*path):
            return read(*path) if path[0] == tmp_path or tmp_path in getattr(path[0], "parents", ()) else texts.get(str(path[0]), "")

        def find(field):
            return lambda key: {getattr(account, field): account for account in (*listed, *others)}[key]

        monkeypatch.setattr(board_report, "FIRMWARE", tmp_path)
        monkeypatch.setattr(board_report, "read", read_here)
        monkeypatch.setattr(board_report.socket, "gethostname", lambda: "host-of-alice")
        monkeypatch.setattr(board_report.pwd, "getpwall", lambda: list(listed))
        monkeypatch.setattr(board_report.pwd, "getpwnam", find("pw_name"))
        monkeypatch.setattr(board_report.pwd, "getpwuid", find("pw_uid"))
        monkeypatch.delenv("SUDO_USER", raising=False)

    return describe


def test_machine_is_named(described):
    """Names that say which machine and distribution it is stay, whoever else has them."""
    described(files={"/etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian',
                     "/proc/device-tree/compatible": "radxa,orion-o6 cix,sky1"},
              firmware={"sys_vendor": "Amazon EC2", "chassis_asset_tag": "Amazon EC2", "board_asset_tag": "i-0123456789",
                        "product_serial": "None", "board_serial": "Unknown", "chassis_serial": "Default string",
                        "product_name": "Board SN-777777", "product_uuid": "SN-777777"},
              listed=[user("debian", 1000, "Debian,,,"), user("radxa", 1001), user("alice", 1002, "Alice Liddell")])
    told = ["Debian GNU/Linux 13 (trixie)", "radxa,orion-o6 cix,sky1", "Amazon EC2", "None: Unknown, Default string"]
    assert board_report.without_names(told) == told
    assert board_report.without_names(["/home/debian", "alice on host-of-alice: Alice Liddell", "i-0123456789", "Board SN-777777"]) == [
        "(home)", "(user) on (host): (user)", "(serial number)", "Board (serial number)"]


def test_users(described, monkeypatch):
    """Who runs this is no less removed if no list has them, or if the name is short."""
    far = [user("lidl", 70001, "Alice Liddell"), user("hatter", 70002), user("root", 0)]
    described(files={"/proc/self/loginuid": "70002"}, listed=[user("jo")], others=far)
    assert board_report.without_names("jo, a joke, lidl, hatter, root") == "(user), a joke, lidl, (user), root"
    monkeypatch.setenv("SUDO_USER", "lidl")
    assert board_report.without_names("/home/lidl of Alice Liddell") == "(home) of (user)"
