# SPDX-License-Identifier: GPL-2.0
"""The code of perf's callbacks and of the interrupt handler neither allocates nor sleeps.

Each build checks the module with scripts/hot-path.
"""

import re
import subprocess

import pytest

import faulty
from kernel import STOCK
from paths import TOP

pytestmark = pytest.mark.quick


PMU = "<arm_spe_pmu::perf::pmu::Registration<arm_spe_pmu::pmu::SpePmu>>"
HANDLER = "<arm_spe_pmu::irq::Handler>::handle"

#: Faults: the file, the line to insert it after, the fault, and the beginning and the end of the error: the callback
#: that reaches it, and the function that it reaches.
FAULTS = {
    "an allocation": (
        "pmu.rs", "fn start(&self, event: &Event<Spe>, context: NotInNmi<'_>) {",
        "let _ = KBox::new(event.sample_period(), GFP_ATOMIC);",
        f"{PMU}::start -> ", "rust_helper_krealloc_node_align: not among what the hot path may use of the kernel"),
    "a vector": (
        "pmu.rs", "fn del(&self, event: &Event<Spe>, context: NotInNmi<'_>) {",
        "let _ = KVVec::<u64>::with_capacity(self.units.caps().align as usize, GFP_ATOMIC);",
        f"{PMU}::del -> ", "rust_helper_kvrealloc_node_align: not among what the hot path may use of the kernel"),
    "a call by a pointer": (
        "pmu.rs", "fn stop(&self, event: &Event<Spe>, context: NotInNmi<'_>) {",
        "let called: fn() = unsafe { core::mem::transmute(event.sample_period()) }; called();",
        f"{PMU}::stop", ": leads anywhere: blr x"),
    "a sleeping lock": (
        "irq.rs", "unsafe extern \"C\" fn handle(_irq: c_int, cookie: *mut c_void) -> irqreturn_t {",
        "unsafe { kernel::bindings::mutex_lock(cookie.cast()) };",
        f"{HANDLER} -> ", "mutex_lock: not among what the hot path may use of the kernel"),
    "a panic": (
        "perf/pmu.rs", "unsafe extern \"C\" fn add(event: *mut bindings::perf_event, flags: c_int) -> c_int {",
        "core::hint::black_box([0u8; 4][flags as usize]);",
        f"{PMU}::add -> ", "core::panicking::panic_bounds_check: not among what the hot path may use of the kernel"),
    "a return by another register": (
        "pmu.rs", "fn update_sampling(&self, event: &Event<Spe>, irq: &LocalInterruptDisabled) {",
        'unsafe { core::arch::asm!("ret x9") };',
        f"{PMU}::st", ": leads anywhere: ret x9"),
    "unmapping where that may not sleep": (
        "pmu.rs", "fn free_aux(buffer: KBox<Deferrable<Buffer>>) {",
        "DEFERRED.free_all();",
        f"{PMU}::free_aux -> ", "vfree: not among what the hot path may use of the kernel"),
    "the address of a function that may sleep": (
        "perf/pmu.rs", "unsafe extern \"C\" fn del(event: *mut bindings::perf_event, _flags: c_int) {",
        "core::hint::black_box(Self::event_init as usize);",
        f"{PMU}::del -> ", f"{PMU}::event_init: may sleep"),
}

#: The end of the interrupt handler's symbol, and that of another name.
RENAMED = ("7Handler6handle", "7Handler6serves")


@pytest.fixture(autouse=True)
def ours(driver):
    """Skips the tests with DRIVER=c, where the module may not have been built."""
    if driver == "c":
        pytest.skip("the C driver is not built here")


def check(module):
    """Runs hot-path on a module. Returns its exit status, its report and its errors."""
    done = subprocess.run([TOP / "scripts/hot-path", module], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_what_is_reachable(show):
    """Each function that is reached is listed with a reason, and each that is listed is reached."""
    status, report, errors = check(STOCK.rust_module)
    show(f"\n{report}")
    assert status == 0 and not errors, errors
    assert "perf_aux_output_begin" in report
    assert "not reached: " not in report


def test_nothing_after_the_last_reference():
    """free_aux() drops its reference to the module by a tail call, after which no code of the module is executed."""
    text = subprocess.run(["llvm-objdump", "-dr", "-C", "--no-show-raw-insn", STOCK.rust_module], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    (function,) = re.findall(rf"^[0-9a-f]+ <{re.escape(PMU)}::free_aux>:\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line.split() for line in function.splitlines()]
    calls = [(before[1], line[-1]) for before, line in zip(lines, lines[1:]) if line[-1] == "module_put"]
    assert calls == [("b", "module_put")], function


def test_faults(tmp_path):
    """A build with faults fails, and names the path to each of them."""
    done = faulty.build(tmp_path, [fault[:3] for fault in FAULTS.values()])
    assert done.returncode != 0
    errors = re.findall(r"^error: hot path: (.*)$", done.stdout, re.MULTILINE)
    for name, (_, _, _, root, end) in FAULTS.items():
        assert any(error.startswith(root) and end in error for error in errors), f"{name}: {done.stdout}"


def test_a_callback_with_another_name(tmp_path):
    """A listed callback that the module does not have is an error."""
    symbols = subprocess.run([TOP / "scripts/hot-path", "--symbols", STOCK.rust_module], check=True,
                             stdout=subprocess.PIPE, text=True).stdout.split()
    (handler,) = (symbol for symbol in symbols if RENAMED[0] in symbol)
    module = tmp_path / "renamed.ko"
    subprocess.run(["llvm-objcopy", f"--redefine-sym={handler}={handler.replace(*RENAMED)}", STOCK.rust_module, module],
                   check=True)
    status, _, errors = check(module)
    assert status == 1 and errors == [f"error: hot path: {HANDLER}: the kernel cannot call this,"
                                      " or it has another name now"]
