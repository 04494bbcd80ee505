"""Drive Chromium through the DevTools protocol, over two pipes; it needs no package."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from itertools import count
from select import select
from time import monotonic

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"),
    *("--no-first-run", "--disable-component-update", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
]
# Chromium reads from descriptor 3 and writes to descriptor 4.
LAUNCH = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""
PATIENCE = 120  # seconds until an answer must have come; the machines of CI are slow
KEYS = {"Enter": 13, " ": 32, "Tab": 9, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


class Browser:
    """A running Chromium, inside `with`."""

    def __enter__(self):
        self.folder = tempfile.mkdtemp()
        (their_in, self.out), (self.into, their_out) = os.pipe(), os.pipe()
        command = [BROWSER, *FLAGS, f"--user-data-dir={self.folder}"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(their_in), str(their_out), *command],
            pass_fds=(their_in, their_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        os.close(their_in)
        os.close(their_out)
        self.numbers, self.rest, self.events = count(1), b"", []
        return self

    def __exit__(self, *_):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.out)
        os.close(self.into)
        shutil.rmtree(self.folder, ignore_errors=True)

    def send(self, method, session=None, **parameters):
        """Call a method of the protocol and return its result."""
        number = next(self.numbers)
        message = {"id": number, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.events.append(answer)

    def read(self):
        """Return the next message."""
        end = monotonic() + PATIENCE
        while b"\0" not in self.rest:
            assert monotonic() < end and self.process.poll() is None, "the browser does not answer"
            if select([self.into], [], [], 1)[0]:
                self.rest += os.read(self.into, 1 << 20)
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def open(self, url, width=1280, height=900, touch=False):
        """Open a page of a size in CSS pixels."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.send(f"{domain}.enable")
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        page.send("Emulation.setTouchEmulationEnabled", enabled=touch)
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        page.send("Page.navigate", url=url)
        page.wait("document.readyState === 'complete'")
        return page


class Page:
    """A tab of the browser."""

    def __init__(self, browser, session):
        self.browser, self.session = browser, session

    def send(self, method, **parameters):
        return self.browser.send(method, self.session, **parameters)

    def frames(self, n):
        """Return the n frames that have an origin of their own, in their order on the page, as Pages."""
        self.send("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=False, flatten=True)
        end = monotonic() + PATIENCE
        while len(found := self.frame_sessions()) < n:
            assert monotonic() < end, f"{len(found)} frames, not {n}"
            self.run("1")
        pages = [Page(self.browser, session) for session in found]
        for page in pages:
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.send(f"{domain}.enable")
        self.send("DOM.enable")
        owners = [self.send("DOM.getFrameOwner", frameId=frame)["backendNodeId"] for frame in found.values()]
        return [page for _, page in sorted(zip(owners, pages, strict=True), key=lambda pair: pair[0])]

    def frame_sessions(self):
        """Return the frame of each session that belongs to a frame of this page."""
        events = [e for e in self.browser.events if e["method"] == "Target.attachedToTarget"]
        mine = [e["params"] for e in events if e.get("sessionId") == self.session]
        return {e["sessionId"]: e["targetInfo"]["targetId"] for e in mine}

    def run(self, script):
        """Run JavaScript and return its value; promises are awaited."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition):
        """Wait until a condition in JavaScript is true."""
        end = monotonic() + PATIENCE
        while not self.run(condition):
            assert monotonic() < end, f"never true: {condition}"

    def next_frame(self):
        """Wait until the page has drawn what changed."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    def show(self, selector):
        """Scroll to an element, and wait until what comes into sight is drawn, which may move the element."""
        before = None
        while before != (before := self.place(selector)):
            self.next_frame()
            self.next_frame()

    def place(self, selector, x=0.5, y=0.5):
        """Return a point of an element in the window, given as shares of its width and height."""
        self.run(
            f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center', behavior: 'instant'}})"
        )
        box = self.run(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def stroke(self, selector, points):
        """Draw a line through points by mouse."""
        self.show(selector)
        places = [self.place(selector, *point) for point in points]
        for name, (x, y) in zip(["mousePressed", *["mouseMoved"] * len(places)], [places[0], *places], strict=True):
            self.send("Input.dispatchMouseEvent", type=name, x=x, y=y, button="left", buttons=1, clickCount=1)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)
        self.next_frame()

    def swipe(self, selector, points):
        """Draw a line through points by finger."""
        self.show(selector)
        places = [self.place(selector, *point) for point in points]
        for name, (x, y) in zip(["touchStart", *["touchMove"] * len(places)], [places[0], *places], strict=True):
            self.send("Input.dispatchTouchEvent", type=name, touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.next_frame()

    def fill(self, selector, value):
        """Type a value into a field."""
        fill = "field.focus(); field.value = value; field.dispatchEvent(new Event('change'))"
        field = f"document.querySelector({json.dumps(selector)})"
        self.run(f"((field, value) => {{ {fill} }})({field}, {json.dumps(value)})")
        self.next_frame()

    def choose_file(self, selector, path):
        """Give a file to a file field, as its dialog does."""
        field = self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]
        self.send("DOM.setFileInputFiles", files=[str(path)], objectId=field["objectId"])

    def click(self, selector, x=0.5, y=0.5):
        """Click an element."""
        self.show(selector)
        left, top = self.place(selector, x, y)
        for name in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=name, x=left, y=top, button="left", clickCount=1)
        self.next_frame()

    def press(self, *keys):
        """Press keys, by their names."""
        for key in keys:
            text = {"Enter": "\r", " ": " "}.get(key, "")
            details = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": KEYS[key]}
            self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **details)
            self.send("Input.dispatchKeyEvent", type="keyUp", **details)
        self.next_frame()

    def screenshot(self, path, whole=True):
        """Write a picture of the page."""
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            data = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        else:
            data = self.send("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(data["data"]))

    def problems(self):
        """Return the messages and errors of the console, and the addresses that were requested after the page."""
        self.run("1")
        mine = [event for event in self.browser.events if event.get("sessionId") == self.session]
        console = [e["params"] for e in mine if e["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")]
        console += [e["params"]["entry"]["text"] for e in mine if e["method"] == "Log.entryAdded"]
        requests = [e["params"]["request"]["url"] for e in mine if e["method"] == "Network.requestWillBeSent"]
        return console, [url for url in requests[1:] if not url.startswith(("data:", "blob:"))]
