# SPDX-License-Identifier: GPL-2.0
"""A browser without a screen, by the DevTools protocol over a pair of pipes."""

import base64
import fcntl
import json
import os
import select
import subprocess
import tempfile

from machine import SLACK

BROWSER = os.environ.get("ARM_SPE_BROWSER")


def beyond_4(end):
    """Returns another number for the end of a pipe."""
    number = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 5)
    os.close(end)
    return number


class Browser:
    """One page. What it complains of, and what it asks of the network, is in `complaints` and `requests`."""

    def __init__(self, page):
        self.complaints, self.requests, self.number, self.rest = [], [], 0, b""
        self.home = tempfile.TemporaryDirectory()
        # The protocol has its pipes at 3 and 4, and no end may be there before.
        (theirs, self.to), (self.replies, ours) = [[beyond_4(end) for end in os.pipe()] for _ in range(2)]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs} 4>&{ours}', "bash", f"{BROWSER}/chromium-headless-shell", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={self.home.name}",
             "about:blank"],
            pass_fds=(theirs, ours), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.home.name})
        os.close(theirs)
        os.close(ours)
        self.session = None
        target = next(target for target in self("Target.getTargets")["targetInfos"] if target["type"] == "page")
        self.session = self("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self.loaded = False
        self("Page.navigate", url=page.resolve().as_uri())
        while not self.loaded:
            self._message()

    def _message(self):
        """Waits for a message and notes it. Returns it."""
        while b"\0" not in self.rest:
            if not select.select([self.replies], [], [], 60 * SLACK)[0]:
                raise AssertionError("the browser does not answer")
            if not (more := os.read(self.replies, 1 << 20)):
                raise AssertionError(f"the browser has ended: {self.process.wait()}")
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(text)
        kind, details = message.get("method"), message.get("params", {})
        if kind in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.complaints.append(details)
        elif kind == "Network.requestWillBeSent":
            self.requests.append(details["request"]["url"])
        elif kind == "Page.loadEventFired":
            self.loaded = True
        return message

    def __call__(self, method, **parameters):
        """Sends a command, and returns its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._message()
            if reply.get("id") == self.number:
                assert "error" not in reply, f"{method}: {reply['error']}"
                return reply["result"]

    def evaluate(self, script):
        """Returns the value of an expression in the page."""
        result = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def resize(self, width, scheme="light"):
        """Shows the page so wide, as on a phone if it is narrow."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path):
        """Writes a picture of the whole page."""
        picture = self("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def print(self, path):
        """Writes the page as a PDF file. Returns its text."""
        path.write_bytes(base64.b64decode(self("Page.printToPDF", printBackground=True)["data"]))
        return subprocess.run([f"{BROWSER}/pdftotext", "-layout", path, "-"], stdout=subprocess.PIPE, text=True,
                              check=True).stdout

    def close(self):
        """Ends the browser."""
        self.process.kill()
        self.process.wait()
        os.close(self.to)
        os.close(self.replies)
        self.home.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
