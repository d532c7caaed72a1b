# SPDX-License-Identifier: GPL-2.0
"""The callbacks of perf and the interrupt handler neither allocate nor sleep: seen in the module's code.

Every build looks through the module it has made (tests/env/hot-path), and fails if they could.
"""

import re
import subprocess
from pathlib import Path

import pytest

import faulty
from kernel import STOCK

TOP = Path(__file__).resolve().parents[2]

PMU = "<arm_spe_pmu::perf::Registration<arm_spe_pmu::pmu::Spe>>"
HANDLER = "<arm_spe_pmu::irq::Handler<arm_spe_pmu::pmu::Spe>>::handle"

#: What is slipped into the driver: the file, the line after which it is put, the line, and what has to be said of it:
#: from where the fault is reached, and how that ends.
FAULTS = {
    "an allocation": (
        "pmu.rs", "fn start(&self, event: &Event<Self>, flags: Flags) {",
        "let _ = KBox::new(flags, GFP_ATOMIC);",
        f"{PMU}::start -> ", "rust_helper_krealloc_node_align: not among what the hot path may use of the kernel"),
    "a vector": (
        "pmu.rs", "fn del(&self, event: &Event<Self>, _flags: Flags) {",
        "let _ = KVVec::<u64>::with_capacity(self.traits.align as usize, GFP_ATOMIC);",
        f"{PMU}::del -> ", "rust_helper_kvrealloc_node_align: not among what the hot path may use of the kernel"),
    "a call of who knows what": (
        "pmu.rs", "fn stop(&self, event: &Event<Self>, flags: Flags) {",
        "let called: fn() = unsafe { core::mem::transmute(event.sample_period()) }; called();",
        f"{PMU}::stop", ": leads anywhere: blr x"),
    "a sleeping lock": (
        "irq.rs", "unsafe extern \"C\" fn handle(_irq: c_int, slot: *mut c_void) -> bindings::irqreturn_t {",
        "unsafe { bindings::mutex_lock(slot.cast()) };",
        f"{HANDLER} -> ", "mutex_lock: not among what the hot path may use of the kernel"),
    "a panic": (
        "perf.rs", "unsafe extern \"C\" fn add(event: *mut bindings::perf_event, flags: c_int) -> c_int {",
        "core::hint::black_box([0u8; 4][flags as usize]);",
        f"{PMU}::add -> ", "core::panicking::panic_bounds_check: not among what the hot path may use of the kernel"),
    "a return to somewhere else": (
        "pmu.rs", "fn pause(&self, paused: bool) {",
        'unsafe { core::arch::asm!("ret x9") };',
        f"{PMU}::st", ": leads anywhere: ret x9"),
    "unmapping without having asked": (
        "pmu.rs", "fn free_aux(buffer: KBox<Buffer>) {",
        "Buffer::free_retired();",
        f"{PMU}::free_aux -> ", "vm_unmap_ram: not among what the hot path may use of the kernel"),
    "the address of what may sleep": (
        "perf.rs", "unsafe extern \"C\" fn del(event: *mut bindings::perf_event, flags: c_int) {",
        "core::hint::black_box(Self::event_init as usize);",
        f"{PMU}::del -> ", f"{PMU}::event_init: may sleep"),
}

#: A part of a symbol, and what it becomes, so that the interrupt handler has another name.
RENAMED = ("HandlerNtNtB7_3pmu3SpeE6handle", "HandlerNtNtB7_3pmu3SpeE6serves")


@pytest.fixture(autouse=True)
def ours(driver):
    """It is about the other driver, and may not have been built."""
    if driver == "c":
        pytest.skip("the C driver is not built here")


def look_through(module):
    """What the tool says of a module: its exit status, its report and its errors."""
    done = subprocess.run([TOP / "tests/env/hot-path", module], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_what_is_reachable(capsys):
    """Nothing but what is listed with a reason, and all of that."""
    status, report, errors = look_through(STOCK.rust_module)
    with capsys.disabled():
        print(f"\n{report}")
    assert status == 0 and not errors, errors
    assert "perf_aux_output_begin" in report
    # The stock kernel is not PREEMPT_RT.
    assert re.findall(r"^not reached: (.*)$", report, re.MULTILINE) == ["jiffies"]


def test_nothing_after_the_module_is_let_go():
    """free_aux() gives the reference to the module back by a jump: nothing of the module is executed after that."""
    text = subprocess.run(["llvm-objdump", "-dr", "-C", "--no-show-raw-insn", STOCK.rust_module], check=True,
                          stdout=subprocess.PIPE, text=True).stdout
    (function,) = re.findall(rf"^[0-9a-f]+ <{re.escape(PMU)}::free_aux>:\n(.*?)(?:\n\n|\Z)", text, re.MULTILINE | re.DOTALL)
    lines = [line.split() for line in function.splitlines()]
    calls = [(before[1], line[-1]) for before, line in zip(lines, lines[1:]) if line[-1] == "module_put"]
    assert calls == [("b", "module_put")], function


def test_what_is_slipped_in(tmp_path):
    """A build with faults fails, and the way to each is named."""
    done = faulty.build(tmp_path, [fault[:3] for fault in FAULTS.values()])
    assert done.returncode != 0
    errors = re.findall(r"^error: hot path: (.*)$", done.stdout, re.MULTILINE)
    for name, (_, _, _, root, end) in FAULTS.items():
        assert any(error.startswith(root) and end in error for error in errors), f"{name}: {done.stdout}"


def test_a_callback_with_another_name(tmp_path):
    """It is not looked for in vain: the build fails."""
    symbols = subprocess.run([TOP / "tests/env/hot-path", "--symbols", STOCK.rust_module], check=True,
                             stdout=subprocess.PIPE, text=True).stdout.split()
    (handler,) = (symbol for symbol in symbols if RENAMED[0] in symbol)
    module = tmp_path / "renamed.ko"
    subprocess.run(["llvm-objcopy", f"--redefine-sym={handler}={handler.replace(*RENAMED)}", STOCK.rust_module, module],
                   check=True)
    status, _, errors = look_through(module)
    assert status == 1 and errors == [f"error: hot path: {HANDLER}: the kernel cannot call this,"
                                      " or it has another name now"]
