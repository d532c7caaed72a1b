// SPDX-License-Identifier: GPL-2.0

//! CPU hotplug: examines a unit and readies it when its CPU comes online, turns it off before that
//! goes offline.

use crate::{
    aux_buffer::Spe,
    device::Units,
    percpu,
    perf::AuxHandle, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
    types::Opaque, //
};

/// The number of the driver's dynamic hotplug state.
static STATE: Atomic<i32> = Atomic::new(0);

/// The registration of the callbacks, one per module.
///
/// # Invariants
///
/// The state number [`STATE`] was set up and not removed.
pub(crate) struct Callbacks(());

impl Callbacks {
    /// Registers the callbacks for each [`Instance`].
    pub(crate) fn register(name: &'static CStr) -> Result<Self> {
        // SAFETY: The C function takes callbacks of both types, and calls those of a state with
        // instances as `MultiCallback`. The state is removed before the module.
        let state = unsafe {
            let single = |callback| core::mem::transmute::<MultiCallback, SingleCallback>(callback);
            bindings::__cpuhp_setup_state(
                bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                name.as_char_ptr(),
                false,
                Some(single(Instance::startup)),
                Some(single(Instance::teardown)),
                true,
            )
        };
        // A dynamic state's number is returned.
        to_result(state.min(0))?;
        STATE.store(state, Relaxed);
        // INVARIANT: Just set up.
        Ok(Self(()))
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        // SAFETY: By the invariants. The instances were removed with their devices.
        unsafe { bindings::__cpuhp_remove_state(state(), false) };
    }
}

fn state() -> bindings::cpuhp_state {
    STATE.load(Relaxed) as bindings::cpuhp_state
}

/// The callbacks of states without and with instances.
type SingleCallback = unsafe extern "C" fn(c_uint) -> c_int;
type MultiCallback = unsafe extern "C" fn(c_uint, *mut bindings::hlist_node) -> c_int;

/// Keeps the units of one device ready on all of its online CPUs. Dropping this turns them off.
///
/// # Invariants
///
/// `node` is in the list of instances of the driver's hotplug state.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub(crate) struct Instance {
    /// The first field, by which callbacks find the other.
    #[pin]
    node: Opaque<bindings::hlist_node>,
    units: Arc<Units>,
    /// No unit is made ready any more.
    retired: Atomic<bool>,
}

// SAFETY: The node is used by the C functions only, which take a lock.
unsafe impl Send for Instance {}

// SAFETY: As for `Send`.
unsafe impl Sync for Instance {}

impl Instance {
    /// Makes `units` ready, now and each time that one of their CPUs comes online.
    pub(crate) fn new(units: Arc<Units>) -> impl PinInit<Self, Error> {
        // INVARIANT: Made only if the instance was added.
        try_pin_init!(Self {
            units,
            retired: Atomic::new(false),
            // Last: adding the instance calls the callbacks.
            node <- Opaque::try_ffi_init(|node: *mut bindings::hlist_node| {
                // SAFETY: `node` may be written to. It is pinned until the instance is removed.
                unsafe {
                    node.write(bindings::hlist_node::default());
                    to_result(bindings::__cpuhp_state_add_instance(state(), node, true))
                }
            }),
        })
    }

    /// Disables all units permanently. May sleep.
    ///
    /// The instance is not removed: that would wait for a thread on each CPU, and a machine must be
    /// able to go down although some task keeps a CPU to itself.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Relaxed);
        for cpu in percpu::possible_cpus().filter(|&cpu| self.units.has_cpu(cpu)) {
            // A CPU that comes online after this finds the units retired.
            if let Ok(handle) = self.units.run_on(cpu, |slot, cpu, _| slot.offline(cpu)) {
                free(handle);
            }
        }
    }

    /// # Safety
    ///
    /// Must be called by CPU hotplug with the node of an instance.
    unsafe extern "C" fn startup(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: The node is the first field of the instance.
        let Self { units, retired, .. } = unsafe { &*node.cast::<Self>() };
        if !units.has_cpu(cpu) {
            return 0;
        }
        let mut handle = match AuxHandle::new() {
            Ok(handle) => Some(handle),
            Err(err) => return err.to_errno(),
        };
        let examined = units.run_on(cpu, |slot, cpu, context| {
            let examined = units.examine(context);
            if examined.is_ok() && !retired.load(Relaxed) {
                slot.online(&mut handle, cpu, context);
            }
            examined
        });
        // The unit may not have taken it.
        free(handle);
        match examined {
            Ok(examined) => {
                units.set_usable(cpu, examined);
                if examined.is_ok() {
                    units.enable_interrupt();
                }
                // An error would keep the CPU offline, whatever its unit is.
                0
            }
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// As for [`Self::startup`].
    unsafe extern "C" fn teardown(cpu: c_uint, node: *mut bindings::hlist_node) -> c_int {
        // SAFETY: The node is the first field of the instance.
        let units = unsafe { &(*node.cast::<Self>()).units };
        if !units.is_usable(cpu) {
            return 0;
        }
        units.disable_interrupt();
        // perf removes its events from the CPU after this, when the unit is off.
        if let Ok(handle) = units.run_on(cpu, |slot, cpu, _| slot.offline(cpu)) {
            free(handle);
        }
        0
    }
}

fn free(handle: Option<AuxHandle<Spe>>) {
    if let Some(handle) = handle {
        handle.free();
    }
}

#[pinned_drop]
impl PinnedDrop for Instance {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the invariants. This calls `teardown` on all CPUs that are online.
        unsafe { bindings::__cpuhp_state_remove_instance(state(), self.node.get(), true) };
    }
}
